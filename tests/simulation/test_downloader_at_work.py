"""Syncs with honest peers beside the listed scenarios: real limits, memory, and chains that change meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.sync_coordinator.core.block_assembly import FRONT_BODIES
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.sync_actions import RequestHeaders, SyncMode
from tests.support.chain_maker import made_chain
from tests.support.sim_peers import SimPeer
from tests.support.sim_sync import SMALL, SimSync

SEEDS = range(5)
both_modes = pytest.mark.parametrize("mode", SyncMode)
several_seeds = pytest.mark.parametrize("seed", SEEDS)

CHAIN = made_chain(300)
SHARED = CHAIN.shortened(200)


@both_modes
def test_head_is_reached_when_the_limits_are_the_real_ones(mode):
    chain = made_chain(5000)
    sim = SimSync(1, mode, config=DownloaderConfig(), import_seconds=0.0001)
    alice, bob = SimPeer("alice", chain), SimPeer("bob", chain)
    sim.add_peers(alice, bob)
    assert sim.sync(alice) is None
    assert sim.head_number == 5000


@several_seeds
def test_waiting_blocks_stay_within_memory_when_the_importer_is_slow(seed):
    chain = made_chain(300, branch=5, empty_every=1000)
    block_bytes = len(chain.headers[1].header_rlp) + len(chain.bodies[2].body_rlp)
    limit = 80 * block_bytes
    config = replace(SMALL, max_assembled_blocks=250, max_assembled_bytes=limit)
    sim = SimSync(seed, SyncMode.FULL, config=config, import_seconds=0.5)
    alice, bob = SimPeer("alice", chain), SimPeer("bob", chain, latency=(1.0, 3.0))
    sim.add_peers(alice, bob)
    assert sim.sync(alice) is None
    assert sim.head_number == 300
    assert limit / 2 < sim.most_waiting_bytes <= limit + FRONT_BODIES * block_bytes


@several_seeds
def test_nobody_is_dropped_when_the_promised_block_came_by_other_means(seed):
    sim = SimSync(seed, SyncMode.FULL)
    alice = SimPeer("alice", CHAIN.shortened(10))
    sim.chain.fill(CHAIN.shortened(9))
    sim.add_peers(alice)
    sim.start(alice)
    sim.chain.add_blocks([CHAIN.block(10)])
    assert sim.finish() is None
    assert sim.dropped == {}


@both_modes
@several_seeds
def test_new_blocks_are_taken_when_the_master_grows_meanwhile(seed, mode):
    sim = SimSync(seed, mode)
    alice = SimPeer("alice", SHARED)
    sim.add_peers(alice)
    sim.start(alice)
    sim.net.run_until(0.4)
    alice.chain = CHAIN
    assert sim.finish() is None
    assert sim.head_number == 300


@both_modes
@several_seeds
def test_sync_survives_when_the_master_replaces_its_newest_blocks(seed, mode):
    before, after = SHARED.extended(7, branch=1), SHARED.extended(5, branch=1).extended(9, branch=2)
    sim = SimSync(seed, mode, import_seconds=0.02)
    alice = SimPeer("alice", before)
    sim.add_peers(alice)
    sim.start(alice)
    sim.net.run_while(
        lambda: not any(isinstance(r, RequestHeaders) and r.origin == 193 and not r.skip for r in alice.asked)
    )
    sim.net.run_until(sim.net.now)
    alice.chain = after
    assert sim.finish() is None
    assert sim.dropped == {}
    assert sim.chain.heads().header == after.head
