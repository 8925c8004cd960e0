"""A compact first-in-first-out queue of small numbers."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Final

COMPACT_AT: Final = 256
"""Popped entries kept at the front before they are cut off: at most 1 KiB a queue, one move per 256 pops."""


class IdQueue:
    """Numbers below 2**32 in the order they were pushed, four bytes each.

    A deque costs twice that; with 1,000 peers and thousands of entries each this is what the process is made of.
    """

    __slots__ = ("_ids", "_start")

    def __init__(self) -> None:
        self._ids = array("I")
        self._start = 0

    def push(self, number: int) -> None:
        self._ids.append(number)

    def pop(self) -> int:
        """Take the oldest number; an empty queue raises IndexError."""
        number = self._ids[self._start]
        self._start += 1
        if self._start == COMPACT_AT:
            del self._ids[:COMPACT_AT]
            self._start = 0
        return number

    def __len__(self) -> int:
        return len(self._ids) - self._start

    def __iter__(self) -> Iterator[int]:
        return iter(self._ids[self._start :])
