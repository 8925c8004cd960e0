"""The dial schedule in virtual time."""

from __future__ import annotations

import random

import pytest

from services.peer_gateway.core.dial_schedule import REDIAL_SPREAD, DialLimits, DialSchedule
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.types import PeerId
from tests.support.peers import ALICE, BOB, CAROL, MALLORY

LIMITS = DialLimits(redial_after_s=30.0, dials_at_once=16)


def node(node_id: PeerId, port: int = 30303) -> Enode:
    return Enode(node_id, "10.0.0.1", port, port)


def schedule(*nodes: Enode, limits: DialLimits = LIMITS) -> DialSchedule:
    made = DialSchedule(limits, random.Random(7))
    made.set_plan(nodes, [])
    return made


def test_static_node_is_dialled_at_once():
    dials = schedule(node(ALICE))
    assert dials.next_wakeup() is not None
    assert dials.due(now=100.0) == [node(ALICE)]
    assert dials.due(now=100.0) == []
    assert dials.next_wakeup() is None


def test_node_is_dialled_again_once_the_history_forgets_it():
    dials = schedule(node(ALICE))
    dials.due(now=0.0)
    dials.on_dial_ended(ALICE, now=5.0)
    wakeup = dials.next_wakeup()
    assert wakeup is not None
    assert 35.0 <= wakeup <= 35.0 + 30.0 * REDIAL_SPREAD
    assert dials.due(now=34.9) == []
    assert dials.due(now=wakeup) == [node(ALICE)]


def test_failing_node_is_dialled_for_ever():
    dials = schedule(node(ALICE))
    now = 0.0
    for _ in range(100):
        assert dials.due(now) == [node(ALICE)]
        dials.on_dial_ended(ALICE, now)
        wakeup = dials.next_wakeup()
        assert wakeup is not None
        now = wakeup


def test_connected_node_is_not_dialled_until_it_is_gone():
    dials = schedule(node(ALICE))
    dials.due(now=0.0)
    dials.on_connected(ALICE)
    dials.on_dial_ended(ALICE, now=1.0)
    assert dials.due(now=1000.0) == []
    assert dials.next_wakeup() is None
    dials.on_disconnected(ALICE)
    assert dials.due(now=1000.0) == [node(ALICE)]


def test_peer_that_leaves_soon_waits_for_the_rest_of_the_history():
    dials = schedule(node(ALICE))
    dials.due(now=0.0)
    dials.on_connected(ALICE)
    dials.on_dial_ended(ALICE, now=1.0)
    dials.on_disconnected(ALICE)
    assert dials.due(now=10.0) == []
    assert dials.due(now=32.0) == [node(ALICE)]


def test_node_that_dialled_us_is_not_dialled():
    dials = schedule(node(ALICE))
    dials.on_connected(ALICE)
    assert dials.due(now=0.0) == []


def test_own_and_sibling_ids_are_never_dialled():
    dials = DialSchedule(LIMITS, random.Random(7))
    dials.set_plan([node(ALICE), node(BOB), node(MALLORY)], [ALICE, MALLORY])
    assert dials.due(now=0.0) == [node(BOB)]


def test_no_more_than_the_limit_are_dialled_together():
    ids = [PeerId(bytes([number]) * 64) for number in range(1, 41)]
    dials = schedule(*(node(node_id) for node_id in ids))
    first = dials.due(now=0.0)
    assert len(first) == 16
    assert dials.due(now=0.0) == []
    assert dials.next_wakeup() is None
    dials.on_dial_ended(first[0].node_id, now=0.5)
    second = dials.due(now=0.5)
    assert len(second) == 1
    assert second[0] not in first


def test_every_node_gets_its_turn_when_there_are_more_than_the_limit():
    ids = [PeerId(bytes([number]) * 64) for number in range(1, 41)]
    dials = schedule(*(node(node_id) for node_id in ids))
    dialled: set[PeerId] = set()
    for step in range(3):
        for chosen in dials.due(now=float(step)):
            dialled.add(chosen.node_id)
            dials.on_dial_ended(chosen.node_id, now=float(step))
    assert dialled == set(ids)


def test_node_taken_out_of_the_plan_is_let_go():
    dials = schedule(node(ALICE), node(BOB))
    dials.set_plan([node(BOB)], [])
    assert dials.due(now=0.0) == [node(BOB)]


def test_node_put_back_into_the_plan_is_dialled_at_once():
    dials = schedule(node(ALICE))
    dials.due(now=0.0)
    dials.on_dial_ended(ALICE, now=0.0)
    dials.set_plan([], [])
    dials.set_plan([node(ALICE)], [])
    assert dials.due(now=1.0) == [node(ALICE)]


def test_same_plan_again_keeps_the_history():
    dials = schedule(node(ALICE), node(CAROL))
    for chosen in dials.due(now=0.0):
        dials.on_dial_ended(chosen.node_id, now=0.0)
    dials.set_plan([node(ALICE), node(CAROL, port=30304)], [])
    assert dials.due(now=1.0) == [node(CAROL, port=30304)]


@pytest.mark.parametrize("seed", range(5))
def test_equal_seed_gives_equal_order(seed: int):
    ids = [PeerId(bytes([number]) * 64) for number in range(1, 30)]
    orders = []
    for _ in range(2):
        dials = DialSchedule(LIMITS, random.Random(seed))
        dials.set_plan([node(node_id) for node_id in ids], [])
        orders.append(dials.due(now=0.0))
    assert orders[0] == orders[1]
