"""Peers that are silent, lie, cheat or vanish: the guilty one goes, and the sync ends with honest ones."""

from __future__ import annotations

import pytest

from services.sync_coordinator.core.sync_actions import RequestBodies, SyncMode
from services.sync_coordinator.core.sync_faults import SyncFault
from tests.support.chain_maker import made_chain
from tests.support.sim_peers import Mallory, SimPeer, empty, silent, with_garbage, without_number
from tests.support.sim_sync import SMALL, SimSync

SEEDS = range(5)
both_modes = pytest.mark.parametrize("mode", SyncMode)
several_seeds = pytest.mark.parametrize("seed", SEEDS)

CHAIN = made_chain(300)
FORGED = CHAIN.shortened(100).extended(200, branch=9)


def only_for(wanted, bend):
    """Bends the replies to requests that are `wanted`."""
    return lambda request, reply: bend(request, reply) if wanted(request) else reply


def is_height(request):
    return isinstance(request.origin, bytes)


def is_span(request):
    return request.amount == SMALL.span_probes


def is_skeleton(request):
    return request.amount == SMALL.skeleton_anchors


def is_tail(request):
    return request.amount == SMALL.headers_per_request and request.origin > 288


def forged(request, headers):
    return [FORGED.headers[header.number] for header in headers]


def settled(seed, mode, mallory, *others):
    """The simulation after Mallory was the first master and then whoever was best."""
    sim = SimSync(seed, mode)
    sim.add_peers(mallory, *others)
    sim.sync(mallory)
    sim.sync_until_settled()
    return sim


MASTER_CRIMES = {
    "silent at its height": (only_for(is_height, silent), SyncFault.TIMEOUT),
    "silent at the span": (only_for(is_span, silent), SyncFault.TIMEOUT),
    "silent at the skeleton": (only_for(is_skeleton, silent), SyncFault.TIMEOUT),
    "silent in the tail": (only_for(is_tail, silent), SyncFault.TIMEOUT),
    "no height": (only_for(is_height, empty), SyncFault.BAD_PEER),
    "two heights": (only_for(is_height, lambda _, headers: [*headers, *headers]), SyncFault.BAD_PEER),
    "another height": (only_for(is_height, lambda _, headers: [CHAIN.headers[7]]), SyncFault.BAD_PEER),
    "no span": (only_for(is_span, empty), SyncFault.EMPTY_HEADER_SET),
    "unasked span": (only_for(is_span, lambda _, headers: headers[1:]), SyncFault.INVALID_CHAIN),
    "long span": (only_for(is_span, lambda _, headers: [*headers, CHAIN.head]), SyncFault.INVALID_CHAIN),
    "shifted anchors": (
        only_for(is_skeleton, lambda _, headers: [CHAIN.headers[header.number - 1] for header in headers]),
        SyncFault.INVALID_CHAIN,
    ),
    "too many anchors": (only_for(is_skeleton, lambda _, headers: list(headers) * 9), SyncFault.INVALID_CHAIN),
    "forged anchors": (only_for(lambda r: is_skeleton(r) and r.origin > 100, forged), SyncFault.INVALID_CHAIN),
    "forged tail": (only_for(is_tail, forged), SyncFault.INVALID_CHAIN),
    "long tail": (only_for(is_tail, lambda _, headers: list(headers) * 17), SyncFault.INVALID_CHAIN),
}


@pytest.mark.parametrize("crime", MASTER_CRIMES)
@both_modes
@several_seeds
def test_master_is_dropped_and_another_finishes_when_it_breaks_the_rules(seed, mode, crime):
    bend, fault = MASTER_CRIMES[crime]
    sim = settled(seed, mode, Mallory("mallory", CHAIN, bend_headers=bend), SimPeer("alice", CHAIN))
    assert sim.dropped == {"mallory": fault}
    assert sim.chain.heads().header == CHAIN.head


@several_seeds
def test_light_master_is_dropped_when_it_ends_its_chain_too_soon(seed):
    mallory = Mallory("mallory", CHAIN, bend_headers=lambda r, h: [x for x in h if is_height(r) or x.number < 250])
    sim = settled(seed, SyncMode.LIGHT, mallory, SimPeer("alice", CHAIN))
    assert sim.dropped == {"mallory": SyncFault.STALLING_PEER}
    assert sim.head_number == 300


