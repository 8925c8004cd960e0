"""Static and trusted nodes: what operators and files say of them, and what gateways are told to do about it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import structlog
from blocksync.v1 import gateway_link_pb2

from services.shared.chainspec.enode import Enode, EnodeInvalid, parse_enode
from services.shared.ethwire.types import PeerId
from services.sync_coordinator.core.dial_plan import StaticPlan, share_dynamic_places
from services.sync_coordinator.core.node_list import NodeList, Order, TooManyOrders
from services.sync_coordinator.core.peer_set import Peer, PeerSet
from services.sync_coordinator.edges.gateway_links import GatewayLinks

_log = structlog.get_logger("dial-plans")


@dataclass(frozen=True, slots=True)
class NodeLists:
    """The nodes that are kept connected, and those that may connect above the limit."""

    static: NodeList
    trusted: NodeList

    @classmethod
    def of_urls(cls, static: Iterable[str], trusted: Iterable[str]) -> Self:
        """The lists as flags give them. Raises EnodeInvalid."""
        return cls(NodeList(map(parse_enode, static)), NodeList(map(parse_enode, trusted)))


class DialPlans:
    """Keeps every gateway's dial plan true: it is sent again whenever anything in it changed, and only then.

    What operators order is kept by the gateways and comes back with their snapshots, so that it outlives a
    restart of the coordinator, as the connections do. When all have stopped it is forgotten, as geth does.
    """

    def __init__(self, lists: NodeLists, peers: PeerSet, links: GatewayLinks, on_kept: Callable[[Peer], None]) -> None:
        """`on_kept` hears of a connected peer that has become static or trusted."""
        self._lists, self._peers, self._links, self._on_kept = lists, peers, links, on_kept
        self._static_plan = StaticPlan()
        self._static: dict[str, list[Enode]] = {}
        """For each gateway its static nodes."""
        self._sent: dict[str, gateway_link_pb2.DialPlan] = {}
        self._is_held = False

    # Files and operators

    def set_static_file(self, nodes: Sequence[Enode]) -> None:
        """A node that the file does not list any more is not redialled; a connection to it stays."""
        self._change(lambda: self._lists.static.set_file(nodes))

    def set_trusted_file(self, nodes: Sequence[Enode]) -> None:
        self._change(lambda: self._lists.trusted.set_file(nodes))

    def order(self, node: Enode, *, trusted: bool, listed: bool) -> None:
        """Carry out an operator's order. Raises TooManyOrders."""
        nodes = self._lists.trusted if trusted else self._lists.static
        if not listed and node.node_id not in nodes:
            return
        # Later than every order before, also where the clock was set back.
        unix_ms = max([int(time.time() * 1000), *(order.unix_ms + 1 for order in nodes.orders)])
        self._change(lambda: nodes.order(Order(node, listed, unix_ms)))

    def is_static(self, node_id: PeerId) -> bool:
        return node_id in self._lists.static

    def is_trusted(self, node_id: PeerId) -> bool:
        return node_id in self._lists.trusted

    def keeper_of(self, node_id: PeerId) -> str | None:
        """The gateway that keeps a static node connected; None while no gateway is attached."""
        for gateway_id, nodes in self._static.items():
            if any(node.node_id == node_id for node in nodes):
                return gateway_id
        return None

    # Gateways and peers

    def attached(self, gateway_id: str, orders: Iterable[gateway_link_pb2.PeerOrder]) -> None:
        """A gateway came (again) with the orders that it kept. Caller's duty: `describe` its peers afterwards."""
        self._sent.pop(gateway_id, None)
        known = list(self._orders())
        for order in orders:
            if order not in known:
                self._adopt(order)

    def describe(self, peer: Peer) -> None:
        """What only the coordinator knows of a peer that has not joined yet, whichever gateway it came to."""
        peer.static = self.is_static(peer.node_id)
        peer.trusted = peer.trusted or self.is_trusted(peer.node_id)

    def hold(self, *, held: bool) -> None:
        """Send nothing until this is taken back: gateways go on by the plans they have."""
        was_held, self._is_held = self._is_held, held
        if was_held and not held:
            self.refresh()

    def refresh(self) -> None:
        """Gateways or static nodes have changed."""
        self._static = dict(
            self._static_plan.share_out(
                self._lists.static.nodes,
                self._lists.static.is_ordered,
                self._peers.peers_of(),
                self._holder_of,
                self._links.may_dial,
            )
        )
        self._send()

    def peers_changed(self, peer: Peer) -> None:
        """A peer came or went. A static one stays with the gateway that has it."""
        if peer.static and self._peers.get(peer.node_id) is peer:
            self.refresh()
        elif not peer.takes_inbound_place:
            self._send()

    def _holder_of(self, node_id: PeerId) -> str | None:
        peer = self._peers.get(node_id)
        return peer.gateway_id if peer is not None else None

    def _adopt(self, order: gateway_link_pb2.PeerOrder) -> None:
        nodes = self._lists.trusted if order.trusted else self._lists.static
        try:
            node = parse_enode(order.enode)
            self._change(lambda: nodes.order(Order(node, order.listed, order.unix_ms)), told=False)
        except (EnodeInvalid, TooManyOrders) as problem:
            _log.warning("an order kept by a gateway is left out", why=str(problem))

    def _change(self, change: Callable[[], bool], *, told: bool = True) -> None:
        """Make a change to the lists, and let connected peers and gateways know."""
        static, trusted = self._lists.static.nodes, self._lists.trusted.nodes
        change()
        changed = (static.keys() ^ self._lists.static.nodes.keys()) | (
            trusted.keys() ^ self._lists.trusted.nodes.keys()
        )
        for node_id in changed:
            peer = self._peers.get(node_id)
            marks = {"static": self.is_static(node_id), "trusted": self.is_trusted(node_id)}
            if peer is not None and self._peers.mark(peer, **marks) and (peer.static or peer.trusted):
                self._on_kept(peer)
        if told:
            self.refresh()

    def _orders(self) -> Iterable[gateway_link_pb2.PeerOrder]:
        for nodes, trusted in ((self._lists.static, False), (self._lists.trusted, True)):
            for order in nodes.orders:
                yield gateway_link_pb2.PeerOrder(
                    enode=str(order.node), trusted=trusted, listed=order.is_listed, unix_ms=order.unix_ms
                )

    def _send(self) -> None:
        if self._is_held:
            return
        places = share_dynamic_places(self._peers.dial_quota, self._peers.outbound_of())
        gateway_node_ids, orders = self._peers.gateway_node_ids, list(self._orders())
        sent_before, self._sent = self._sent, {}
        for link in self._links:
            plan = gateway_link_pb2.DialPlan(
                static_enodes=[str(node) for node in self._static.get(link.gateway_id, [])],
                gateway_node_ids=gateway_node_ids,
                dynamic_places=places.get(link.gateway_id, 0),
                trusted_node_ids=list(self._lists.trusted.nodes),
                orders=orders,
            )
            self._sent[link.gateway_id] = plan
            if sent_before.get(link.gateway_id) != plan:
                self._links.send_dial_plan(link.gateway_id, plan)
