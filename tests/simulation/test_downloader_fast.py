"""What only a fast sync does: receipts, state, the pivot; whole syncs in virtual time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.sync_actions import (
    RequestBodies,
    RequestHeaders,
    RequestNodeData,
    RequestReceipts,
    SyncMode,
    SyncPhase,
)
from services.sync_coordinator.core.sync_faults import SyncFault
from tests.support.chain_maker import made_chain, state_at
from tests.support.sim_peers import (
    Mallory,
    SimPeer,
    empty,
    silent,
    with_other_entries,
    with_other_receipts,
)
from tests.support.sim_sync import SMALL, SimSync

several_seeds = pytest.mark.parametrize("seed", range(5))

CHAIN = made_chain(300)
LONG = made_chain(500)


def fast_sim(seed, *peers, **options):
    sim = SimSync(seed, SyncMode.FAST, **options)
    sim.add_peers(*peers)
    return sim


def holds_state(sim, number):
    return all(sim.chain.has_state(list(state_at(number).entries)))


def asked_for(peer, kind):
    return [request for request in peer.asked if isinstance(request, kind)]


def bent(kind, bend):
    mallory = Mallory("mallory", CHAIN)
    setattr(mallory, kind, bend)
    return mallory


def run_until_pulled(sim, count):
    sim.net.run_while(lambda: sim.downloader is not None and sim.progress.pulled_states < count)


@several_seeds
def test_receipts_and_the_pivots_state_are_stored_when_a_fast_sync_is_done(seed):
    alice = SimPeer("alice", CHAIN)
    sim = fast_sim(seed, alice)
    assert sim.sync(alice) is None
    pivot = 300 - SMALL.pivot_distance
    heads = sim.chain.heads()
    assert heads.header == heads.fast_block == heads.full_block == CHAIN.head
    assert sim.chain.pivot == CHAIN.headers[pivot].hash
    assert holds_state(sim, pivot)
    for header, receipts in zip(CHAIN.headers, CHAIN.receipts, strict=True):
        assert sim.chain.kept_receipts.get(header.hash, b"\xc0") == receipts.receipts_rlp
    progress = sim.progress
    assert progress.receipts_fetched == progress.bodies_fetched == 240
    assert progress.pulled_states == progress.known_states == len(state_at(pivot))
    assert progress.imported == 300


@several_seeds
def test_sync_is_full_when_a_fast_one_has_succeeded(seed):
    alice = SimPeer("alice", CHAIN.shortened(200))
    sim = fast_sim(seed, alice)
    assert sim.sync(alice) is None
    assert sim.mode_to_run is SyncMode.FULL
    alice.chain, alice.asked = CHAIN, []
    assert sim.sync(alice) is None
    assert sim.head_number == 300
    assert not asked_for(alice, RequestReceipts)
    assert not asked_for(alice, RequestNodeData)


@pytest.mark.parametrize("height", [1, SMALL.pivot_distance])
@several_seeds
def test_everything_is_imported_in_full_when_the_chain_is_too_short_for_a_pivot(seed, height):
    alice = SimPeer("alice", CHAIN.shortened(height))
    sim = fast_sim(seed, alice)
    assert sim.sync(alice) is None
    assert sim.head_number == height
    assert sim.chain.pivot is None
    assert not asked_for(alice, RequestNodeData)


@several_seeds
def test_first_block_is_the_pivot_when_the_chain_is_just_long_enough(seed):
    alice = SimPeer("alice", CHAIN.shortened(SMALL.pivot_distance + 1))
    sim = fast_sim(seed, alice)
    assert sim.sync(alice) is None
    assert sim.head_number == SMALL.pivot_distance + 1
    assert sim.chain.pivot == CHAIN.headers[1].hash


def test_fast_sync_works_when_the_limits_are_the_real_ones():
    chain = made_chain(5000)
    alice, bob = SimPeer("alice", chain), SimPeer("bob", chain, eth_version=62)
    sim = fast_sim(1, alice, bob, config=DownloaderConfig(), import_seconds=0.0001)
    assert sim.sync(alice) is None
    assert sim.head_number == 5000
    assert sim.chain.pivot == chain.headers[4936].hash


@several_seeds
def test_old_peers_give_headers_and_bodies_only_when_versions_are_mixed(seed):
    alice = SimPeer("alice", CHAIN, eth_version=62)
    others = [SimPeer(f"peer {index}", CHAIN, eth_version=62 + index % 2) for index in range(6)]
    sim = fast_sim(seed, alice, *others)
    assert sim.sync(alice) is None
    assert sim.head_number == 300
    assert sim.dropped == {}
    assert {type(request) for request in alice.asked} <= {RequestHeaders, RequestBodies}
    assert any(asked_for(peer, RequestReceipts) for peer in others)


@several_seeds
def test_nothing_but_headers_and_state_is_asked_when_every_block_is_empty(seed):
    chain = made_chain(200, branch=4, empty_every=1)
    alice = SimPeer("alice", chain)
    sim = fast_sim(seed, alice)
    assert sim.sync(alice) is None
    assert sim.head_number == 200
    assert {type(request) for request in alice.asked} == {RequestHeaders, RequestNodeData}


@several_seeds
def test_peer_is_dropped_and_others_serve_when_it_gives_receipts_nobody_asked_for(seed):
    alice, mallory = SimPeer("alice", CHAIN), Mallory("mallory", CHAIN, bend_receipts=with_other_receipts)
    sim = fast_sim(seed, alice, mallory)
    assert sim.sync(alice) is None
    assert sim.dropped == {"mallory": SyncFault.INVALID_RECEIPTS}
    assert sim.head_number == 300


@several_seeds
def test_peer_is_dropped_and_others_serve_when_it_gives_state_nobody_asked_for(seed):
    alice = SimPeer("alice", CHAIN)
    mallory = Mallory("mallory", CHAIN, latency=(0.001, 0.002), bend_node_data=with_other_entries)
    sim = fast_sim(seed, alice, mallory, config=replace(SMALL, state_per_request=4))
    assert sim.sync(alice) is None
    assert sim.dropped == {"mallory": SyncFault.INVALID_STATE_ENTRY}
    assert sim.head_number == 300


@pytest.mark.parametrize("bend", [empty, silent])
@pytest.mark.parametrize("kind", ["bend_receipts", "bend_node_data"])
@several_seeds
def test_withheld_receipts_and_state_come_from_others(seed, kind, bend):
    alice, mallory = SimPeer("alice", CHAIN), bent(kind, bend)
    sim = fast_sim(seed, alice, mallory)
    assert sim.sync(alice) is None
    assert sim.head_number == 300


@pytest.mark.parametrize("kind", ["bend_receipts", "bend_node_data"])
@several_seeds
def test_master_is_dropped_when_nobody_has_receipts_or_state(seed, kind):
    mallory, alice = bent(kind, empty), SimPeer("alice", CHAIN)
    sim = fast_sim(seed, mallory)
    assert sim.sync(mallory) is SyncFault.PEERS_UNAVAILABLE
    assert sim.head_number == 0
    sim.add_peers(alice)
    assert sim.sync(alice) is None
    assert sim.head_number == 300


@pytest.mark.parametrize("field", ["bloom", "gas_used"])
@pytest.mark.parametrize("number", [50, 51, 296], ids=["without any", "before the pivot", "after the pivot"])
@several_seeds
def test_chain_is_invalid_when_a_header_says_something_else_of_its_receipts(seed, number, field):
    false = {"bloom": b"\xff" * 256, "gas_used": 1}
    mallory = SimPeer("mallory", CHAIN.changed_at(number, **{field: false[field]}))
    sim = fast_sim(seed, mallory)
    assert sim.sync(mallory) is SyncFault.INVALID_CHAIN
    assert sim.dropped == {"mallory": SyncFault.INVALID_CHAIN}
    assert sim.chain.heads().fast_block.number < number


@pytest.mark.parametrize("broken", [1, 150, 299], ids=["start", "middle", "after the pivot"])
@several_seeds
def test_newest_headers_are_undone_but_no_block_when_one_is_invalid(seed, broken):
    mallory, alice = SimPeer("mallory", CHAIN.broken_at(broken)), SimPeer("alice", CHAIN)
    sim = fast_sim(seed, mallory, config=replace(SMALL, rollback_headers=40))
    assert sim.sync(mallory) is SyncFault.INVALID_CHAIN
    heads = sim.chain.heads()
    assert heads.header.number == max(0, broken - 1 - 40, heads.fast_block.number)
    assert sim.chain.canonical_hash(heads.header.number) == heads.header.hash
    assert sim.chain.canonical_hash(heads.header.number + 1) is None
    sim.add_peers(alice)
    assert sim.sync(alice) is None
    assert sim.chain.heads().full_block == CHAIN.head


@several_seeds
def test_chain_is_whole_up_to_its_head_wherever_a_sync_is_cancelled(seed):
    alice = SimPeer("alice", CHAIN)
    sim = fast_sim(seed, alice)
    for _ in range(40):
        sim.start(alice)
        sim.net.run_until(sim.net.now + 0.35 * (seed + 1))
        if sim.downloader is not None:
            sim.cancel()
            sim.finish()
        heads = sim.chain.heads()
        assert heads.header.number >= heads.fast_block.number >= heads.full_block.number
        assert sim.chain.canonical_hash(heads.header.number) == heads.header.hash
        assert sim.chain.canonical_hash(heads.header.number + 1) is None
        for number in range(1, heads.fast_block.number + 1):
            assert sim.chain.bodies[CHAIN.headers[number].hash]
        if sim.total_difficulty == alice.total_difficulty:
            break
    else:
        assert sim.sync(alice) is None
    assert sim.head_number == 300
    assert sim.dropped == {}


@several_seeds
def test_state_is_not_fetched_again_when_a_sync_was_cancelled_midway(seed):
    alice = SimPeer("alice", CHAIN)
    config = replace(SMALL, state_per_request=4, state_commit=4)
    sim = fast_sim(seed, alice, config=config)
    sim.start(alice)
    run_until_pulled(sim, 30)
    sim.cancel()
    assert sim.finish() is SyncFault.CANCELLED
    stored = len(sim.chain.state)
    assert stored > 0
    alice.asked = []
    assert sim.sync(alice) is None
    bodies = [wanted for request in asked_for(alice, RequestBodies) for wanted in request.hashes]
    assert min(CHAIN.numbers[wanted] for wanted in bodies) >= 284
    assert sim.progress.pulled_states <= len(state_at(284)) - stored
    assert sim.head_number == 300


@several_seeds
def test_pivot_moves_when_the_chain_outgrows_it_while_state_is_slow(seed):
    alice = SimPeer("alice", CHAIN, latency=(0.5, 1.0), state_per_reply=1)
    sim = fast_sim(seed, alice)
    sim.start(alice)
    sim.net.run_while(lambda: sim.downloader is not None and sim.chain.heads().fast_block.number < 284)
    alice.chain = LONG.shortened(330)
    sim.net.run_until(sim.net.now + 30)
    assert sim.chain.pivot is None
    assert sim.chain.heads().fast_block.number > 284, "the old pivot and what followed it are fast blocks now"
    alice.chain, alice.state_per_reply = LONG, 384
    assert sim.finish() is None
    assert sim.dropped == {}
    assert sim.head_number == 500
    assert sim.chain.pivot is not None
    pivot = LONG.numbers[sim.chain.pivot]
    assert pivot > 284
    assert holds_state(sim, pivot)


@several_seeds
def test_sync_goes_on_when_all_have_forgotten_the_pivots_state_before_it_is_reached(seed):
    alice = SimPeer("alice", LONG.shortened(100), states_kept=40)
    sim = fast_sim(seed, alice, import_seconds=0.3)
    sim.start(alice)
    sim.run_until_phase(SyncPhase.DOWNLOAD)
    alice.chain = LONG
    assert sim.finish() is None
    assert sim.dropped == {}
    assert sim.head_number == 500
    assert sim.chain.pivot is not None
    assert LONG.numbers[sim.chain.pivot] >= 460


@several_seeds
def test_master_is_asked_again_until_the_pivot_is_committed(seed):
    alice = SimPeer("alice", CHAIN)
    bob = SimPeer("bob", CHAIN.shortened(280))
    sim = fast_sim(seed, alice, bob, import_seconds=0.05)
    sim.start(alice)
    sim.net.run_while(lambda: sim.downloader is not None and sim.chain.pivot is None)
    assert sim.downloader is not None
    assert sim.progress.current_block == 284
    assert sim.finish() is None
    assert sim.head_number == 300


@several_seeds
def test_master_is_dropped_when_the_chain_that_came_is_below_its_promise(seed):
    mallory, alice = SimPeer("mallory", CHAIN, promised=10**9), SimPeer("alice", CHAIN)
    sim = fast_sim(seed, mallory, alice)
    assert sim.sync(mallory) is SyncFault.STALLING_PEER
    assert sim.dropped == {"mallory": SyncFault.STALLING_PEER}
    sim.sync_until_settled()
    assert sim.head_number == 300


@pytest.mark.parametrize("height", [10, 300], ids=["without a pivot", "with one"])
@several_seeds
def test_master_is_dropped_when_it_delivers_nothing_of_headers_we_have(seed, height):
    def nothing_new(request, headers):
        return [] if request.amount in (SMALL.skeleton_anchors, SMALL.headers_per_request) else headers

    chain = CHAIN.shortened(height)
    sim = fast_sim(seed)
    sim.chain.fill_headers(chain)
    sim.chain.fill_fast(CHAIN.shortened(height // 3))
    mallory = Mallory("mallory", chain, bend_headers=nothing_new)
    sim.add_peers(mallory)
    assert sim.sync(mallory) is SyncFault.STALLING_PEER
    assert sim.chain.heads().header == chain.head, "they were here before"


@several_seeds
def test_headers_stay_when_all_have_come_and_only_their_blocks_fail(seed):
    mallory = Mallory("mallory", CHAIN.shortened(10), bend_bodies=silent)
    sim = fast_sim(seed, mallory)
    assert sim.sync(mallory) is SyncFault.TIMEOUT
    assert sim.chain.heads().header == CHAIN.headers[10]


@several_seeds
def test_new_blocks_are_taken_when_the_master_grows_while_its_state_comes(seed):
    full_skeleton = CHAIN.shortened(18 * SMALL.headers_per_request)
    alice = SimPeer("alice", full_skeleton, latency=(0.5, 1.0), state_per_reply=1)
    sim = fast_sim(seed, alice)
    sim.start(alice)
    sim.net.run_while(lambda: sim.downloader is not None and sim.progress.pulled_states < 20)
    alice.chain = CHAIN
    assert sim.finish() is None
    assert sim.head_number == 300


@several_seeds
def test_sync_resumes_from_the_fast_block_head_when_headers_are_ahead(seed):
    alice = SimPeer("alice", CHAIN)
    sim = fast_sim(seed, alice)
    sim.chain.fill_headers(CHAIN)
    sim.chain.fill_fast(CHAIN.shortened(100))
    assert sim.sync(alice) is None
    assert sim.progress.starting_block in (99, 100)
    assert sim.head_number == 300


@several_seeds
def test_pivot_is_fetched_again_when_fast_blocks_of_a_higher_one_are_stored(seed):
    alice = SimPeer("alice", CHAIN)
    sim = fast_sim(seed, alice)
    sim.chain.fill_headers(CHAIN)
    sim.chain.fill_fast(CHAIN.shortened(295))
    assert sim.sync(alice) is None
    assert sim.chain.heads().full_block == CHAIN.head
    assert sim.chain.pivot == CHAIN.headers[284].hash


@several_seeds
def test_other_branch_is_taken_when_a_fast_sync_is_under_way_and_it_is_heavier(seed):
    shared = CHAIN.shortened(200)
    ours, theirs = shared.extended(60, branch=1), shared.extended(90, branch=2)
    alice, bob = SimPeer("alice", ours), SimPeer("bob", theirs)
    sim = fast_sim(seed, alice)
    sim.start(alice)
    sim.net.run_while(lambda: sim.downloader is not None and sim.chain.heads().fast_block.number < 240)
    if sim.downloader is not None:
        sim.cancel()
        sim.finish()
    sim.add_peers(bob)
    assert sim.sync(bob) is None
    heads = sim.chain.heads()
    assert heads.header == heads.full_block == theirs.head


@several_seeds
def test_window_holds_what_a_pivot_needs_to_move_when_memory_is_small(seed):
    config = replace(SMALL, max_assembled_blocks=20, max_assembled_bytes=3000, max_queued_headers=64)
    alice = SimPeer("alice", CHAIN, latency=(0.5, 1.0), state_per_reply=1)
    sim = fast_sim(seed, alice, config=config)
    sim.start(alice)
    sim.net.run_while(lambda: sim.downloader is not None and sim.chain.heads().fast_block.number < 284)
    alice.chain = LONG
    sim.net.run_while(lambda: sim.downloader is not None and sim.chain.heads().fast_block.number < 470)
    assert sim.chain.pivot is None
    assert sim.finish() is None
    assert sim.head_number == 500


@several_seeds
def test_sync_fails_without_blame_when_our_store_fails_under_a_state_commit(seed):
    alice = SimPeer("alice", CHAIN)
    sim = fast_sim(seed, alice)
    sim.fail_state_commits = True
    assert sim.sync(alice) is SyncFault.IMPORT_FAILED
    assert sim.dropped == {}
    sim.fail_state_commits = False
    assert sim.sync(alice) is None
    assert sim.head_number == 300
