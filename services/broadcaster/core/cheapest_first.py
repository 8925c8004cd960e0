"""Which of many transactions pays least."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from services.shared.ethwire.types import TransactionHash

TIDY_AT: Final = 4
"""The heap is made anew when it is so many times longer than what is left of it by the caller's count."""


class Rank(NamedTuple):
    """Ordered by what leaves first: the cheapest; of equal ones the youngest, so that a newcomer of no
    higher price pushes nobody out."""

    fee_cap: int
    tip_cap: int
    age: int
    """Minus the order of arrival."""
    hash: TransactionHash


class CheapestFirst:
    """A heap in which what has gone stays until it comes up.

    Caller's duty: `stands` answers the same question every time, and `tidy` is called now and then.
    """

    def __init__(self, stands: Callable[[Rank], bool]) -> None:
        self._heap: list[Rank] = []
        self._stands = stands

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, rank: Rank) -> None:
        heapq.heappush(self._heap, rank)

    def first(self) -> Rank | None:
        """The first of those that stand, or None."""
        while self._heap and not self._stands(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0] if self._heap else None

    def tidy(self, standing: int, everything: Callable[[], Iterable[Rank]]) -> None:
        """Drop what has gone, once it is most of the heap."""
        if len(self._heap) > TIDY_AT * (standing + 16):
            self._heap = [rank for rank in everything() if self._stands(rank)]
            heapq.heapify(self._heap)
