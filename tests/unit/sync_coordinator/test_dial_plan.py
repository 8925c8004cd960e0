from __future__ import annotations

from services.shared.chainspec.enode import Enode
from services.shared.ethwire.types import PeerId
from services.sync_coordinator.core.dial_plan import owner_of, plan_dials

NODES = [Enode(PeerId(bytes([at]) * 64), "127.0.0.1", 30303, 30303) for at in range(200)]


def test_every_node_is_dialled_by_exactly_one_gateway():
    plan = plan_dials(NODES, ["a", "b", "c"], {})
    assert sorted(node.node_id for nodes in plan.values() for node in nodes) == [node.node_id for node in NODES]
    assert all(len(nodes) > 30 for nodes in plan.values())


def test_only_the_nodes_of_a_gateway_that_ended_move():
    before = {node.node_id: owner_of(node.node_id, ["a", "b", "c"]) for node in NODES}
    after = {node.node_id: owner_of(node.node_id, ["a", "b"]) for node in NODES}
    assert all(after[node_id] == owner for node_id, owner in before.items() if owner != "c")


def test_nobody_dials_without_gateways():
    assert owner_of(NODES[0].node_id, []) is None
    assert plan_dials(NODES, [], {}) == {}


def test_connected_node_stays_with_its_gateway_while_that_lives():
    node = NODES[0]
    owner = owner_of(node.node_id, ["a", "b"])
    other = "a" if owner == "b" else "b"
    assert node in plan_dials(NODES, ["a", "b"], {node.node_id: other})[other]
    assert node in plan_dials(NODES, [str(owner)], {node.node_id: other})[str(owner)]
