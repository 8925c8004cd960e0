"""The downloader's scenarios of SPEC section 4 in full and light mode: whole syncs in virtual time, by outcome."""

from __future__ import annotations

import pytest

from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.sync_actions import RequestBodies, RequestHeaders, SyncMode, SyncPhase
from services.sync_coordinator.core.sync_faults import SyncFault
from tests.support.chain_maker import made_chain
from tests.support.sim_peers import Mallory, SimPeer, without_number
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
    assert sim.sync(alice) is None
    assert sim.chain.heads().header == CHAIN.head
    assert sim.dropped == {}
    for header, body in zip(CHAIN.headers, CHAIN.bodies, strict=True):
        assert sim.chain.canonical_hash(header.number) == header.hash
        if mode is SyncMode.FULL:
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
        list(range(1, 120, 2)) if mode is SyncMode.FULL else []
    )


@several_seeds
def test_head_is_reached_when_every_block_is_empty(seed):
    chain = made_chain(200, branch=4, empty_every=1)
    sim = SimSync(seed, SyncMode.FULL)
    alice = SimPeer("alice", chain)
    sim.add_peers(alice)
    assert sim.sync(alice) is None
    assert sim.head_number == 200


@pytest.mark.parametrize("missing", [3, 45, 157, 295], ids=["first", "early", "middle", "in the tail"])
@both_modes
@several_seeds
def test_master_is_dropped_and_another_finishes_when_a_header_is_missing(seed, mode, missing):
    sim = SimSync(seed, mode)
    mallory = Mallory("mallory", CHAIN, bend_headers=without_number(missing))
    sim.add_peers(mallory)
    assert sim.sync(mallory) is not None
    assert "mallory" in sim.dropped
    assert sim.head_number < 300
    alice = SimPeer("alice", CHAIN)
    sim.add_peers(alice)
    assert sim.sync(alice) is None
    assert sim.head_number == 300


@both_modes
@several_seeds
def test_gap_is_filled_by_another_when_the_master_lacks_a_header(seed, mode):
    sim = SimSync(seed, mode)
    mallory, alice = Mallory("mallory", CHAIN, bend_headers=without_number(100)), SimPeer("alice", CHAIN)
    sim.add_peers(mallory, alice)
    assert sim.sync(mallory) is None
    assert sim.head_number == 300
    assert sim.dropped == {}


@both_modes
@several_seeds
def test_master_is_dropped_when_its_headers_are_shifted(seed, mode):
    def shift(request, headers):
        return headers if request.amount == 1 else [CHAIN.headers[header.number + 1] for header in headers[:-1]]

    sim = SimSync(seed, mode)
    mallory = Mallory("mallory", CHAIN, bend_headers=shift)
    sim.add_peers(mallory)
    assert sim.sync(mallory) is SyncFault.INVALID_CHAIN
    assert sim.dropped == {"mallory": SyncFault.INVALID_CHAIN}


@pytest.mark.parametrize("broken", [1, 70, 150, 299], ids=["start", "early", "middle", "end"])
@both_modes
@several_seeds
def test_master_is_dropped_and_new_headers_are_undone_when_one_is_invalid(seed, mode, broken):
    sim = SimSync(seed, mode)
    mallory, alice = SimPeer("mallory", CHAIN.broken_at(broken)), SimPeer("alice", CHAIN)
    sim.add_peers(mallory)
    assert sim.sync(mallory) is SyncFault.INVALID_CHAIN
    assert sim.dropped == {"mallory": SyncFault.INVALID_CHAIN}
    undone = SMALL.rollback_headers if mode is SyncMode.LIGHT else 0
    assert sim.head_number == max(0, broken - 1 - undone)
    sim.add_peers(alice)
    assert sim.sync(alice) is None
    assert sim.chain.heads().header == CHAIN.head


@several_seeds
def test_new_headers_are_undone_when_a_light_sync_is_cancelled(seed):
    sim = SimSync(seed, SyncMode.LIGHT)
    alice = SimPeer("alice", CHAIN)
    sim.chain.fill_headers(CHAIN.shortened(50))
    sim.add_peers(alice)
    sim.start(alice)
    sim.net.run_while(lambda: sim.head_number <= 70)
    sim.cancel()
    assert sim.finish() is SyncFault.CANCELLED
    assert sim.head_number >= 50
    assert sim.head_number == max(50, sim.head_before_rollback - SMALL.rollback_headers)


@both_modes
@several_seeds
def test_peer_is_dropped_when_it_promises_much_and_has_nothing(seed, mode):
    sim = SimSync(seed, mode)
    mallory = SimPeer("mallory", made_chain(0), promised=10**9)
    sim.add_peers(mallory)
    assert sim.sync(mallory) is SyncFault.STALLING_PEER
    assert sim.dropped == {"mallory": SyncFault.STALLING_PEER}


@both_modes
@several_seeds
def test_peer_is_dropped_in_the_end_when_its_chain_is_below_its_promise(seed, mode):
    sim = SimSync(seed, mode)
    sim.add_peers(SimPeer("mallory", SHARED, promised=10**9), SimPeer("alice", CHAIN))
    sim.sync_until_settled()
    assert sim.dropped == {"mallory": SyncFault.STALLING_PEER}
    assert sim.chain.heads().header == CHAIN.head


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
