"""Which node ids are kept away, and for how long."""

from __future__ import annotations

import heapq
from typing import Final

from services.shared.ethwire.types import PeerId

BANS_KEPT: Final = 4096
"""Node ids are free: whoever makes new ones to be banned with must not make this grow. About 1 MB."""


class BanList:
    """Bans by node id, each with its end.

    At most `limit`: of more, those that end soonest go first, so that a flood of short bans does not take away the
    long ones. Pure: callers pass `now`, and the times of all calls are of one clock.
    """

    def __init__(self, limit: int = BANS_KEPT) -> None:
        self._limit = limit
        self._until: dict[PeerId, float] = {}
        self._by_end: list[tuple[float, PeerId]] = []

    def ban(self, node_id: PeerId, ban_s: float, now: float) -> None:
        """Keep a node away for `ban_s` from now on; a ban that lasts longer is left as it is."""
        until = now + ban_s
        self._forget_over(now)
        if ban_s <= 0 or until <= self._until.get(node_id, now):
            return
        self._until[node_id] = until
        heapq.heappush(self._by_end, (until, node_id))
        while len(self._until) > self._limit:
            self._drop_soonest()
        if len(self._by_end) > 64 + 4 * len(self._until):
            # Ends that were put off or lifted: build anew, at a cost spread over as many changes.
            self._by_end = [(end, each) for each, end in self._until.items()]
            heapq.heapify(self._by_end)

    def left_s(self, node_id: PeerId, now: float) -> float:
        """How much longer the node is banned; 0 where it is not."""
        return max(0.0, self._until.get(node_id, now) - now)

    def lift(self, node_id: PeerId) -> bool:
        """End a ban early; False where there is none."""
        return self._until.pop(node_id, None) is not None

    def count(self, now: float) -> int:
        """Nodes banned now."""
        self._forget_over(now)
        return len(self._until)

    def _forget_over(self, now: float) -> None:
        while self._by_end and self._by_end[0][0] <= now:
            self._drop_soonest()

    def _drop_soonest(self) -> None:
        """Take the soonest end off the heap, and its ban where that is still the one."""
        until, node_id = heapq.heappop(self._by_end)
        if self._until.get(node_id) == until:
            del self._until[node_id]
