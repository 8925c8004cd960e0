"""What gateways are told about nodes, and when."""

from __future__ import annotations

from blocksync.v1 import gateway_link_pb2

from services.shared.chainspec.enode import Enode
from services.shared.ethwire.types import BlockHash, PeerId
from services.sync_coordinator.core.node_list import NodeList
from services.sync_coordinator.core.peer_set import Peer, PeerSet
from services.sync_coordinator.edges.dial_plans import DialPlans, NodeLists
from services.sync_coordinator.edges.gateway_links import GatewayLink, GatewayLinks
from tests.support.wire import local_node

ALICE, BOB, CAROL, DAVE = (
    Enode(local_node(name).node_id, "127.0.0.1", 30303, 30303) for name in ("alice", "bob", "carol", "dave")
)


class Links(GatewayLinks):
    """Keeps the plans instead of sending them."""

    def __init__(self) -> None:
        super().__init__()
        self.plans: list[tuple[str, gateway_link_pb2.DialPlan]] = []

    def send_dial_plan(self, gateway_id: str, plan: gateway_link_pb2.DialPlan) -> None:
        self.plans.append((gateway_id, plan))

    def told(self) -> dict[str, gateway_link_pb2.DialPlan]:
        """The plans since the last call."""
        plans, self.plans = dict(self.plans), []
        return plans


class Coordinator:
    """The parts around the plans, as the node wires them."""

    def __init__(self, *static: Enode, max_peers: int = 9) -> None:
        self.peers, self.links = PeerSet(max_peers), Links()
        self.kept: list[PeerId] = []
        lists = NodeLists(NodeList(static), NodeList([]))
        self.plans = DialPlans(lists, self.peers, self.links, lambda peer: self.kept.append(peer.node_id))

    def attach(self, gateway_id: str, *peers: Peer, orders=(), discovers: bool = True) -> None:
        outbox = None  # plans are kept, not sent
        node_id = PeerId(gateway_id.encode() * 64)
        self.links.attach(GatewayLink(gateway_id, node_id, "", outbox))  # type: ignore[arg-type]
        self.plans.attached(gateway_id, orders)
        for each in peers:
            self.plans.describe(each)
        self.peers.set_discovering(gateway_id, discovers=discovers)
        self.peers.attach_gateway(gateway_id, node_id, peers)
        self.plans.refresh()

    def detach(self, gateway_id: str) -> None:
        self.links.detach(next(link for link in self.links if link.gateway_id == gateway_id))
        self.peers.detach_gateway(gateway_id)
        self.plans.refresh()

    def join(self, node: Enode, gateway_id: str, *, inbound: bool) -> Peer:
        peer = peer_of(node, gateway_id, inbound=inbound)
        self.plans.describe(peer)
        self.peers.join(peer)
        self.plans.peers_changed(peer)
        return peer

    def leave(self, peer: Peer) -> None:
        self.peers.leave(peer.node_id, peer.gateway_id)
        self.plans.peers_changed(peer)


def peer_of(node: Enode, gateway_id: str, *, inbound: bool) -> Peer:
    return Peer(
        node_id=node.node_id,
        gateway_id=gateway_id,
        eth_version=63,
        head_hash=BlockHash(b"h" * 32),
        total_difficulty=1,
        inbound=inbound,
    )


def places(told: dict[str, gateway_link_pb2.DialPlan]) -> dict[str, int]:
    return {gateway_id: plan.dynamic_places for gateway_id, plan in told.items()}


def test_gateway_that_comes_is_told_all_and_its_siblings_what_changes_for_them():
    node = Coordinator(ALICE)
    node.attach("a")
    plan = node.links.told()["a"]
    assert list(plan.static_enodes) == [str(ALICE)]
    assert (plan.dynamic_places, list(plan.gateway_node_ids)) == (3, [b"a" * 64])
    node.attach("b")
    assert places(node.links.told()) == {"a": 2, "b": 1}
    node.plans.refresh()
    assert node.links.told() == {}


def test_gateway_that_comes_again_is_told_all_again():
    node = Coordinator(ALICE)
    node.attach("a")
    first = node.links.told()
    node.attach("a")
    assert node.links.told() == first


