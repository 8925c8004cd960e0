"""What a sync tells of how far it is: over many seeds, in each mode."""

from __future__ import annotations

import itertools

import pytest

from services.sync_coordinator.core.sync_actions import SyncPhase
from services.sync_coordinator.core.sync_faults import SyncFault
from tests.support.drawn_sync import MODES, DrawnSync
from tests.support.seeds import over_seeds
from tests.support.sim_peers import Mallory, without_number

each_mode = pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)


@each_mode
@over_seeds
def test_sync_progress_tells_start_current_and_highest_block(seed, mode):
    draw = DrawnSync(seed, mode)
    chain = draw.chain(least=100)
    first_head = draw.rng.randrange(1, chain.head.number)
    sim, alice = draw.sim(), draw.peer("alice", chain.shortened(first_head))
    sim.add_peers(alice)
    sim.start(alice)
    sim.run_until_phase(SyncPhase.DOWNLOAD)
    first = sim.progress
    assert (first.starting_block, first.current_block, first.highest_block) == (0, 0, first_head)
    assert sim.finish() is None
    alice.chain = chain
    sim.start(alice)
    sim.run_until_phase(SyncPhase.DOWNLOAD)
    second = sim.progress
    assert first_head - draw.config.span_step_max <= second.starting_block <= first_head
    assert (second.current_block, second.highest_block) == (first_head, chain.head.number)
    assert sim.finish() is None
    last = sim.progress
    assert (last.current_block, last.highest_block) == (chain.head.number, chain.head.number)
    assert last.phase is SyncPhase.ENDED
    assert last.headers_waiting == last.blocks_waiting == last.open_requests == 0
    assert last.imported == chain.head.number - second.starting_block


@each_mode
@over_seeds
def test_sync_progress_never_goes_back_while_a_sync_runs(seed, mode):
    draw = DrawnSync(seed, mode)
    chain, sim = draw.chain(), draw.sim()
    peers = draw.peers(chain, 1, 4)
    sim.add_peers(*peers)
    sim.start(peers[0])
    seen = [sim.progress]
    while sim.downloader is not None:
        sim.net.run_until(sim.net.now + 0.05)
        seen.append(sim.progress)
    for before, after in itertools.pairwise(seen):
        assert before.current_block <= after.current_block <= chain.head.number
        assert before.highest_block <= after.highest_block <= chain.head.number
        assert before.headers_fetched <= after.headers_fetched
        assert before.imported <= after.imported
    assert seen[-1].current_block == seen[-1].highest_block == chain.head.number


@each_mode
@over_seeds
def test_forked_progress_starts_at_the_ancestor(seed, mode):
    draw = DrawnSync(seed, mode)
    base = draw.chain(least=20)
    ours = draw.branch(base, draw.rng.randrange(1, 100))
    theirs = draw.branch(base, ours.head.number - base.head.number + draw.rng.randrange(1, 100))
    sim, alice, bob = draw.sim(), draw.peer("alice", ours), draw.peer("bob", theirs)
    sim.add_peers(alice, bob)
    assert sim.sync(alice) is None
    sim.start(bob)
    sim.run_until_phase(SyncPhase.DOWNLOAD)
    begun = sim.progress
    assert base.head.number - draw.config.span_step_max <= begun.starting_block <= base.head.number
    assert begun.current_block == ours.head.number
    assert begun.highest_block == theirs.head.number
    assert sim.finish() is None
    assert sim.progress.starting_block == begun.starting_block
    assert sim.progress.current_block == theirs.head.number


@each_mode
@over_seeds
def test_failed_progress_keeps_its_start_in_the_sync_after(seed, mode):
    draw = DrawnSync(seed, mode)
    chain = draw.chain(least=60)
    missing = draw.rng.randrange(chain.head.number // 2, chain.head.number)
    sim = draw.sim()
    mallory = Mallory("mallory", chain, bend_headers=without_number(missing), **draw.temper())
    sim.add_peers(mallory)
    assert sim.sync(mallory) is not None
    assert sim.progress.highest_block == chain.head.number
    assert sim.progress.fault in (SyncFault.INVALID_CHAIN, SyncFault.STALLING_PEER)
    alice = draw.peer("alice", chain)
    sim.add_peers(alice)
    sim.start(alice)
    sim.run_until_phase(SyncPhase.DOWNLOAD)
    assert (sim.progress.starting_block, sim.progress.highest_block) == (0, chain.head.number)
    assert sim.finish() is None
    assert sim.progress.starting_block == 0


@each_mode
@over_seeds
def test_faked_progress_is_gone_with_the_faker(seed, mode):
    draw = DrawnSync(seed, mode)
    chain = draw.chain(least=100)
    faked, real = chain.head.number, draw.rng.randrange(50, chain.head.number)
    ends = draw.rng.randrange(1, real)

    def stop_short(request, headers):
        return [header for header in headers if header.number <= ends or header.number == faked]

    mallory = Mallory("mallory", chain, bend_headers=stop_short, **draw.temper())
    sim = draw.sim()
    sim.add_peers(mallory)
    sim.start(mallory)
    sim.run_until_phase(SyncPhase.DOWNLOAD)
    assert sim.progress.highest_block == faked
    sim.finish()
    sim.disconnect(mallory)
    alice = draw.peer("alice", chain.shortened(real))
    sim.add_peers(alice)
    assert sim.sync(alice) is None
    assert sim.progress.highest_block == sim.head_number == real
