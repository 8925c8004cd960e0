"""Which nodes were dialled, or banned, so recently that they are not dialled now."""

from __future__ import annotations

import heapq
from typing import Final

from services.shared.ethwire.types import PeerId

WAITS: Final = 4096
"""Nodes that may wait at once: more than a hundred dials a second for the whole 30 s, which only a flood of addresses
that refuse at once can bring about. A full history stops dials to new nodes."""


class Waits:
    """Until when each node is left alone; a new wait replaces the old one. Each change costs O(log n).

    Of more than `WAITS`, the one that ends first is dropped.
    """

    def __init__(self) -> None:
        self._until: dict[PeerId, float] = {}
        self._ends: list[tuple[float, PeerId]] = []

    def __len__(self) -> int:
        return len(self._until)

    def __contains__(self, node_id: PeerId) -> bool:
        """Whether it waited when `expire` was last called."""
        return node_id in self._until

    @property
    def is_full(self) -> bool:
        return len(self._until) >= WAITS

    def add(self, node_id: PeerId, until: float) -> None:
        self._until[node_id] = until
        heapq.heappush(self._ends, (until, node_id))
        while len(self._until) > WAITS:
            self._drop_first()
        if len(self._ends) > 64 + 2 * len(self._until):
            # Replaced entries that have not come up: build anew, at a cost spread over as many changes.
            self._ends = [(each, of) for of, each in self._until.items()]
            heapq.heapify(self._ends)

    def remove(self, node_id: PeerId) -> None:
        self._until.pop(node_id, None)

    def until(self, node_id: PeerId) -> float:
        """When the wait is over; 0.0 for a node that does not wait."""
        return self._until.get(node_id, 0.0)

    def expire(self, now: float) -> None:
        """Forget the waits that are over."""
        while self._ends and self._ends[0][0] <= now:
            self._drop_first()

    def next_end(self) -> float | None:
        """When the next wait may be over."""
        return self._ends[0][0] if self._ends else None

    def _drop_first(self) -> None:
        until, node_id = heapq.heappop(self._ends)
        if self._until.get(node_id) == until:
            del self._until[node_id]
