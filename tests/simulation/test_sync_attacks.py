"""Syncs with masters and peers that are not what they say: over many seeds, by outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest

from services.shared.ethwire.types import Header
from services.sync_coordinator.core.sync_actions import RequestHeaders, SyncMode
from services.sync_coordinator.core.sync_faults import SyncFault
from tests.support.chain_maker import MadeChain, made_genesis
from tests.support.drawn_sync import LONGEST, MODES, DrawnSync
from tests.support.seeds import over_seeds
from tests.support.sim_peers import (
    HeadersReply,
    Mallory,
    SimPeer,
    empty,
    silent,
    with_garbage,
    with_other_entries,
    with_other_receipts,
    without_number,
)
from tests.support.sim_sync import SimSync

each_mode = pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)

Bend = Callable[[RequestHeaders, Sequence[Header]], HeadersReply]


def is_height(request: RequestHeaders) -> bool:
    return isinstance(request.origin, bytes)


def honest_sync_follows(draw: DrawnSync, sim: SimSync, chain: MadeChain) -> None:
    """Whatever was left behind, an honest peer brings us to its head."""
    alice = draw.peer("alice", chain)
    sim.add_peers(alice)
    assert sim.sync(alice) is None
    assert sim.chain.heads().header == chain.head
    assert "alice" not in sim.dropped


@each_mode
@over_seeds
def test_missing_header_attack_ends_with_the_master_dropped(seed, mode):
    draw = DrawnSync(seed, mode)
    chain = draw.chain(least=60)
    missing = draw.rng.randrange(1, chain.head.number)
    mallory = Mallory("mallory", chain, bend_headers=without_number(missing), **draw.temper())
    sim = draw.sim()
    sim.add_peers(mallory)
    assert sim.sync(mallory) in (SyncFault.INVALID_CHAIN, SyncFault.STALLING_PEER)
    assert list(sim.dropped) == ["mallory"]
    assert sim.head_number < missing
    honest_sync_follows(draw, sim, chain)


@each_mode
@over_seeds
def test_missing_header_is_got_elsewhere_when_only_a_filler_lacks_it(seed, mode):
    draw = DrawnSync(seed, mode)
    chain = draw.chain(least=60)
    missing = draw.rng.randrange(1, chain.head.number)
    lacking = Mallory("bob", chain, bend_headers=without_number(missing), **draw.temper())
    sim, alice = draw.sim(), draw.peer("alice", chain)
    sim.add_peers(alice, lacking)
    assert sim.sync(alice) is None
    assert sim.chain.heads().header == chain.head
    assert sim.dropped == {}


@each_mode
@over_seeds
def test_shifted_header_attack_ends_with_the_master_dropped(seed, mode):
    draw = DrawnSync(seed, mode)
    chain = draw.chain(least=60)
    first, by = draw.rng.randrange(1, chain.head.number - 10), draw.rng.randint(1, 3)

    def shift(request, headers):
        """From some number on each header is that of a later block, as in a database that lost a few."""
        if is_height(request):
            return headers
        numbers = [header.number + by if header.number >= first else header.number for header in headers]
        return [chain.headers[number] for number in numbers if number < len(chain.headers)]

    sim = draw.sim()
    mallory = Mallory("mallory", chain, bend_headers=shift, **draw.temper())
    sim.add_peers(mallory)
    assert sim.sync(mallory) in (SyncFault.INVALID_CHAIN, SyncFault.STALLING_PEER)
    assert list(sim.dropped) == ["mallory"]
    assert sim.head_number < first
    honest_sync_follows(draw, sim, chain)


PLACES: Mapping[str, Callable[[int], tuple[int, int]]] = {
    "at the start": lambda head: (1, head // 3),
    "in the middle": lambda head: (head // 3, 2 * head // 3),
    "after the pivot": lambda head: (head - 63, head),
}
"""Where the invalid header is, by the number of the head: from, to."""


@pytest.mark.parametrize("place", PLACES)
@each_mode
@over_seeds
def test_invalid_header_rollback_undoes_what_came_last_and_the_master_goes(seed, mode, place):
    draw = DrawnSync(seed, mode)
    chain = draw.chain(least=200)
    broken = draw.rng.randint(*PLACES[place](chain.head.number))
    false = chain.broken_at(broken)
    sim, mallory = draw.sim(), draw.peer("mallory", false)
    sim.add_peers(mallory, *draw.peers(false, 0, 3))
    assert sim.sync(mallory) is SyncFault.INVALID_CHAIN
    assert sim.dropped == {"mallory": SyncFault.INVALID_CHAIN}
    undone = 0 if mode is SyncMode.FULL else draw.config.rollback_headers
    heads = sim.chain.heads()
    assert heads.header.number == max(broken - 1 - undone, heads.fast_block.number), "headers of blocks stay"
    for number in range(heads.header.number + 1):
        assert sim.chain.canonical_hash(number) == chain.headers[number].hash, "what is left is the honest part"
    assert sim.chain.canonical_hash(heads.header.number + 1) is None
    honest_sync_follows(draw, sim, chain)


@each_mode
@over_seeds
def test_invalid_header_rollback_leaves_what_an_earlier_sync_brought(seed, mode):
    draw = DrawnSync(seed, mode)
    chain = draw.chain(least=200)
    held = chain.shortened(draw.rng.randrange(1, chain.head.number - 1))
    broken = draw.rng.randint(held.head.number + 1, chain.head.number)
    sim, mallory = draw.sim(), draw.peer("mallory", chain.broken_at(broken))
    (sim.chain.fill_headers if mode is SyncMode.LIGHT else sim.chain.fill)(held)
    sim.add_peers(mallory)
    assert sim.sync(mallory) is SyncFault.INVALID_CHAIN
    assert held.head.number <= sim.head_number < broken
    honest_sync_follows(draw, sim, chain)


@each_mode
@over_seeds
def test_high_total_difficulty_starvation_ends_with_the_liars_dropped_and_the_head_reached(seed, mode):
    draw = DrawnSync(seed, mode)
    chain = draw.chain(least=20)
    liars = [
        draw.peer(
            f"liar {index}",
            draw.rng.choice((made_genesis(), chain.shortened(draw.rng.randrange(chain.head.number)))),
            promised=10**9 + index,
        )
        for index in range(draw.rng.randint(1, 6))
    ]
    sim = draw.sim()
    honest = draw.peers(chain, 1, 4)
    sim.add_peers(*liars, *honest)
    sim.sync_until_settled(most_syncs=2 * len(liars) + 2)
    assert sim.dropped.keys() == {liar.name for liar in liars}
    # A liar whose turn comes after an honest peer's may have its real head too far below ours.
    assert set(sim.dropped.values()) <= {SyncFault.STALLING_PEER, SyncFault.INVALID_ANCESTOR}
    assert sim.chain.heads().header == chain.head


# Which errors of a sync cost the master its connection, row by row.


def _bent(draw: DrawnSync, chain: MadeChain, wanted: Callable[[RequestHeaders], bool], bend: Bend) -> Mallory:
    """A master that answers the questions that are `wanted` in its own way."""
    return Mallory(
        "master",
        chain,
        bend_headers=lambda request, headers: bend(request, headers) if wanted(request) else headers,
        **draw.temper(),
    )


def _time_out(draw: DrawnSync, sim: SimSync, chain: MadeChain) -> SimPeer:
    """Falls silent at some question, from the first to the last."""
    left = iter(range(draw.rng.randrange(4)))
    return _bent(draw, chain, lambda _: next(left, None) is None, silent)


def _bad_peer(draw: DrawnSync, sim: SimSync, chain: MadeChain) -> SimPeer:
    wrong = draw.rng.choice(([], chain.headers[1:3], [chain.headers[3]]))
    return _bent(draw, chain, is_height, lambda _, headers: wrong)


def _stalling_peer(draw: DrawnSync, sim: SimSync, chain: MadeChain) -> SimPeer:
    return draw.peer("master", made_genesis(), promised=draw.rng.randrange(10**6, 10**12))


def _empty_header_set(draw: DrawnSync, sim: SimSync, chain: MadeChain) -> SimPeer:
    return _bent(draw, chain, lambda request: not is_height(request), empty)


def _peers_unavailable(draw: DrawnSync, sim: SimSync, chain: MadeChain) -> SimPeer:
    return Mallory("master", chain, bend_bodies=empty, **draw.temper())


def _protocol_too_old(draw: DrawnSync, sim: SimSync, chain: MadeChain) -> SimPeer:
    return draw.peer("master", chain, eth_version=draw.rng.choice((60, 61)))


def _invalid_ancestor(draw: DrawnSync, sim: SimSync, chain: MadeChain) -> SimPeer:
    (sim.chain.fill_headers if sim.mode is SyncMode.LIGHT else sim.chain.fill)(chain)
    at = draw.rng.randint(0, chain.head.number - draw.config.max_fork_depth)
    return draw.peer("master", draw.branch(chain.shortened(at), 50, difficulty=10**5))


def _invalid_chain(draw: DrawnSync, sim: SimSync, chain: MadeChain) -> SimPeer:
    return draw.peer("master", chain.broken_at(draw.rng.randint(1, chain.head.number)))


def _invalid_body(draw: DrawnSync, sim: SimSync, chain: MadeChain) -> SimPeer:
    return Mallory("master", chain, bend_bodies=with_garbage, **draw.temper())


def _invalid_receipts(draw: DrawnSync, sim: SimSync, chain: MadeChain) -> SimPeer:
    return Mallory("master", chain, bend_receipts=with_other_receipts, **draw.temper())


def _invalid_state_entry(draw: DrawnSync, sim: SimSync, chain: MadeChain) -> SimPeer:
    return Mallory("master", chain, bend_node_data=with_other_entries, **draw.temper())


def _unknown_peer(draw: DrawnSync, sim: SimSync, chain: MadeChain) -> SimPeer:
    master = draw.peer("master", chain)
    sim.net.at(0.0, lambda: sim.disconnect(master))
    sim.add_peers(master)
    sim.net.run_until(0.0)
    return master


def _master_left(draw: DrawnSync, sim: SimSync, chain: MadeChain) -> SimPeer:
    master = draw.peer("master", chain)
    at_event(draw, sim, lambda: sim.disconnect(master))
    return master


def _request_lost(draw: DrawnSync, sim: SimSync, chain: MadeChain) -> SimPeer:
    """A question of the dialogue before the download does not get out."""
    master = draw.peer("master", chain)
    at_event(draw, sim, lambda: sim.lose(master.asked[-1]))
    return master


def _import_failed(draw: DrawnSync, sim: SimSync, chain: MadeChain) -> SimPeer:
    sim.importer_fails_from = draw.rng.randint(1, chain.head.number)
    return draw.peer("master", chain)


def _cancelled(draw: DrawnSync, sim: SimSync, chain: MadeChain) -> SimPeer:
    at_event(draw, sim, sim.cancel)
    return draw.peer("master", chain)


def at_event(draw: DrawnSync, sim: SimSync, happen: Callable[[], None]) -> None:
    """Let something happen once, after some of the first answers."""
    left = draw.rng.randrange(3)

    def look() -> None:
        """The master has at most one question open, so it was asked once more than it has answered."""
        asked = sum(len(peer.asked) for peer in sim.peers.values())
        if asked > left:
            happen()
        else:
            sim.net.at(sim.net.now + 0.001, look)

    sim.net.at(0.0, look)


Row = Callable[[DrawnSync, SimSync, MadeChain], SimPeer]
DROPS, KEEPS = True, False

ROWS: Mapping[SyncFault, tuple[Row, bool]] = {
    SyncFault.TIMEOUT: (_time_out, DROPS),
    SyncFault.BAD_PEER: (_bad_peer, DROPS),
    SyncFault.STALLING_PEER: (_stalling_peer, DROPS),
    SyncFault.EMPTY_HEADER_SET: (_empty_header_set, DROPS),
    SyncFault.PEERS_UNAVAILABLE: (_peers_unavailable, DROPS),
    SyncFault.PROTOCOL_TOO_OLD: (_protocol_too_old, DROPS),
    SyncFault.INVALID_ANCESTOR: (_invalid_ancestor, DROPS),
    SyncFault.INVALID_CHAIN: (_invalid_chain, DROPS),
    SyncFault.INVALID_BODY: (_invalid_body, DROPS),
    SyncFault.INVALID_RECEIPTS: (_invalid_receipts, DROPS),
    SyncFault.INVALID_STATE_ENTRY: (_invalid_state_entry, DROPS),
    SyncFault.UNKNOWN_PEER: (_unknown_peer, KEEPS),
    SyncFault.MASTER_LEFT: (_master_left, KEEPS),
    SyncFault.REQUEST_LOST: (_request_lost, KEEPS),
    SyncFault.IMPORT_FAILED: (_import_failed, KEEPS),
    SyncFault.CANCELLED: (_cancelled, KEEPS),
}
BODY_FAULTS = (SyncFault.PEERS_UNAVAILABLE, SyncFault.INVALID_BODY)
FAST_FAULTS = (SyncFault.INVALID_RECEIPTS, SyncFault.INVALID_STATE_ENTRY)


def test_header_attacker_dropping_has_a_row_for_every_fault():
    assert set(ROWS) == set(SyncFault)


@pytest.mark.parametrize("fault", ROWS, ids=lambda fault: fault.name.lower())
@each_mode
@over_seeds
def test_header_attacker_dropping_is_as_the_fault_says(seed, mode, fault):
    if mode is SyncMode.LIGHT and fault in BODY_FAULTS:
        return  # Nobody is asked for bodies.
    if mode is not SyncMode.FAST and fault in FAST_FAULTS:
        return  # Nobody is asked for receipts or state.
    draw = DrawnSync(seed, mode)
    chain = draw.chain(least=LONGEST // 2, most_empty=2)
    sim = draw.sim()
    row, drops = ROWS[fault]
    master = row(draw, sim, chain)
    if fault is not SyncFault.UNKNOWN_PEER:
        sim.add_peers(master)
    assert sim.sync(master) is fault
    assert sim.dropped == ({"master": fault} if drops else {})
    if master.node_id in sim.peers:
        sim.importer_fails_from = None
        assert sim.sync(master) is None, "any other error only means another try"
        assert sim.chain.heads().header == chain.head