FILL_CRIMES = {
    "forged": forged,
    "empty": empty,
    "one short": lambda _, headers: headers[:-1],
    "one more": lambda _, headers: [*headers, CHAIN.headers[headers[-1].number + 1]],
    "shifted": lambda _, headers: [CHAIN.headers[header.number - 1] for header in headers],
    "one replaced": lambda _, headers: [FORGED.headers[x.number] if x.number % 16 == 7 else x for x in headers],
}


@pytest.mark.parametrize("crime", FILL_CRIMES)
@both_modes
@several_seeds
def test_gaps_are_filled_by_others_when_a_fill_is_bad(seed, mode, crime):
    sim = SimSync(seed, mode)
    alice = SimPeer("alice", CHAIN)
    sim.add_peers(alice, Mallory("mallory", CHAIN, bend_headers=FILL_CRIMES[crime]))
    assert sim.sync(alice) is None
    assert sim.head_number == 300
    assert sim.dropped == {}, "the anchors may be false, so nobody is blamed for a gap"


@both_modes
@several_seeds
def test_silent_filler_is_dropped_and_its_gaps_are_filled_by_others(seed, mode):
    sim = SimSync(seed, mode)
    alice = SimPeer("alice", CHAIN)
    sim.add_peers(alice, Mallory("mallory", CHAIN, bend_headers=silent))
    assert sim.sync(alice) is None
    assert sim.head_number == 300
    assert sim.dropped == {"mallory": SyncFault.TIMEOUT}


@several_seeds
def test_peer_is_dropped_when_its_bodies_match_no_header(seed):
    sim = SimSync(seed, SyncMode.FULL)
    alice, bob = SimPeer("alice", CHAIN), SimPeer("bob", CHAIN)
    sim.add_peers(alice, bob, Mallory("mallory", CHAIN, bend_bodies=with_garbage))
    assert sim.sync(alice) is None
    assert sim.head_number == 300
    assert sim.dropped == {"mallory": SyncFault.INVALID_BODY}


@several_seeds
def test_another_finishes_when_the_master_gives_bodies_that_match_no_header(seed):
    sim = settled(seed, SyncMode.FULL, Mallory("mallory", CHAIN, bend_bodies=with_garbage), SimPeer("alice", CHAIN))
    assert sim.dropped == {"mallory": SyncFault.INVALID_BODY}
    assert sim.head_number == 300


@several_seeds
def test_silent_peer_is_dropped_when_the_smallest_body_request_times_out_too(seed):
    sim = SimSync(seed, SyncMode.FULL)
    alice, bob = SimPeer("alice", CHAIN), SimPeer("bob", CHAIN)
    sim.add_peers(alice, bob, Mallory("mallory", CHAIN, bend_bodies=silent))
    assert sim.sync(alice) is None
    assert sim.head_number == 300
    assert sim.dropped == {"mallory": SyncFault.TIMEOUT}
    assert sim.progress.timeouts >= 1


@several_seeds
def test_withheld_bodies_are_fetched_elsewhere_and_nobody_is_dropped(seed):
    sim = SimSync(seed, SyncMode.FULL)
    mallory, alice = Mallory("mallory", CHAIN, bend_bodies=empty), SimPeer("alice", CHAIN)
    sim.add_peers(mallory, alice)
    assert sim.sync(mallory) is None
    assert sim.head_number == 300
    assert sim.dropped == {}
    asked = [wanted for request in mallory.asked if isinstance(request, RequestBodies) for wanted in request.hashes]
    assert len(set(asked)) == len(asked), "what a peer lacks is not asked of it again"


@several_seeds
def test_master_is_dropped_when_nobody_has_its_bodies(seed):
    mallory = Mallory("mallory", CHAIN, bend_bodies=empty)
    sim = SimSync(seed, SyncMode.FULL)
    sim.add_peers(mallory, SimPeer("alice", CHAIN.shortened(100)))
    assert sim.sync(mallory) is SyncFault.PEERS_UNAVAILABLE
    assert sim.dropped == {"mallory": SyncFault.PEERS_UNAVAILABLE}
    assert 80 <= sim.head_number <= 100, "what could be had is kept"


