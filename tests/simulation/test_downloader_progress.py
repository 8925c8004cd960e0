"""What a sync tells of how far it is (SPEC section 4, step 9), in each mode."""

from __future__ import annotations

import pytest

from services.sync_coordinator.core.sync_actions import SyncMode, SyncPhase
from tests.support.chain_maker import made_chain
from tests.support.sim_peers import Mallory, SimPeer, without_number
from tests.support.sim_sync import SimSync

SEEDS = range(5)
both_modes = pytest.mark.parametrize("mode", SyncMode)
several_seeds = pytest.mark.parametrize("seed", SEEDS)

CHAIN = made_chain(300)
SHARED = CHAIN.shortened(200)


@both_modes
@several_seeds
def test_progress_tells_start_current_and_highest_block(seed, mode):
    sim = SimSync(seed, mode)
    alice = SimPeer("alice", CHAIN.shortened(150))
    sim.add_peers(alice)
    sim.start(alice)
    sim.run_until_phase(SyncPhase.DOWNLOAD)
    first = sim.progress
    assert (first.starting_block, first.current_block, first.highest_block) == (0, 0, 150)
    assert sim.finish() is None
    alice.chain = CHAIN
    sim.start(alice)
    sim.run_until_phase(SyncPhase.DOWNLOAD)
    second = sim.progress
    assert 140 <= second.starting_block <= 150
    assert (second.current_block, second.highest_block) == (150, 300)
    assert sim.finish() is None
    assert (sim.progress.current_block, sim.progress.highest_block) == (300, 300)
    assert sim.progress.phase is SyncPhase.ENDED
    assert sim.progress.headers_waiting == sim.progress.blocks_waiting == sim.progress.open_requests == 0
    assert sim.progress.imported == 300 - second.starting_block


@both_modes
@several_seeds
def test_progress_starts_at_the_ancestor_when_the_branch_changes(seed, mode):
    ours, theirs = SHARED.extended(40, branch=1), SHARED.extended(60, branch=2)
    sim = SimSync(seed, mode)
    alice, bob = SimPeer("alice", ours), SimPeer("bob", theirs)
    sim.add_peers(alice, bob)
    assert sim.sync(alice) is None
    assert sim.sync(bob) is None
    assert 184 <= sim.progress.starting_block <= 200
    assert sim.progress.highest_block == 260


@both_modes
@several_seeds
def test_progress_keeps_its_start_when_the_sync_before_failed(seed, mode):
    sim = SimSync(seed, mode)
    mallory, alice = Mallory("mallory", CHAIN, bend_headers=without_number(157)), SimPeer("alice", CHAIN)
    sim.add_peers(mallory)
    assert sim.sync(mallory) is not None
    assert sim.progress.highest_block == 300
    sim.add_peers(alice)
    assert sim.sync(alice) is None
    assert sim.progress.starting_block == 0


@both_modes
@several_seeds
def test_progress_loses_a_faked_height_when_the_faker_is_gone(seed, mode):
    def stop_short(request, headers):
        return [header for header in headers if header.number <= 280 or header.number == 300]

    sim = SimSync(seed, mode)
    mallory = Mallory("mallory", CHAIN, bend_headers=stop_short)
    alice = SimPeer("alice", CHAIN.shortened(290))
    sim.add_peers(mallory)
    sim.start(mallory)
    sim.run_until_phase(SyncPhase.DOWNLOAD)
    assert sim.progress.highest_block == 300
    sim.finish()
    sim.disconnect(mallory)
    sim.add_peers(alice)
    assert sim.sync(alice) is None
    assert sim.progress.highest_block == sim.head_number == 290
