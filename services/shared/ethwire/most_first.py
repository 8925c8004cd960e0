"""A ranking by a count that moves by one."""

from __future__ import annotations


class MostFirst:
    """Places (small numbers) with a count each; names one with the highest count in constant time.

    Places of one count stand together in a row of their own, so a change moves a place to the next row. The last row
    is the highest and has somebody in it, unless it is the first.
    """

    __slots__ = ("_counts", "_rows")

    def __init__(self) -> None:
        self._counts: list[int] = []
        self._rows: list[dict[int, None]] = [{}]

    def add(self, place: int) -> None:
        """Start a place at zero. Places are dense: each new one is the next number, or one that was removed."""
        if place == len(self._counts):
            self._counts.append(0)
        self._rows[0][place] = None

    def remove(self, place: int) -> None:
        """Caller's duty: the place's count is back at zero."""
        del self._rows[0][place]

    def change(self, place: int, step: int) -> None:
        """Move a count up (1) or down (-1)."""
        before = self._counts[place]
        after = self._counts[place] = before + step
        del self._rows[before][place]
        if after == len(self._rows):
            self._rows.append({})
        self._rows[after][place] = None
        if not self._rows[-1]:
            self._rows.pop()

    def highest(self) -> int | None:
        """A place with the highest count, or None when all counts are zero."""
        return next(iter(self._rows[-1])) if len(self._rows) > 1 else None
