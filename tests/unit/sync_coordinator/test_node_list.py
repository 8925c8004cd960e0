from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.chainspec.enode import Enode
from services.shared.ethwire.types import PeerId
from services.sync_coordinator.core.node_list import ORDERS, NodeList, Order, TooManyOrders
from tests.support.peers import ALICE, BOB, CAROL


def node(node_id: PeerId, port: int = 30303) -> Enode:
    return Enode(node_id, "127.0.0.1", port, port)


def add(node_id: PeerId, at: int = 1, port: int = 30303) -> Order:
    return Order(node(node_id, port), is_listed=True, unix_ms=at)


def remove(node_id: PeerId, at: int = 1) -> Order:
    return Order(node(node_id), is_listed=False, unix_ms=at)


def test_nodes_come_from_flags_file_and_orders():
    nodes = NodeList([node(ALICE)])
    assert nodes.set_file([node(BOB)])
    assert nodes.order(add(CAROL))
    assert set(nodes.nodes) == {ALICE, BOB, CAROL}
    assert [nodes.is_ordered(node_id) for node_id in (ALICE, BOB, CAROL)] == [False, False, True]


def test_file_that_does_not_list_a_node_any_more_takes_only_its_own_away():
    nodes = NodeList([node(ALICE)])
    nodes.set_file([node(ALICE), node(BOB), node(CAROL)])
    nodes.order(add(BOB))
    assert nodes.set_file([])
    assert set(nodes.nodes) == {ALICE, BOB}
    assert not nodes.set_file([])


def test_address_of_the_file_beats_that_of_a_flag_and_an_order_beats_both():
    nodes = NodeList([node(ALICE, 1)])
    nodes.set_file([node(ALICE, 2)])
    assert nodes.nodes[ALICE].tcp_port == 2
    nodes.order(add(ALICE, port=3))
    assert nodes.nodes[ALICE].tcp_port == 3


@pytest.mark.parametrize("flags", [[], [node(ALICE)]])
def test_removed_node_stays_away_when_the_file_still_lists_it(flags: list[Enode]):
    nodes = NodeList(flags)
    nodes.set_file([node(ALICE)])
    assert nodes.order(remove(ALICE))
    assert not nodes.set_file([node(ALICE), node(BOB)]) or ALICE not in nodes
    assert set(nodes.nodes) == {BOB}


@pytest.mark.parametrize("again", [[node(ALICE)], [node(ALICE, 30304)]])
def test_removed_node_comes_back_when_the_file_lists_it_anew(again: list[Enode]):
    nodes = NodeList([])
    nodes.set_file([node(ALICE)])
    nodes.order(remove(ALICE))
    if again == [node(ALICE)]:
        nodes.set_file([])
    assert nodes.set_file(again)
    assert nodes.nodes == {ALICE: again[0]}


def test_order_that_changes_nothing_says_so():
    nodes = NodeList([node(ALICE)])
    assert not nodes.order(add(ALICE))
    assert not nodes.order(remove(BOB))


def test_late_word_of_an_older_order_changes_nothing():
    nodes = NodeList([])
    nodes.order(remove(ALICE, at=5))
    assert not nodes.order(add(ALICE, at=4))
    assert not nodes.order(add(ALICE, at=5))
    assert nodes.order(add(ALICE, at=6))


def test_orders_are_bounded():
    nodes = NodeList([])
    for number in range(ORDERS):
        nodes.order(add(PeerId(number.to_bytes(4) * 16)))
    with pytest.raises(TooManyOrders, match="put nodes that stay into"):
        nodes.order(add(ALICE))
    assert nodes.order(remove(PeerId((7).to_bytes(4) * 16), at=2))


def test_orders_that_took_nodes_off_make_room_for_new_ones_unless_a_file_still_lists_them():
    nodes = NodeList([])
    ids = [PeerId(number.to_bytes(4) * 16) for number in range(ORDERS)]
    nodes.set_file([node(ids[0])])
    for at, node_id in enumerate(ids):
        nodes.order(remove(node_id, at))
    nodes.order(add(ALICE))
    assert set(nodes.nodes) == {ALICE}
    assert len(list(nodes.orders)) == ORDERS
    kept = {order.node.node_id for order in nodes.orders}
    assert ids[0] in kept
    assert ids[1] not in kept


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=20), st.randoms(use_true_random=False))
def test_two_coordinators_agree_whatever_order_they_hear_orders_in(given_orders, rng):
    orders = [
        Order(node(PeerId(bytes([number]) * 64)), is_listed, at) for at, (number, is_listed) in enumerate(given_orders)
    ]
    shuffled = rng.sample(orders, len(orders))
    first, second = NodeList([]), NodeList([])
    for order in orders:
        first.order(order)
    for order in shuffled:
        second.order(order)
    assert first.nodes == second.nodes