@several_seeds
def test_one_withheld_body_stops_the_sync_when_nobody_else_has_it(seed):
    hole = CHAIN.bodies[143]

    def keep(request, bodies):
        return [body for body in bodies if body != hole]

    sim = settled(seed, SyncMode.FULL, Mallory("mallory", CHAIN, bend_bodies=keep))
    assert sim.dropped == {"mallory": SyncFault.PEERS_UNAVAILABLE}
    assert sim.head_number == 142
    alice = SimPeer("alice", CHAIN)
    sim.add_peers(alice)
    assert sim.sync(alice) is None
    assert sim.head_number == 300


@pytest.mark.parametrize("bodies_per_reply", [1, 3, 10])
@several_seeds
def test_head_is_reached_when_replies_are_partial(seed, bodies_per_reply):
    sim = SimSync(seed, SyncMode.FULL)
    alice = SimPeer("alice", CHAIN, bodies_per_reply=bodies_per_reply)
    bob = SimPeer("bob", CHAIN, bodies_per_reply=bodies_per_reply)
    sim.add_peers(alice, bob)
    assert sim.sync(alice) is None
    assert sim.head_number == 300
    assert sim.dropped == {}


@pytest.mark.parametrize("leaves_at", [0.1, 0.5, 0.9])
@both_modes
@several_seeds
def test_sync_goes_on_when_a_peer_leaves_in_the_middle_of_a_reply(seed, mode, leaves_at):
    sim = SimSync(seed, mode)
    alice, bob = SimPeer("alice", CHAIN), SimPeer("bob", CHAIN, latency=(0.3, 0.4))
    sim.add_peers(alice, bob)
    sim.start(alice)
    sim.net.at(leaves_at, lambda: sim.disconnect(bob))
    assert sim.finish() is None
    assert sim.head_number == 300
    assert sim.dropped == {}
    assert sim.net.now < 10, "what bob was asked for goes to alice at once, not after a time-out"


@pytest.mark.parametrize("leaves_at", [0.02, 0.3, 0.7, 1.0])
@both_modes
@several_seeds
def test_sync_ends_without_blame_when_the_master_leaves(seed, mode, leaves_at):
    sim = SimSync(seed, mode)
    alice, bob = SimPeer("alice", CHAIN, latency=(0.1, 0.2)), SimPeer("bob", CHAIN)
    sim.add_peers(alice, bob)
    sim.start(alice)
    sim.net.at(leaves_at, lambda: sim.disconnect(alice))
    assert sim.finish() is SyncFault.MASTER_LEFT
    assert sim.dropped == {}
    assert sim.sync(bob) is None
    assert sim.head_number == 300


@both_modes
@several_seeds
def test_new_peer_is_used_when_it_joins_in_the_middle(seed, mode):
    sim = SimSync(seed, mode)
    alice, bob = SimPeer("alice", CHAIN, latency=(0.2, 0.3)), SimPeer("bob", CHAIN)
    sim.add_peers(alice)
    sim.start(alice)
    sim.net.at(1.0, lambda: sim.add_peers(bob))
    assert sim.finish() is None
    assert sim.head_number == 300
    assert bob.asked


@both_modes
@several_seeds
def test_head_is_reached_when_the_network_loses_replies(seed, mode):
    sim = SimSync(seed, mode)
    peers = [SimPeer(f"peer {index}", CHAIN, loss=0.03) for index in range(8)]
    sim.add_peers(*peers, SimPeer("alice", CHAIN))
    sim.sync_until_settled()
    assert sim.head_number == 300


@both_modes
@several_seeds
def test_honest_peers_stay_and_the_head_is_reached_when_half_of_all_are_hostile(seed, mode):
    sim = SimSync(seed, mode)
    hostile = [
        Mallory("silent", CHAIN, bend_headers=silent, bend_bodies=silent),
        Mallory("garbage", CHAIN, bend_headers=FILL_CRIMES["one replaced"], bend_bodies=with_garbage),
        Mallory("hole", CHAIN, bend_headers=without_number(157), bend_bodies=empty),
        SimPeer("liar", CHAIN.shortened(200), promised=10**9),
        SimPeer("invalid", CHAIN.broken_at(250), promised=10**8),
    ]
    honest = [SimPeer(f"honest {index}", CHAIN) for index in range(5)]
    sim.add_peers(*hostile, *honest)
    sim.sync_until_settled()
    assert sim.chain.heads().header == CHAIN.head
    assert not {peer.name for peer in honest} & set(sim.dropped)
    assert {"liar", "invalid"} <= set(sim.dropped)
