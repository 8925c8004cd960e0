"""Masters whose chain is not what it seems, in each mode: they go, and what they brought is undone."""

from __future__ import annotations

import pytest

from services.sync_coordinator.core.sync_actions import SyncMode
from services.sync_coordinator.core.sync_faults import SyncFault
from tests.support.chain_maker import made_chain
from tests.support.sim_peers import Mallory, SimPeer, without_number
from tests.support.sim_sync import SMALL, SimSync

SEEDS = range(5)
both_modes = pytest.mark.parametrize("mode", SyncMode)
several_seeds = pytest.mark.parametrize("seed", SEEDS)

CHAIN = made_chain(300)
SHARED = CHAIN.shortened(200)


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
    undone = 0 if mode is SyncMode.FULL else SMALL.rollback_headers
    header_head = max(0, broken - 1 - undone)
    if mode is SyncMode.FAST:
        header_head = max(header_head, sim.chain.heads().fast_block.number)
    assert sim.chain.heads().header.number == header_head
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
