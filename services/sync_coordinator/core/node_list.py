"""One list of nodes, static or trusted, from three sources: flags, a file that may change, and operators' orders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from services.shared.chainspec.enode import Enode
from services.shared.ethwire.types import PeerId

ORDERS: Final = 1024
"""Orders kept for one list. Each is sent to every gateway with each dial plan, so they must stay few."""


class Order(NamedTuple):
    """What an operator wants of one node, and when that was said (milliseconds of wall-clock time)."""

    node: Enode
    is_listed: bool
    unix_ms: int


class TooManyOrders(Exception):
    """The list of orders is full."""

    def __init__(self) -> None:
        super().__init__(
            f"operators have added or removed {ORDERS} nodes, which is the limit; "
            "put nodes that stay into static-nodes.json or trusted-nodes.json"
        )


class NodeList:
    """The newest order about a node beats flags and file, as geth's `admin` calls beat its configuration.

    A node that is taken off by an order comes back when the file lists it anew or at another address, since
    that was said later. Of two orders about one node the later one counts, in whatever order they are heard.
    """

    def __init__(self, flags: Iterable[Enode]) -> None:
        self._flags = {node.node_id: node for node in flags}
        self._file: Mapping[PeerId, Enode] = {}
        self._orders: dict[PeerId, Order] = {}
        self._nodes = dict(self._flags)

    def __contains__(self, node_id: PeerId) -> bool:
        return node_id in self._nodes

    @property
    def nodes(self) -> Mapping[PeerId, Enode]:
        return self._nodes

    @property
    def orders(self) -> Iterable[Order]:
        return self._orders.values()

    def is_ordered(self, node_id: PeerId) -> bool:
        """Whether an operator put the node here."""
        order = self._orders.get(node_id)
        return order is not None and order.is_listed

    def set_file(self, nodes: Iterable[Enode]) -> bool:
        """Take the file's new content; False when that changes nothing."""
        before, self._file = self._file, {node.node_id: node for node in nodes}
        for node_id, node in self._file.items():
            order = self._orders.get(node_id)
            if before.get(node_id) != node and order is not None and not order.is_listed:
                del self._orders[node_id]
        return self._settle()

    def order(self, order: Order) -> bool:
        """Carry out an order, unless a later one is known; False when nothing changes. Raises TooManyOrders."""
        known = self._orders.get(order.node.node_id)
        if known is None and len(self._orders) >= ORDERS:
            self._make_room()
        if known is not None and known.unix_ms >= order.unix_ms:
            return False
        self._orders[order.node.node_id] = order
        return self._settle()

    def _make_room(self) -> None:
        """Drop the oldest order that took a node off which nothing lists: it only outlasts a late word of a gateway."""
        spent = [each for each in self._orders.values() if not each.is_listed and not self._is_given(each.node.node_id)]
        if not spent:
            raise TooManyOrders
        del self._orders[min(spent, key=lambda each: each.unix_ms).node.node_id]

    def _is_given(self, node_id: PeerId) -> bool:
        return node_id in self._flags or node_id in self._file

    def _settle(self) -> bool:
        before = self._nodes
        self._nodes = {**self._flags, **self._file}
        for node_id, order in self._orders.items():
            if order.is_listed:
                self._nodes[node_id] = order.node
            else:
                self._nodes.pop(node_id, None)
        return self._nodes != before