def test_places_follow_what_gateways_have_dialled():
    node = Coordinator()
    node.attach("a")
    node.attach("b", discovers=False)
    assert places(node.links.told())["b"] == 0
    for each in (ALICE, BOB):
        node.join(each, "a", inbound=False)
    node.join(CAROL, "a", inbound=True)
    assert node.links.told() == {}
    node.attach("c")
    assert places(node.links.told())["c"] == 1
    third = node.join(DAVE, "c", inbound=False)
    assert node.links.told() == {}
    node.detach("a")
    assert places(node.links.told()) == {"b": 0, "c": 3}
    node.leave(third)
    assert node.links.told() == {}


def test_former_peers_beyond_the_quota_leave_no_places_to_others():
    node = Coordinator()
    node.attach("a", *(peer_of(each, "a", inbound=False) for each in (ALICE, BOB, CAROL, DAVE)))
    node.attach("b")
    assert places(node.links.told()) == {"a": 4, "b": 0}


def test_static_peer_is_outside_of_the_quota_from_the_moment_it_is_added():
    node = Coordinator()
    node.attach("a")
    node.attach("b")
    node.join(ALICE, "a", inbound=False)
    node.join(BOB, "a", inbound=False)
    assert places(node.links.told()) == {"a": 2, "b": 1}
    node.plans.order(ALICE, trusted=False, listed=True)
    node.plans.order(BOB, trusted=False, listed=True)
    assert node.kept == [ALICE.node_id, BOB.node_id]
    told = node.links.told()
    assert sorted(told["a"].static_enodes) == sorted([str(ALICE), str(BOB)])
    node.join(CAROL, "b", inbound=False)
    node.join(DAVE, "b", inbound=False)
    assert places(node.links.told()) == {"a": 1, "b": 2}


def test_trusted_nodes_are_told_to_every_gateway_at_once():
    node = Coordinator()
    node.attach("a")
    node.attach("b")
    node.links.told()
    node.plans.set_trusted_file([ALICE])
    assert [list(plan.trusted_node_ids) for plan in node.links.told().values()] == [[ALICE.node_id]] * 2
    node.plans.order(ALICE, trusted=True, listed=False)
    assert [list(plan.trusted_node_ids) for plan in node.links.told().values()] == [[]] * 2


def test_orders_come_back_from_the_gateways_after_a_restart():
    before = Coordinator()
    before.attach("a")
    before.plans.order(ALICE, trusted=False, listed=True)
    before.plans.order(BOB, trusted=True, listed=True)
    kept = list(before.links.told()["a"].orders)
    after = Coordinator()
    # What operators say meanwhile counts more than what they said before.
    after.plans.order(CAROL, trusted=True, listed=True)
    after.attach("a", peer_of(ALICE, "a", inbound=False), orders=kept)
    alice = after.peers.get(ALICE.node_id)
    assert alice is not None
    assert alice.static
    plan = after.links.told()["a"]
    assert list(plan.static_enodes) == [str(ALICE)]
    assert set(plan.trusted_node_ids) == {BOB.node_id, CAROL.node_id}


def test_plans_wait_while_they_are_held():
    node = Coordinator(ALICE)
    node.plans.hold(held=True)
    node.attach("a")
    assert node.links.told() == {}
    node.plans.hold(held=False)
    assert list(node.links.told()["a"].static_enodes) == [str(ALICE)]
    node.plans.hold(held=False)
    assert node.links.told() == {}


def test_order_that_is_wrong_or_old_is_passed_over():
    node = Coordinator()
    node.plans.order(ALICE, trusted=False, listed=True)
    node.plans.order(ALICE, trusted=False, listed=False)
    old = gateway_link_pb2.PeerOrder(enode=str(ALICE), listed=True, unix_ms=1)
    node.attach("a", orders=[gateway_link_pb2.PeerOrder(enode="enode://x", listed=True), old])
    assert list(node.links.told()["a"].static_enodes) == []


def test_removal_of_a_node_that_nothing_lists_is_not_kept():
    node = Coordinator()
    node.plans.order(ALICE, trusted=False, listed=False)
    node.attach("a")
    assert list(node.links.told()["a"].orders) == []
