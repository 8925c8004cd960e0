"""Sees, one by one, whether the nodes of the table still live (geth `Table.doRevalidate`)."""

from __future__ import annotations

import random
from typing import Final

from services.peer_gateway.core.node_table import NodeTable
from services.peer_gateway.core.packet_exchange import PacketExchange
from services.shared.chainspec.enode import Enode

REVALIDATE_INTERVAL_S: Final = 10.0
"""The next check comes within this time after the last has ended, by chance."""

PINGS_PER_CHECK: Final = 2
"""Unanswered Pings after which a node counts as dead: one may have been lost."""


class Revalidation:
    """Pings the node that was silent longest of a random bucket; one that is dead makes room."""

    def __init__(self, exchange: PacketExchange, table: NodeTable, rng: random.Random, now: float) -> None:
        self._exchange, self._table, self._rng = exchange, table, rng
        self._checked: Enode | None = None
        self._pings_left = 0
        self.due = now + rng.uniform(0, REVALIDATE_INTERVAL_S)
        """When the next check begins; never while one is under way."""

    def begin(self, now: float) -> None:
        """Start a check. Caller's duty: it is due."""
        self._checked = self._table.to_revalidate()
        if self._checked is None:
            self._end(now)
            return
        self.due = float("inf")
        self._pings_left = PINGS_PER_CHECK - 1
        self._exchange.ping(self._checked, now)

    def on_proven(self, node: Enode, now: float) -> None:
        if self._is_checked(node):
            self._end(now)

    def on_silent(self, node: Enode, now: float) -> None:
        """A Ping was not answered."""
        if not self._is_checked(node):
            return
        if self._pings_left:
            self._pings_left -= 1
            self._exchange.ping(node, now)
            return
        if self._table.get(node.node_id) == self._checked:
            self._table.replace(node.node_id, now)
            self._exchange.proofs.forget(node.node_id, node.host)
        self._end(now)

    def _is_checked(self, node: Enode) -> bool:
        """Whether this is the node under check, at the address where it is checked."""
        checked = self._checked
        return checked is not None and (checked.node_id, checked.host, checked.udp_port) == (
            node.node_id,
            node.host,
            node.udp_port,
        )

    def _end(self, now: float) -> None:
        self._checked = None
        self.due = now + self._rng.uniform(0, REVALIDATE_INTERVAL_S)
