"""The replies we wait for. What comes and was not asked for has no effect on anything."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from services.peer_gateway.core.addresses import UdpAddress
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.types import PeerId

REPLY_TIMEOUT_S: Final = 0.5
"""How long we wait for a reply (geth `respTimeout`)."""


class Awaited(enum.Enum):
    """What a node is to send us."""

    PONG = enum.auto()
    PING = enum.auto()
    """Its own, which it sends to prove our endpoint before it answers questions."""
    NEIGHBORS = enum.auto()
    RECORD = enum.auto()


PendingKey = tuple[Awaited, PeerId, UdpAddress]


@dataclass(slots=True)
class Pending:
    """One reply that is due from `node`, at its own address only."""

    kind: Awaited
    node: Enode
    due: float
    request_hash: bytes = b""
    """What the reply must name, where it names anything."""
    nodes: list[Enode] = field(default_factory=list)
    """What came so far, where a reply is several packets."""
    is_strangers: bool = False
    """Whether the node came by itself, so that we would know who it is."""
    named: int = 0
    """How many nodes came so far, those that cannot be used included."""

    @property
    def address(self) -> UdpAddress:
        return UdpAddress(self.node.host, self.node.udp_port)

    @property
    def key(self) -> PendingKey:
        return self.kind, self.node.node_id, self.address


class PendingReplies:
    """At most one per kind, node and address. All have the same time, so the oldest is the first that is due."""

    def __init__(self) -> None:
        self._pending: dict[PendingKey, Pending] = {}
        self._per_host: Counter[str] = Counter()
        self._asked_per_host: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._pending)

    def count_at(self, host: str) -> int:
        """How many we wait for from this host."""
        return self._per_host[host]

    def is_asked(self, host: str) -> bool:
        """Whether we wait for this host of our own accord."""
        return host in self._asked_per_host

    def expect(
        self, kind: Awaited, node: Enode, now: float, request_hash: bytes = b"", *, is_strangers: bool = False
    ) -> None:
        """Caller's duty: nothing of this kind is pending from the node."""
        pending = Pending(kind, node, now + REPLY_TIMEOUT_S, request_hash, is_strangers=is_strangers)
        assert pending.key not in self._pending, "one reply of a kind is pending from a node"
        self._pending[pending.key] = pending
        for counts in self._counts_of(pending):
            counts[node.host] += 1

    def find(self, kind: Awaited, node_id: PeerId, address: UdpAddress) -> Pending | None:
        return self._pending.get((kind, node_id, address))

    def settle(self, pending: Pending) -> None:
        """The reply is here, or is given up."""
        del self._pending[pending.key]
        host = pending.node.host
        for counts in self._counts_of(pending):
            counts[host] -= 1
            if not counts[host]:
                del counts[host]

    def overdue(self, now: float) -> list[Pending]:
        """Take out what did not come in time, oldest first."""
        late = []
        while (oldest := self._oldest()) is not None and oldest.due <= now:
            self.settle(oldest)
            late.append(oldest)
        return late

    def next_due(self) -> float | None:
        oldest = self._oldest()
        return oldest.due if oldest is not None else None

    def _counts_of(self, pending: Pending) -> Sequence[Counter[str]]:
        return (self._per_host,) if pending.is_strangers else (self._per_host, self._asked_per_host)

    def _oldest(self) -> Pending | None:
        return next(iter(self._pending.values()), None)
