from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.chainspec.enode import Enode
from services.shared.chainspec.rendezvous import owner_of
from services.shared.ethwire.types import PeerId
from services.sync_coordinator.core.dial_plan import StaticPlan, share_dynamic_places

NODES = {PeerId(bytes([at]) * 64): Enode(PeerId(bytes([at]) * 64), "127.0.0.1", 30303, 30303) for at in range(200)}
NODE = next(iter(NODES.values()))


def share_out(plan, nodes, peers_of, *, ordered=(), holders=None):
    found = plan.share_out(nodes, ordered.__contains__, peers_of, (holders or {}).get)
    return {gateway_id: [node.node_id for node in of_gateway] for gateway_id, of_gateway in found.items()}


def only(node_id: PeerId):
    return {node_id: NODES[node_id]}


def test_every_node_is_dialled_by_exactly_one_gateway():
    plan = share_out(StaticPlan(), NODES, {"a": 0, "b": 0, "c": 0})
    assert sorted(node_id for of_gateway in plan.values() for node_id in of_gateway) == sorted(NODES)
    assert all(len(of_gateway) > 30 for of_gateway in plan.values())


def test_only_the_nodes_of_a_gateway_that_ended_move():
    before = {node_id: owner_of(node_id, ["a", "b", "c"]) for node_id in NODES}
    after = {node_id: owner_of(node_id, ["a", "b"]) for node_id in NODES}
    assert all(after[node_id] == owner for node_id, owner in before.items() if owner != "c")


@pytest.mark.parametrize("ordered", [[], list(NODES)])
def test_nobody_dials_without_gateways(ordered):
    assert owner_of(NODE.node_id, list[str]()) is None
    assert share_out(StaticPlan(), NODES, {}, ordered=ordered) == {}


def test_node_id_of_a_gateway_may_stand_for_it():
    gateways = [PeerId(bytes([at]) * 64) for at in (250, 251, 252)]
    owners = [owner_of(node_id, gateways) for node_id in NODES]
    assert all(owners.count(gateway) > 30 for gateway in gateways)


@pytest.mark.parametrize("ordered", [[], [NODE.node_id]])
def test_connected_node_stays_with_its_gateway_while_that_lives(ordered):
    owner = owner_of(NODE.node_id, ["a", "b"])
    other = "a" if owner == "b" else "b"
    node, holders = only(NODE.node_id), {NODE.node_id: other}
    # The busier gateway holds it.
    busy = {str(owner): 0, other: 9}
    assert share_out(StaticPlan(), node, busy, ordered=ordered, holders=holders)[other] == [NODE.node_id]
    assert share_out(StaticPlan(), node, {str(owner): 0}, ordered=ordered, holders=holders) == {owner: [NODE.node_id]}


@pytest.mark.parametrize("ordered", [[], list(NODES)])
def test_nodes_go_to_the_gateways_that_would_dial_them_and_to_any_where_none_would(ordered):
    def shared(able):
        plan = StaticPlan().share_out(
            NODES,
            ordered.__contains__,
            {"a": 0, "b": 9, "c": 9},
            lambda _: None,
            lambda gateway_id, node: gateway_id in able,
        )
        return {gateway_id: len(of_gateway) for gateway_id, of_gateway in plan.items()}

    assert shared({"b"}) == {"a": 0, "b": len(NODES), "c": 0}
    assert sum(shared(set()).values()) == len(NODES)


def test_added_node_goes_to_the_gateway_with_fewest_peers_and_dials_and_stays_there():
    plan, (first, second, third, *_) = StaticPlan(), NODES
    one, two = only(first), {**only(first), **only(second)}
    assert share_out(plan, one, {"a": 2, "b": 1}, ordered=list(one)) == {"a": [], "b": [first]}
    assert share_out(plan, two, {"a": 1, "b": 1}, ordered=list(two)) == {"a": [second], "b": [first]}
    # Connected meanwhile, then lost: it is that gateway's still, although another has less to do.
    share_out(plan, two, {"a": 0, "b": 9}, ordered=list(two), holders={first: "b"})
    assert share_out(plan, two, {"a": 0, "b": 9}, ordered=list(two)) == {"a": [second], "b": [first]}
    assert share_out(plan, {**two, **only(third)}, {"a": 0, "b": 9}, ordered=[*two, third])["a"] == [second, third]


def test_added_node_moves_when_its_gateway_dies():
    plan = StaticPlan()
    node = only(NODE.node_id)
    assert share_out(plan, node, {"a": 0, "b": 1, "c": 2}, ordered=list(node))["a"] == [NODE.node_id]
    assert share_out(plan, node, {"b": 3, "c": 2}, ordered=list(node))["c"] == [NODE.node_id]


def test_added_node_is_given_anew_when_it_was_taken_out():
    plan = StaticPlan()
    node = only(NODE.node_id)
    share_out(plan, node, {"a": 0, "b": 1}, ordered=list(node))
    share_out(plan, {}, {"a": 2, "b": 1})
    assert share_out(plan, node, {"a": 2, "b": 1}, ordered=list(node))["b"] == [NODE.node_id]


@pytest.mark.parametrize(
    ("places", "outbound", "parts"),
    [
        (8, {"a": 0}, {"a": 8}),
        (8, {"a": 0, "b": 0}, {"a": 4, "b": 4}),
        (8, {"a": 0, "b": 0, "c": 0}, {"a": 3, "b": 3, "c": 2}),
        (8, {"a": 1, "b": 0}, {"a": 4, "b": 4}),
        # Alone until now: b gets what is left, and more as a's peers leave.
        (8, {"a": 7, "b": 0}, {"a": 7, "b": 1}),
        (8, {"a": 6, "b": 1}, {"a": 6, "b": 2}),
        (8, {"a": 9, "b": 0}, {"a": 9, "b": 0}),
        (0, {"a": 0, "b": 0}, {"a": 0, "b": 0}),
        (8, {}, {}),
    ],
)
def test_dial_quota_is_shared_by_what_each_gateway_has(places, outbound, parts):
    assert share_dynamic_places(places, outbound) == parts


@given(st.integers(0, 40), st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 12), min_size=1))
def test_parts_of_the_dial_quota_never_add_up_to_more(places, outbound):
    parts = share_dynamic_places(places, outbound)
    assert sum(parts.values()) == max(places, sum(outbound.values()))
    assert all(parts[gateway_id] >= count for gateway_id, count in outbound.items())
