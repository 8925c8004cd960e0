"""The pivot: where a fast sync turns from fast blocks to full ones.

Blocks up to the pivot are stored with their receipts, on the word of their headers. Its state is fetched;
once that is whole the pivot is committed, and the blocks after it are imported in full. Known peers keep
the state of their newest 128 blocks or so, so a pivot that has fallen behind moves up.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.shared.ethwire.types import Header
from services.sync_coordinator.core.downloader_config import PIVOT_MOVES_AFTER


def pivot_number(height: int, distance: int) -> int | None:
    """The pivot of a chain with this head; None when it is so short that all of it is imported in full."""
    return height - distance if height > distance else None


class Pivot:
    """The pivot of one fast sync. A sync that has none is complete without one."""

    def __init__(self, height: int, distance: int) -> None:
        self._distance = distance
        self.number = pivot_number(height, distance)
        self.header: Header | None = None
        """The pivot's header, once it is imported."""
        self.is_committed = False

    @property
    def is_pending(self) -> bool:
        """Whether blocks after the pivot have to wait."""
        return self.number is not None and not self.is_committed

    @property
    def last_fast_block(self) -> int:
        """Blocks up to this one are imported as fast blocks, those after it in full."""
        return self.number if self.number is not None else 0

    @property
    def awaited_to(self) -> int:
        """Up to here blocks must be assembled for the pivot to move, however much memory they take."""
        return self.last_fast_block + PIVOT_MOVES_AFTER * self._distance + 1

    def first_block(self, ancestor: int) -> int:
        """The block after which the sync begins: the pivot, or all of a chain that has none, must come again."""
        return min(ancestor, self.last_fast_block - 1) if self.number is not None else 0

    def see(self, imported: Sequence[Header]) -> bool:
        """Look for the pivot's header in a run of imported headers; True when it is found."""
        if not imported or self.number is None or self.header is not None:
            return False
        index = self.number - imported[0].number
        if not 0 <= index < len(imported):
            return False
        self.header = imported[index]
        return True

    def place_for(self, newest_assembled: int) -> int | None:
        """Where the pivot belongs when this block is assembled; None when it may stay where it is."""
        if not self.is_pending or newest_assembled < self.awaited_to:
            return None
        return newest_assembled - self._distance

    def move_to(self, header: Header) -> None:
        """Take another block as the pivot."""
        self.number, self.header = header.number, header
