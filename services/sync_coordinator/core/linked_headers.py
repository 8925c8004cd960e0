"""Headers in order, each the child of the one before."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from services.shared.ethwire.types import BlockHash, Header
from services.sync_coordinator.core.sync_faults import SyncFailed, SyncFault


def first_unlinked(headers: Sequence[Header], number: int, parent_hash: BlockHash | None) -> int | None:
    """Index of the first header that does not continue the chain, or None.

    The first one must have `number` and, unless that is None, `parent_hash`.
    """
    for index, header in enumerate(headers):
        if header.number != number or (parent_hash is not None and header.parent_hash != parent_hash):
            return index
        number += 1
        parent_hash = header.hash
    return None


class LinkedHeaders:
    """The queue between header download and what consumes headers. `add` refuses a header that does not link."""

    def __init__(self, last_number: int, last_hash: BlockHash) -> None:
        self._headers: deque[Header] = deque()
        self.last_number, self._last_hash = last_number, last_hash

    def __len__(self) -> int:
        return len(self._headers)

    def add(self, headers: Sequence[Header]) -> None:
        """Append `headers`. Raises SyncFailed(INVALID_CHAIN) at the first that does not link."""
        broken = first_unlinked(headers, self.last_number + 1, self._last_hash)
        if broken is not None:
            header = headers[broken]
            raise SyncFailed(
                SyncFault.INVALID_CHAIN,
                f"header {header.number} 0x{header.hash.hex()} does not follow header {self.last_number + broken}",
            )
        if headers:
            self.last_number, self._last_hash = headers[-1].number, headers[-1].hash
            self._headers.extend(headers)

    def take(self, most: int) -> list[Header]:
        """Remove and return the oldest ones."""
        headers = self._headers
        return [headers.popleft() for _ in range(min(most, len(headers)))]
