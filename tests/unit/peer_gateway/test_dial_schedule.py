"""The dial schedule in virtual time."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from services.peer_gateway.core.dial_plan import Dial, DialKind, DialLimits, DialPlan, DialResult
from services.peer_gateway.core.dial_schedule import (
    CANDIDATES,
    DIALS_KEPT_FREE,
    HELD_S,
    NEIGHBOURS,
    REDIAL_SPREAD,
    DialSchedule,
)
from services.peer_gateway.core.former_peers import FAILED_DIALS, FormerPeer
from services.peer_gateway.core.redial_history import WAITS
from services.shared.chainspec.enode import Enode
from services.shared.chainspec.net_restrict import NetRestrict
from services.shared.chainspec.rendezvous import owner_of
from services.shared.ethwire.types import PeerId
from tests.support.peers import ALICE, BOB, CAROL, MALLORY

LIMITS = DialLimits(redial_after_s=30.0, dials_at_once=16)
OWN = PeerId(b"\x01" * 64)
SIBLING = PeerId(b"\x02" * 64)
FAILED, JOINED, REFUSED = DialResult.FAILED, DialResult.JOINED, DialResult.REFUSED_FOR_GOOD


def node(node_id: PeerId, port: int = 30303, host: str = "198.51.100.1") -> Enode:
    return Enode(node_id, host, port, port)


def nodes(count: int) -> list[Enode]:
    """Each of a neighbourhood of its own."""
    return [
        node(PeerId((number + 1000).to_bytes(2) * 32), host=f"20.{number // 250}.{number % 250}.1")
        for number in range(count)
    ]


def schedule(*static: Enode, limits: DialLimits = LIMITS, places: int = 0, **rules: object) -> DialSchedule:
    made = DialSchedule(limits, random.Random(7), OWN, **rules)  # type: ignore[arg-type]
    made.set_plan(DialPlan(static=static, dynamic_places=places))
    return made


def due(dials: DialSchedule, now: float, kind: DialKind = DialKind.STATIC) -> list[Enode]:
    """What is due, all of one kind."""
    found = dials.due(now)
    assert {dial.kind for dial in found} <= {kind}
    return [dial.node for dial in found]


def dynamic(dials: DialSchedule, now: float) -> list[Enode]:
    return due(dials, now, DialKind.DYNAMIC)


def former(dials: DialSchedule, now: float) -> list[Enode]:
    return due(dials, now, DialKind.FORMER)


def ids(found: Iterable[Enode]) -> set[PeerId]:
    return {each.node_id for each in found}


# Static nodes


def test_static_node_is_dialled_at_once():
    dials = schedule(node(ALICE))
    assert dials.next_wakeup() is not None
    assert dials.due(now=100.0) == [Dial(node(ALICE), DialKind.STATIC)]
    assert dials.due(now=100.0) == []
    assert dials.next_wakeup() is None


def test_node_is_dialled_again_once_the_history_forgets_it():
    dials = schedule(node(ALICE))
    dials.due(now=0.0)
    dials.on_dial_ended(ALICE, FAILED, now=5.0)
    wakeup = dials.next_wakeup()
    assert wakeup is not None
    assert 35.0 <= wakeup <= 35.0 + 30.0 * REDIAL_SPREAD
    assert dials.due(now=34.9) == []
    assert due(dials, now=wakeup) == [node(ALICE)]


@pytest.mark.parametrize("result", [FAILED, REFUSED])
def test_failing_static_node_is_dialled_for_ever(result: DialResult):
    dials = schedule(node(ALICE))
    now = 0.0
    for _ in range(100):
        assert due(dials, now) == [node(ALICE)]
        dials.on_dial_ended(ALICE, result, now)
        wakeup = dials.next_wakeup()
        assert wakeup is not None
        now = wakeup


def test_banned_static_node_is_dialled_still():
    dials = schedule(node(ALICE))
    dials.ban(ALICE, until=1000.0)
    assert due(dials, now=0.0) == [node(ALICE)]


@pytest.mark.parametrize("inbound", [True, False])
def test_connected_node_is_not_dialled_until_it_is_gone(inbound: bool):
    dials = schedule(node(ALICE))
    dials.due(now=0.0)
    dials.on_connected(ALICE, inbound=inbound)
    dials.on_dial_ended(ALICE, JOINED, now=1.0)
    assert dials.due(now=1000.0) == []
    assert dials.next_wakeup() is None
    dials.on_disconnected(ALICE)
    assert due(dials, now=1000.0) == [node(ALICE)]


def test_peer_that_leaves_soon_waits_for_the_rest_of_the_history():
    dials = schedule(node(ALICE))
    dials.due(now=0.0)
    dials.on_connected(ALICE, inbound=False)
    dials.on_dial_ended(ALICE, JOINED, now=1.0)
    dials.on_disconnected(ALICE)
    assert dials.due(now=10.0) == []
    assert due(dials, now=32.0) == [node(ALICE)]


def test_node_that_dialled_us_is_not_dialled():
    dials = schedule(node(ALICE))
    dials.on_connected(ALICE, inbound=True)
    assert dials.due(now=0.0) == []


def test_own_and_sibling_ids_are_never_dialled():
    dials = schedule(places=9)
    static = [node(OWN), node(BOB), node(SIBLING)]
    dials.set_plan(DialPlan(static=static, gateways=frozenset({OWN, SIBLING}), dynamic_places=9))
    dials.offer([node(OWN), node(SIBLING)], now=0.0)
    dials.add_former([FormerPeer(node(OWN), 0.0), FormerPeer(node(SIBLING), 0.0)], now=0.0, unix_s=1e9)
    assert due(dials, now=0.0) == [node(BOB)]


def test_no_more_than_the_limit_are_dialled_together():
    dials = schedule(*nodes(40))
    first = due(dials, now=0.0)
    assert len(first) == 16
    assert dials.due(now=0.0) == []
    assert dials.next_wakeup() is None
    dials.on_dial_ended(first[0].node_id, FAILED, now=0.5)
    second = due(dials, now=0.5)
    assert len(second) == 1
    assert second[0] not in first


def test_every_node_gets_its_turn_when_there_are_more_than_the_limit():
    dials = schedule(*nodes(40))
    dialled: set[PeerId] = set()
    for step in range(3):
        for chosen in due(dials, now=float(step)):
            dialled.add(chosen.node_id)
            dials.on_dial_ended(chosen.node_id, FAILED, now=float(step))
    assert dialled == ids(nodes(40))


def test_node_taken_out_of_the_plan_is_let_go():
    dials = schedule(node(ALICE), node(BOB))
    dials.set_plan(DialPlan(static=[node(BOB)]))
    assert due(dials, now=0.0) == [node(BOB)]


def test_node_put_back_into_the_plan_is_dialled_at_once():
    dials = schedule(node(ALICE))
    dials.due(now=0.0)
    dials.on_dial_ended(ALICE, FAILED, now=0.0)
    dials.set_plan(DialPlan())
    dials.set_plan(DialPlan(static=[node(ALICE)]))
    assert due(dials, now=1.0) == [node(ALICE)]


def test_same_plan_again_keeps_the_history():
    dials = schedule(node(ALICE), node(CAROL))
    for chosen in due(dials, now=0.0):
        dials.on_dial_ended(chosen.node_id, FAILED, now=0.0)
    dials.set_plan(DialPlan(static=[node(ALICE), node(CAROL, port=30304)]))
    assert due(dials, now=1.0) == [node(CAROL, port=30304)]


def test_address_that_netrestrict_forbids_is_told_once_and_not_dialled():
    allows = NetRestrict.parse("203.0.113.0/24").allows
    dials = DialSchedule(LIMITS, random.Random(7), OWN, allows)
    inside, outside = node(ALICE, host="203.0.113.7"), node(BOB)
    plan = DialPlan(static=[inside, outside, node(CAROL, host="carol.example")], dynamic_places=9)
    assert dials.set_plan(plan) == [outside, node(CAROL, host="carol.example")]
    assert dials.set_plan(plan) == []
    assert due(dials, now=0.0) == [inside]
    dials.offer([node(MALLORY)], now=0.0)
    dials.add_former([FormerPeer(node(MALLORY), 0.0)], now=0.0, unix_s=1e9)
    assert dials.due(now=0.0) == []


@pytest.mark.parametrize("seed", range(5))
def test_equal_seed_gives_equal_order(seed: int):
    orders = []
    for _ in range(2):
        dials = DialSchedule(LIMITS, random.Random(seed), OWN)
        dials.set_plan(DialPlan(static=nodes(30), dynamic_places=5))
        dials.offer([node(ALICE), node(BOB), node(CAROL)], now=0.0)
        orders.append(dials.due(now=0.0))
    assert orders[0] == orders[1]


# Candidates from discovery


def test_candidates_are_dialled_up_to_the_quota():
    dials = schedule(places=5)
    assert dials.wanted(now=0.0) == 5
    dials.offer(nodes(8), now=0.0)
    assert dials.wanted(now=0.0) == 0
    first = dynamic(dials, now=0.0)
    assert len(first) == 5
    assert dials.due(now=0.0) == []
    assert dials.next_wakeup() is None
    dials.on_dial_ended(first[0].node_id, FAILED, now=1.0)
    assert dials.next_wakeup() == 0.0
    assert len(dynamic(dials, now=1.0)) == 1


def test_node_that_a_sibling_holds_is_passed_over_until_a_gateway_comes_or_goes():
    plan = DialPlan(gateways=frozenset({OWN, SIBLING}), dynamic_places=5)
    dials = schedule(places=5)
    dials.set_plan(plan)
    ours = next(each for each in nodes(40) if owner_of(each.node_id, plan.gateways) == OWN)
    dials.offer([ours], 0.0)
    assert dynamic(dials, 0.0) == [ours]
    assert dials.on_dial_ended(ours.node_id, DialResult.HELD, 1.0), "the sibling remembers it"
    dials.offer([ours], 100.0)
    dials.set_plan(plan)
    dials.offer([ours], HELD_S)
    assert dynamic(dials, HELD_S) == []
    dials.offer([ours], HELD_S + 1.0)
    assert dynamic(dials, HELD_S + 1.0) == [ours]
    dials.on_dial_ended(ours.node_id, DialResult.HELD, 700.0)
    dials.set_plan(DialPlan(gateways=frozenset({OWN}), dynamic_places=5))
    dials.offer([ours], 740.0)
    assert dynamic(dials, 740.0) == [ours]


def test_static_node_that_is_held_is_dialled_still():
    dials = schedule(node(ALICE))
    assert due(dials, 0.0) == [node(ALICE)]
    assert not dials.on_dial_ended(ALICE, DialResult.HELD, 1.0)
    assert due(dials, 40.0) == [node(ALICE)]


def test_outbound_peers_take_places_of_the_quota_and_inbound_and_static_ones_do_not():
    dials = schedule(node(ALICE), places=2)
    for node_id, inbound in ((ALICE, False), (BOB, True), (CAROL, False)):
        dials.on_connected(node_id, inbound=inbound)
    assert dials.wanted(now=0.0) == 1
    dials.set_plan(DialPlan(dynamic_places=2))
    assert dials.wanted(now=0.0) == 0
    dials.on_disconnected(CAROL)
    assert dials.wanted(now=0.0) == 1


def test_nothing_is_dialled_of_our_own_accord_without_places():
    dials = schedule()
    dials.offer(nodes(8), now=0.0)
    assert (dials.wanted(now=0.0), dials.due(now=0.0), dials.next_wakeup()) == (0, [], None)


def test_quota_that_shrinks_below_what_is_there_stops_dials():
    dials = schedule(places=2)
    for node_id in (ALICE, BOB):
        dials.on_connected(node_id, inbound=False)
    dials.set_plan(DialPlan(dynamic_places=1))
    dials.offer(nodes(3), now=0.0)
    dials.on_disconnected(ALICE)
    assert dials.due(now=0.0) == []
    dials.on_disconnected(BOB)
    assert len(dynamic(dials, now=0.0)) == 1


def test_candidate_is_passed_over_when_it_may_not_be_dialled():
    dials = schedule(node(ALICE), places=9)
    dials.due(now=0.0)
    dials.on_connected(BOB, inbound=True)
    dials.ban(CAROL, until=50.0)
    dials.offer([node(ALICE), node(BOB), node(CAROL), node(MALLORY, port=0)], now=1.0)
    assert dials.due(now=1.0) == []
    dials.offer([node(CAROL)], now=50.0)
    assert dynamic(dials, now=50.0) == [node(CAROL)]


def test_waiting_candidate_is_dropped_when_it_connects_or_is_banned_or_becomes_static():
    dials = schedule()
    dials.offer([node(ALICE), node(BOB), node(CAROL)], now=0.0)
    dials.on_connected(ALICE, inbound=True)
    dials.ban(BOB, until=99.0)
    dials.set_plan(DialPlan(static=[node(CAROL)], dynamic_places=9))
    assert due(dials, now=0.0) == [node(CAROL)]


def test_dynamic_node_is_offered_in_vain_while_the_history_has_it():
    dials = schedule(places=9)
    dials.offer([node(ALICE)], now=0.0)
    dials.due(now=0.0)
    dials.on_dial_ended(ALICE, FAILED, now=0.0)
    dials.offer([node(ALICE)], now=29.9)
    assert dials.due(now=29.9) == []
    dials.offer([node(ALICE)], now=31.0)
    assert dynamic(dials, now=31.0) == [node(ALICE)]


def test_candidate_whose_address_changed_is_dialled_at_the_new_one():
    dials = schedule(places=9)
    dials.offer([node(ALICE), node(ALICE, port=30304)], now=0.0)
    assert dynamic(dials, now=0.0) == [node(ALICE, port=30304)]


def test_newest_candidates_win_when_there_are_too_many():
    dials = schedule()
    offered = nodes(CANDIDATES + 10)
    dials.offer(offered, now=0.0)
    dials.set_plan(DialPlan(dynamic_places=1000))
    dialled: set[PeerId] = set()
    while found := dynamic(dials, now=0.0):
        dialled |= ids(found)
        for each in found:
            dials.on_dial_ended(each.node_id, FAILED, now=0.0)
    assert dialled == ids(offered[10:])


def test_candidate_is_dialled_by_one_of_two_gateways():
    both = DialPlan(gateways=frozenset({OWN, SIBLING}), dynamic_places=1000)
    found = []
    for own_id in (OWN, SIBLING):
        dials = DialSchedule(DialLimits(dials_at_once=1000), random.Random(7), own_id)
        dials.set_plan(both)
        dials.offer(nodes(100), now=0.0)
        found.append(ids(dynamic(dials, now=0.0)))
    assert found[0] | found[1] == ids(nodes(100))
    assert not found[0] & found[1]


def test_waiting_candidates_are_left_to_a_gateway_that_comes():
    dials = schedule(places=0)
    dials.offer(nodes(100), now=0.0)
    dials.set_plan(DialPlan(gateways=frozenset({OWN, SIBLING}), dynamic_places=1000))
    found = ids(dynamic(dials, now=0.0))
    assert all(owner_of(node_id, [OWN, SIBLING]) == OWN for node_id in found)


def test_flood_of_nodes_that_refuse_at_once_is_slowed_to_what_the_history_holds():
    dials = schedule(places=16)
    dialled = 0
    for batch in range(0, WAITS + 500, 16):
        ids_now = [PeerId((batch + at).to_bytes(4) * 16) for at in range(16)]
        dials.offer([node(each, host=f"20.0.{at}.1") for at, each in enumerate(ids_now)], now=0.0)
        for each in dynamic(dials, now=0.0):
            dialled += 1
            dials.on_dial_ended(each.node_id, FAILED, now=0.0)
    assert dialled == WAITS
    wakeup = dials.next_wakeup()
    assert wakeup is not None
    assert wakeup >= 30.0
    assert dynamic(dials, now=wakeup + 1.0)


def test_dead_static_nodes_leave_some_dials_to_others():
    dials = schedule(*nodes(40), places=9)
    dials.offer([node(ALICE), node(BOB)], now=0.0)
    kinds = [dial.kind for dial in dials.due(now=0.0)]
    assert (kinds.count(DialKind.STATIC), kinds.count(DialKind.DYNAMIC)) == (14, 2)
    assert len(kinds) - kinds.count(DialKind.STATIC) <= DIALS_KEPT_FREE


# Former peers


def remembered(*peers: Enode, last: float = 0.0) -> list[FormerPeer]:
    return [FormerPeer(peer, last) for peer in peers]


def test_former_peer_waits_until_a_throttle_at_the_other_side_has_passed():
    dials = schedule()
    dials.add_former(remembered(node(ALICE), last=990.0), now=5.0, unix_s=1000.0)
    assert dials.due(now=24.9) == []
    wakeup = dials.next_wakeup()
    assert wakeup is not None
    assert 25.0 <= wakeup <= 25.0 + 30.0 * REDIAL_SPREAD
    assert former(dials, now=wakeup) == [node(ALICE)]


@pytest.mark.parametrize("host", ["127.0.0.1", "10.9.8.7", "192.168.1.1", "::1", "fd00::1"])
def test_former_peer_nearby_is_dialled_at_once(host: str):
    dials = schedule()
    near = node(ALICE, host=host)
    dials.add_former(remembered(near, last=999.9), now=0.0, unix_s=1000.0)
    assert former(dials, now=0.0) == [near]


def test_former_peer_waits_one_throttle_at_most_when_the_clock_was_set_back():
    dials = schedule()
    dials.add_former(remembered(node(ALICE), last=9_000_000.0), now=0.0, unix_s=1000.0)
    assert former(dials, now=30.0 * (1 + REDIAL_SPREAD)) == [node(ALICE)]


def test_former_peer_that_is_static_waits_as_well():
    dials = DialSchedule(LIMITS, random.Random(7), OWN)
    dials.add_former(remembered(node(ALICE), last=990.0), now=0.0, unix_s=1000.0)
    dials.set_plan(DialPlan(static=[node(ALICE), node(BOB)]))
    assert due(dials, now=0.0) == [node(BOB)]
    assert due(dials, now=21.0) == [node(ALICE)]


def test_former_peers_come_before_candidates_and_outside_the_quota_but_count_for_it():
    dials = schedule(places=3)
    dials.add_former(remembered(node(ALICE), node(BOB)), now=0.0, unix_s=1000.0)
    dials.offer(nodes(5), now=0.0)
    kinds = [dial.kind for dial in dials.due(now=0.0)]
    assert kinds == [DialKind.FORMER, DialKind.FORMER, DialKind.DYNAMIC]
    for node_id in (ALICE, BOB):
        dials.on_connected(node_id, inbound=False)
        dials.on_dial_ended(node_id, JOINED, now=1.0)
    assert dials.due(now=1.0) == []


def test_former_peers_that_had_connected_leave_the_quota_to_nodes_of_our_own_choice():
    dials = schedule(places=3)
    dials.add_former([FormerPeer(node(each), 0.0, was_inbound=True) for each in (ALICE, BOB)], now=0.0, unix_s=1000.0)
    dials.offer(nodes(5), now=0.0)
    found = dials.due(now=0.0)
    assert [dial.kind for dial in found] == [*[DialKind.FORMER] * 2, *[DialKind.DYNAMIC] * 3]
    assert [dial.was_inbound for dial in found] == [True, True, False, False, False]
    for dial in found:
        dials.on_connected(dial.node.node_id, inbound=dial.was_inbound)
        dials.on_dial_ended(dial.node.node_id, JOINED, now=1.0)
    assert dials.due(now=1.0) == []
    dials.on_disconnected(found[-1].node.node_id)
    assert [dial.kind for dial in dials.due(now=1.0)] == [DialKind.DYNAMIC]


def test_former_peers_are_dialled_with_discovery_off():
    dials = schedule(places=0)
    dials.add_former(remembered(node(ALICE)), now=0.0, unix_s=1000.0)
    assert former(dials, now=0.0) == [node(ALICE)]


def test_former_peers_are_not_dialled_beyond_the_limit_of_peers():
    dials = schedule(limits=DialLimits(most_peers=3))
    dials.on_connected(MALLORY, inbound=True)
    dials.add_former(remembered(node(ALICE), node(BOB), node(CAROL)), now=0.0, unix_s=1000.0)
    first = former(dials, now=0.0)
    assert len(first) == 2
    assert dials.next_wakeup() is None
    for each in first:
        dials.on_connected(each.node_id, inbound=False)
        dials.on_dial_ended(each.node_id, JOINED, now=0.0)
    assert (dials.due(now=0.0), dials.next_wakeup()) == ([], None)
    dials.on_disconnected(MALLORY)
    assert len(former(dials, now=0.0)) == 1


def test_former_peer_is_given_up_after_five_failed_dials():
    dials = schedule()
    dials.add_former(remembered(node(ALICE)), now=0.0, unix_s=1000.0)
    now, given_up = 0.0, []
    for _ in range(FAILED_DIALS):
        assert former(dials, now) == [node(ALICE)]
        given_up.append(dials.on_dial_ended(ALICE, FAILED, now))
        now += 31.0
    assert given_up == [False] * (FAILED_DIALS - 1) + [True]
    assert (dials.due(now), dials.next_wakeup()) == ([], None)


@pytest.mark.parametrize("result", [REFUSED, JOINED])
def test_former_peer_is_dialled_once_when_that_decides(result: DialResult):
    dials = schedule()
    dials.add_former(remembered(node(ALICE)), now=0.0, unix_s=1000.0)
    dials.due(now=0.0)
    if result is JOINED:
        dials.on_connected(ALICE, inbound=False)
        dials.on_disconnected(ALICE)
    assert dials.on_dial_ended(ALICE, result, now=0.0) is (result is REFUSED)
    assert (dials.due(now=1000.0), dials.next_wakeup()) == ([], None)


def test_former_peer_is_not_dialled_when_it_came_by_itself_or_is_banned():
    dials = schedule()
    dials.add_former(remembered(node(ALICE), node(BOB), node(CAROL, port=0)), now=0.0, unix_s=1000.0)
    dials.on_connected(ALICE, inbound=True)
    dials.ban(BOB, until=9999.0)
    assert (dials.due(now=0.0), dials.next_wakeup()) == ([], None)


# One machine with many keys


def crowd(count: int, host: str = "203.0.113.{}") -> list[Enode]:
    return [node(PeerId(number.to_bytes(2) * 32), host=host.format(number)) for number in range(1, count + 1)]


def test_a_neighbourhood_has_no_more_candidates_and_dynamic_peers_than_its_share():
    dials = schedule(places=8)
    dials.offer(crowd(16), now=0.0)
    chosen = dynamic(dials, 0.0)
    assert len(chosen) == NEIGHBOURS
    for each in chosen:
        dials.on_connected(each.node_id, inbound=False)
        dials.on_dial_ended(each.node_id, JOINED, 0.0)
    dials.offer(crowd(16), now=100.0)
    assert dynamic(dials, 100.0) == []
    dials.offer([node(ALICE)], now=100.0)
    assert dynamic(dials, 100.0) == [node(ALICE)]
    dials.on_disconnected(chosen[0].node_id)
    dials.offer(crowd(16), now=200.0)
    assert len(dynamic(dials, 200.0)) == 1


def test_a_neighbourhood_has_its_share_again_after_dials_that_failed():
    dials = schedule(places=8)
    dials.offer(crowd(2), now=0.0)
    for each in dynamic(dials, 0.0):
        dials.on_dial_ended(each.node_id, FAILED, 0.0)
    dials.offer(crowd(4)[2:], now=1.0)
    assert len(dynamic(dials, 1.0)) == NEIGHBOURS


def test_neighbours_on_the_lan_are_all_candidates():
    dials = schedule(places=8)
    dials.offer(crowd(8, "192.168.0.{}"), now=0.0)
    assert len(dynamic(dials, 0.0)) == 8
