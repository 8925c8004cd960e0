"""What a sync that waits for its importer says of itself, and of the peers that lack its parts."""

from __future__ import annotations

import pytest

from services.sync_coordinator.core.sync_actions import SyncMode
from tests.support.chain_maker import made_chain
from tests.support.sim_peers import Mallory, SimPeer, empty
from tests.support.sim_sync import SimSync

CHAIN = made_chain(700, empty_every=1000)


@pytest.mark.parametrize("mode", SyncMode)
@pytest.mark.parametrize("seed", range(5))
def test_sync_is_throttled_while_a_slow_import_is_what_it_waits_for(mode, seed):
    sim = SimSync(seed, mode, import_seconds=1.0)
    alice = SimPeer("alice", CHAIN)
    sim.add_peers(alice)
    sim.start(alice)
    assert not sim.progress.throttled
    sim.net.run_until(sim.net.now + 60)
    assert sim.progress.throttled
    assert sim.progress.results_waiting > 0
    assert sim.finish() is None
    assert not sim.progress.throttled


@pytest.mark.parametrize("seed", range(5))
def test_sync_is_not_throttled_while_it_is_peers_that_are_waited_for(seed):
    sim = SimSync(seed, SyncMode.FULL, import_seconds=0.0)
    alice = SimPeer("alice", CHAIN, seconds_per_item=0.01)
    sim.add_peers(alice)
    sim.start(alice)
    for _ in range(50):
        sim.net.run_until(sim.net.now + 0.05)
        assert not sim.progress.throttled
    assert sim.finish() is None


@pytest.mark.parametrize("seed", range(5))
def test_parts_that_a_peer_lacks_are_told_while_the_sync_runs(seed):
    sim = SimSync(seed, SyncMode.FULL, import_seconds=0.1)
    alice, bob = SimPeer("alice", CHAIN), Mallory("bob", CHAIN, bend_bodies=empty)
    sim.add_peers(alice, bob)
    sim.start(alice)
    assert sim.downloader is not None
    assert sim.downloader.lacking(bob.node_id) == 0
    sim.net.run_until(sim.net.now + 5)
    assert sim.downloader is not None
    assert sim.downloader.lacking(bob.node_id) > 0
    assert sim.downloader.lacking(alice.node_id) == 0
