"""Syncs that are cancelled: at every event there is, and no late delivery hangs or disturbs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Final

import pytest

from services.sync_coordinator.core.sync_actions import SyncMode
from services.sync_coordinator.core.sync_faults import SyncFault
from tests.support.chain_maker import MadeChain
from tests.support.drawn_sync import LONGEST, MODES, DrawnSync
from tests.support.seeds import over_seeds
from tests.support.sim_peers import SimPeer
from tests.support.sim_sync import SimSync

each_mode = pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)

SHORT: Final = 60
"""Enough for a skeleton, a tail and several batches, and few enough events that each of them has its run."""

LANES: Final = 3
"""Batches that may be with the importer at one time, in a fast sync: of headers, of blocks, of state."""

FAST_STRIDE: Final = 4
"""A fast sync has many more events: each seed looks at one in so many, and all seeds together at each."""


def events_to_let_happen(seed: int, mode: SyncMode) -> Iterator[int]:
    """From none on, until the sync is over before."""
    is_fast = mode.value == "fast"
    return itertools.count(seed % FAST_STRIDE, FAST_STRIDE) if is_fast else itertools.count()


def started(seed: int, mode: SyncMode, *, most: int) -> tuple[SimSync, MadeChain, Sequence[SimPeer]]:
    """A sync that has sent its first question; the same one for equal arguments."""
    draw = DrawnSync(seed, mode)
    chain, sim = draw.chain(least=most // 2, most=most), draw.sim()
    peers = draw.peers(chain, 1, 3)
    sim.add_peers(*peers)
    sim.start(peers[0])
    return sim, chain, peers


def let_happen(sim: SimSync, events: int) -> None:
    counted = itertools.count(1)
    sim.net.run_while(lambda: sim.downloader is not None and next(counted) <= events)


def cancelled(sim: SimSync) -> None:
    """Cancel, and check all that a cancelled sync owes: one end, at once or when the importer is done, and silence."""
    run = sim.downloader
    assert run is not None
    at, ends = sim.net.now, len(sim.outcomes)
    sim.cancel()
    assert run.cancel(at) == [], "to cancel again changes nothing"
    assert sim.finish() is SyncFault.CANCELLED
    assert sim.net.now <= at + LANES * sim.import_seconds * sim.config.import_batch + 1e-9, "no peer is waited for"
    assert len(sim.outcomes) == ends + 1
    assert run.next_wakeup() is None
    assert run.on_wakeup(sim.net.now) == run.on_headers(1, [], sim.net.now) == run.on_bodies(1, [], sim.net.now) == []
    assert sim.dropped == {}


@each_mode
@over_seeds
def test_cancel_mid_way_ends_the_sync_and_it_can_be_done_again(seed, mode):
    sim, chain, peers = started(seed, mode, most=LONGEST)
    let_happen(sim, sim.net.rng.randrange(120))
    if sim.downloader is not None:
        cancelled(sim)
    assert sim.sync(peers[-1]) is None
    assert sim.chain.heads().header == chain.head


@each_mode
@over_seeds
def test_cancel_mid_way_undoes_headers_alone_and_no_more_than_so_many(seed, mode):
    sim, chain, _ = started(seed, mode, most=LONGEST)
    let_happen(sim, sim.net.rng.randrange(120))
    if sim.downloader is None:
        return
    sim.cancel()
    sim.finish()
    before = sim.head_before_rollback
    if mode is SyncMode.FULL:
        assert before == 0, "what was checked whole stays"
    else:
        blocks = sim.chain.heads().fast_block.number
        assert sim.chain.heads().header.number == max(before - sim.config.rollback_headers, blocks)
    head = sim.chain.heads().header
    assert head == chain.headers[head.number]
    assert sim.chain.canonical_hash(head.number + 1) is None


@each_mode
@over_seeds
def test_delivery_never_hangs_when_the_sync_is_cancelled_at_any_event(seed, mode):
    for events in events_to_let_happen(seed, mode):
        sim, chain, peers = started(seed, mode, most=SHORT)
        let_happen(sim, events)
        if sim.downloader is None:
            assert events > 3
            return
        cancelled(sim)
        # The replies to the cancelled sync are still on their way, and come to this one.
        assert sim.sync(peers[0]) is None
        assert sim.chain.heads().header == chain.head
        assert sim.dropped == {}


@each_mode
@over_seeds
def test_delivery_never_hangs_when_all_peers_leave_at_any_event(seed, mode):
    for events in events_to_let_happen(seed, mode):
        sim, chain, peers = started(seed, mode, most=SHORT)
        let_happen(sim, events)
        if sim.downloader is None:
            return
        for peer in peers[::-1]:
            sim.disconnect(peer)
        assert sim.finish() is SyncFault.MASTER_LEFT
        sim.add_peers(*peers)
        assert sim.sync(peers[-1]) is None
        assert sim.chain.heads().header == chain.head
        assert sim.dropped == {}
