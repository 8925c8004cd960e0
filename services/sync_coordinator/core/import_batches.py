"""What is with the importer: one batch of a lane at a time, never waiting to be filled.

There are two lanes: headers (in fast and light mode) and blocks (in fast and full mode). One batch of a
lane, not two: a second would be small, because it would leave as soon as its first block is complete. So
batches grow by themselves while the importer is the slower side.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from services.shared.ethwire.types import Header
from services.sync_coordinator.core.block_assembly import Assembled, BlockAssembly
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.fork_choice import ChainView
from services.sync_coordinator.core.linked_headers import LinkedHeaders
from services.sync_coordinator.core.pivot import Pivot
from services.sync_coordinator.core.sync_actions import CommitPivot, ImportBlocks, ImportFastBlocks, ImportHeaders


class ImportLane:
    """The batch that the importer owes an answer for, and how much it has taken."""

    def __init__(self) -> None:
        self._batch_id: int | None = None
        self._count, self._size_bytes = 0, 0
        self.imported, self.imported_bytes = 0, 0
        self.last_import_at: float | None = None

    @property
    def is_busy(self) -> bool:
        """Whether the importer owes an answer."""
        return self._batch_id is not None

    @property
    def in_batch(self) -> int:
        """Headers or blocks that the importer owes an answer for."""
        return self._count if self.is_busy else 0

    def owes(self, batch_id: int) -> bool:
        return self._batch_id == batch_id

    def hand_out(self, batch_id: int, count: int, size_bytes: int) -> int:
        """Caller's duty: the lane is not busy."""
        self._batch_id, self._count, self._size_bytes = batch_id, count, size_bytes
        return batch_id

    def on_imported(self, now: float) -> None:
        """The importer took all of the batch."""
        self._batch_id = None
        self.imported += self._count
        self.imported_bytes += self._size_bytes
        self.last_import_at = now

    def on_failed(self) -> None:
        self._batch_id = None


class HeaderImports:
    """Hands out batches of headers, and remembers which of them were new: they may have to be taken back."""

    def __init__(self, config: DownloaderConfig, chain: ChainView) -> None:
        self._most = config.import_batch
        self._chain = chain
        self._batch: Sequence[Header] = ()
        self._unknown: Sequence[Header] = ()
        self._new_seen = False
        self.lane = ImportLane()
        self.added: deque[Header] = deque(maxlen=config.rollback_headers)
        """The newest headers this run added."""

    def next(self, ready: LinkedHeaders, next_id: Callable[[], int], pivot: int | None = None) -> ImportHeaders | None:
        """A batch of the headers that are ready, if there are any and the importer is idle."""
        if self.lane.is_busy or not len(ready):
            return None
        self._batch = headers = ready.take(self._most)
        self._unknown = self._unknown_of(headers)
        size_bytes = sum([len(header.header_rlp) for header in headers])
        return ImportHeaders(self.lane.hand_out(next_id(), len(headers), size_bytes), headers, pivot)

    def on_imported(self, now: float) -> Sequence[Header]:
        """The importer took all of the batch, which is returned."""
        self.lane.on_imported(now)
        self.added.extend(self._unknown)
        return self._batch

    def on_failed(self, number: int | None) -> None:
        """The importer took what is below block `number`; with None, as much as our chain has now."""
        self.lane.on_failed()
        if number is not None:
            self.added.extend([header for header in self._unknown if header.number < number])
        else:
            know = self._chain.total_difficulty
            self.added.extend([header for header in self._unknown if know(header.hash) is not None])

    def _unknown_of(self, headers: Sequence[Header]) -> Sequence[Header]:
        """The headers our chain does not have: once one is unknown, so are all after it."""
        if self._new_seen:
            return headers
        for index, header in enumerate(headers):
            if self._chain.total_difficulty(header.hash) is None:
                self._new_seen = True
                return headers[index:]
        return ()


class BlockImports:
    """Hands out batches of complete blocks; in fast mode, split at the pivot."""

    def __init__(self, config: DownloaderConfig) -> None:
        self._most = config.import_batch
        self._fast_to = 0
        self._committed: Pivot | None = None
        self.lane = ImportLane()

    @property
    def is_committing(self) -> bool:
        """Whether the importer has the pivot: it can no longer move."""
        return self._committed is not None

    def next(self, assembly: BlockAssembly, next_id: Callable[[], int]) -> ImportBlocks | None:
        """A batch of the blocks that are complete, if there are any and the importer is idle."""
        taken = self._take(assembly)
        return None if taken is None else ImportBlocks(self._hand_out(next_id(), taken), taken.blocks, taken.receipts)

    def next_fast(
        self, assembly: BlockAssembly, pivot: Pivot, next_id: Callable[[], int], *, state_is_whole: bool
    ) -> ImportFastBlocks | CommitPivot | ImportBlocks | None:
        """As `next`: fast blocks up to the pivot, then the pivot once its state is whole, then full blocks."""
        if not pivot.is_pending:
            return self.next(assembly, next_id)
        taken = self._take(assembly, up_to=pivot.last_fast_block)
        if taken is not None:
            self._fast_to = taken.blocks[-1].header.number
            return ImportFastBlocks(self._hand_out(next_id(), taken), taken.blocks, taken.receipts)
        if self.lane.is_busy or pivot.header is None or self._fast_to != pivot.number or not state_is_whole:
            return None
        self._committed = pivot
        return CommitPivot(self.lane.hand_out(next_id(), 0, 0), pivot.header)

    def on_imported(self, now: float) -> None:
        """The importer took all of the batch."""
        self.lane.on_imported(now)
        if self._committed is not None:
            self._committed.is_committed = True
            self._committed = None

    def _take(self, assembly: BlockAssembly, up_to: int | None = None) -> Assembled | None:
        if self.lane.is_busy:
            return None
        taken = assembly.take(self._most, up_to=up_to)
        return taken if taken.blocks else None

    def _hand_out(self, batch_id: int, taken: Assembled) -> int:
        return self.lane.hand_out(batch_id, len(taken.blocks), taken.size_bytes)
