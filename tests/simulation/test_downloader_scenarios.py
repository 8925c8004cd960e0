"""The downloader's scenarios of SPEC section 4 in each mode: whole syncs in virtual time, by outcome."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.sync_coordinator.core.block_assembly import FRONT_BODIES
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.sync_actions import RequestBodies, RequestHeaders, RequestReceipts, SyncMode
from services.sync_coordinator.core.sync_faults import SyncFault
from tests.support.chain_maker import made_chain
from tests.support.sim_peers import SimPeer
from tests.support.sim_sync import SMALL, SimSync

SEEDS = range(5)
both_modes = pytest.mark.parametrize("mode", SyncMode)
several_seeds = pytest.mark.parametrize("seed", SEEDS)

CHAIN = made_chain(300)
SHARED = CHAIN.shortened(200)


@pytest.mark.parametrize("eth_version", [62, 63])
@both_modes
@several_seeds
def test_head_is_reached_when_the_chain_is_canonical(seed, mode, eth_version):
    sim = SimSync(seed, mode)
    alice = SimPeer("alice", CHAIN, eth_version=eth_version)
    sim.add_peers(alice)
    if mode is SyncMode.FAST and eth_version == 62:
        assert sim.sync(alice) is SyncFault.PEERS_UNAVAILABLE, "eth/62 has neither receipts nor state"
        return
    assert sim.sync(alice) is None
    assert sim.chain.heads().header == CHAIN.head
    assert sim.dropped == {}
    for header, body in zip(CHAIN.headers, CHAIN.bodies, strict=True):
        assert sim.chain.canonical_hash(header.number) == header.hash
        if mode is not SyncMode.LIGHT:
            assert sim.chain.bodies[header.hash] == body.body_rlp


@both_modes
def test_head_is_reached_when_the_limits_are_the_real_ones(mode):
    chain = made_chain(5000)
    sim = SimSync(1, mode, config=DownloaderConfig(), import_seconds=0.0001)
    alice, bob = SimPeer("alice", chain), SimPeer("bob", chain)
    sim.add_peers(alice, bob)
    assert sim.sync(alice) is None
    assert sim.head_number == 5000


@both_modes
@several_seeds
def test_download_is_throttled_when_the_importer_is_slow(seed, mode):
    sim = SimSync(seed, mode, import_seconds=0.5)
    alice, bob = SimPeer("alice", CHAIN), SimPeer("bob", CHAIN)
    sim.add_peers(alice, bob)
    assert sim.sync(alice) is None
    assert sim.head_number == 300
    assert sim.most_blocks_waiting <= SMALL.max_assembled_blocks
    assert sim.most_headers_waiting <= SMALL.max_queued_headers


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


@both_modes
def test_nothing_is_asked_when_the_importer_stalls(mode):
    sim = SimSync(1, mode, import_seconds=1e9)
    alice, bob = SimPeer("alice", CHAIN), SimPeer("bob", CHAIN)
    sim.add_peers(alice, bob)
    sim.start(alice)
    sim.net.run_until(100)
    asked = len(alice.asked) + len(bob.asked)
    sim.net.run_until(10_000)
    assert len(alice.asked) + len(bob.asked) == asked
    assert sim.dropped == {}
    assert sim.most_headers_waiting <= SMALL.max_queued_headers
    assert sim.most_blocks_waiting <= SMALL.max_assembled_blocks


@both_modes
@several_seeds
def test_other_branch_is_taken_when_it_is_heavier(seed, mode):
    ours, theirs = SHARED.extended(40, branch=1), SHARED.extended(60, branch=2)
    sim = SimSync(seed, mode)
    alice, bob = SimPeer("alice", ours), SimPeer("bob", theirs)
    sim.add_peers(alice, bob)
    assert sim.sync(alice) is None
    assert sim.chain.heads().header == ours.head
    assert sim.sync(bob) is None
    assert sim.chain.heads().header == theirs.head
    assert sim.chain.header(ours.head.hash) == ours.head, "side blocks stay readable"


@both_modes
@several_seeds
def test_shorter_branch_is_taken_when_it_is_heavier(seed, mode):
    ours, theirs = SHARED.extended(80, branch=1), SHARED.extended(40, branch=2, difficulty=5000)
    sim = SimSync(seed, mode)
    alice, bob = SimPeer("alice", ours), SimPeer("bob", theirs)
    sim.add_peers(alice, bob)
    assert sim.sync(alice) is None
    assert sim.sync(bob) is None
    assert sim.chain.heads().header == theirs.head


@pytest.mark.parametrize("difficulty", [1000, 9000], ids=["longer", "heavier"])
@both_modes
@several_seeds
def test_branch_is_refused_when_it_left_ours_too_long_ago(seed, mode, difficulty):
    early = CHAIN.shortened(40)
    theirs = early.extended(270 if difficulty == 1000 else 170, branch=2, difficulty=difficulty)
    sim = SimSync(seed, mode)
    alice, mallory = SimPeer("alice", CHAIN), SimPeer("mallory", theirs)
    sim.add_peers(alice, mallory)
    assert sim.sync(alice) is None
    assert sim.sync(mallory) is SyncFault.INVALID_ANCESTOR
    assert sim.dropped == {"mallory": SyncFault.INVALID_ANCESTOR}
    assert sim.chain.heads().header == CHAIN.head


@both_modes
@several_seeds
def test_sync_can_be_done_again_when_it_was_cancelled(seed, mode):
    sim = SimSync(seed, mode)
    alice, bob = SimPeer("alice", CHAIN), SimPeer("bob", CHAIN)
    sim.add_peers(alice, bob)
    sim.start(alice)
    sim.net.run_until(0.15 * (seed + 1))
    if sim.downloader is not None:
        sim.cancel()
        assert sim.finish() is SyncFault.CANCELLED
    assert sim.dropped == {}
    assert sim.sync(bob) is None
    assert sim.head_number == 300


@both_modes
@several_seeds
def test_all_peers_are_asked_when_there_are_many(seed, mode):
    sim = SimSync(seed, mode)
    peers = [SimPeer(f"peer {index}", CHAIN, eth_version=62 + index % 2) for index in range(8)]
    sim.add_peers(*peers)
    assert sim.sync(peers[0]) is None
    assert sim.head_number == 300
    assert all(peer.asked for peer in peers)
    assert sim.dropped == {}


@both_modes
@several_seeds
def test_shorter_peers_help_when_the_master_is_longest(seed, mode):
    sim = SimSync(seed, mode)
    peers = [SimPeer(f"peer {index}", CHAIN.shortened(60 * index)) for index in range(1, 6)]
    sim.add_peers(*peers)
    assert sim.sync(peers[-1]) is None
    assert sim.head_number == 300
    assert sim.dropped == {}


@both_modes
@several_seeds
def test_only_needed_bodies_are_asked_when_blocks_are_empty(seed, mode):
    chain = made_chain(120, branch=3, empty_every=2)
    sim = SimSync(seed, mode)
    alice = SimPeer("alice", chain)
    sim.add_peers(alice)
    assert sim.sync(alice) is None
    assert sim.head_number == 120
    asked = [wanted for request in alice.asked if isinstance(request, RequestBodies) for wanted in request.hashes]
    assert sorted(chain.numbers[wanted] for wanted in asked) == (
        [] if mode is SyncMode.LIGHT else list(range(1, 120, 2))
    )
    of_receipts = [request for request in alice.asked if isinstance(request, RequestReceipts)]
    numbers = sorted(chain.numbers[wanted] for request in of_receipts for wanted in request.hashes)
    assert numbers == (list(range(1, 120, 2)) if mode is SyncMode.FAST else [])


@several_seeds
def test_head_is_reached_when_every_block_is_empty(seed):
    chain = made_chain(200, branch=4, empty_every=1)
    sim = SimSync(seed, SyncMode.FULL)
    alice = SimPeer("alice", chain)
    sim.add_peers(alice)
    assert sim.sync(alice) is None
    assert sim.head_number == 200


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


@both_modes
@several_seeds
def test_equal_seeds_give_equal_traces(seed, mode):
    def trace(seed):
        sim = SimSync(seed, mode)
        peers = [SimPeer(f"peer {index}", CHAIN, loss=0.02) for index in range(4)]
        sim.add_peers(*peers)
        sim.sync(peers[0])
        return sim.net.trace

    assert trace(seed) == trace(seed)
    assert trace(seed) != trace(seed + 1)
