"""What is with the importer: one batch at a time, never waiting to be filled (SPEC section 4, steps 5 and 6).

One batch, not two: a second would be small, because it would leave as soon as its first block is
complete. So batches grow by themselves while the importer is the slower side.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from services.shared.ethwire.types import Header
from services.sync_coordinator.core.block_assembly import BlockAssembly
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.fork_choice import ChainView
from services.sync_coordinator.core.linked_headers import LinkedHeaders
from services.sync_coordinator.core.sync_actions import ImportBlocks, ImportHeaders


class ImportBatches:
    """Hands out batches and counts what was taken. In light mode it also remembers which headers were new."""

    def __init__(self, config: DownloaderConfig, chain: ChainView) -> None:
        self._most = config.import_batch
        self._chain = chain
        self._batch_id: int | None = None
        self._headers: Sequence[Header] = ()
        self._count, self._size_bytes = 0, 0
        self._new_seen = False
        self.added: deque[Header] = deque(maxlen=config.rollback_headers)
        """The newest headers this run added (light mode)."""
        self.imported, self.imported_bytes = 0, 0
        self.last_import_at: float | None = None

    @property
    def is_busy(self) -> bool:
        """Whether the importer owes an answer."""
        return self._batch_id is not None

    def owes(self, batch_id: int) -> bool:
        return self._batch_id == batch_id

    def next_headers(self, ready: LinkedHeaders, next_id: Callable[[], int]) -> ImportHeaders | None:
        """A batch of the headers that are ready, if there are any and the importer is idle."""
        if self.is_busy or not len(ready):
            return None
        headers = ready.take(self._most)
        self._headers = self._unknown(headers)
        batch_id = self._hand_out(next_id(), len(headers), sum([len(header.header_rlp) for header in headers]))
        return ImportHeaders(batch_id, headers)

    def next_blocks(self, assembly: BlockAssembly, next_id: Callable[[], int]) -> ImportBlocks | None:
        """A batch of the blocks that are complete, if there are any and the importer is idle."""
        if self.is_busy:
            return None
        blocks = assembly.take(self._most)
        if not blocks:
            return None
        batch_id = self._hand_out(next_id(), len(blocks), assembly.importing_bytes)
        return ImportBlocks(batch_id, blocks)

    def on_imported(self, now: float) -> None:
        """The importer took all of the batch."""
        self._batch_id = None
        self.imported += self._count
        self.imported_bytes += self._size_bytes
        self.last_import_at = now
        self.added.extend(self._headers)

    def on_failed(self, number: int | None) -> None:
        """The importer took what is below block `number`; with None, as much as our chain has now."""
        self._batch_id = None
        if number is not None:
            self.added.extend([header for header in self._headers if header.number < number])
        else:
            know = self._chain.total_difficulty
            self.added.extend([header for header in self._headers if know(header.hash) is not None])

    def _hand_out(self, batch_id: int, count: int, size_bytes: int) -> int:
        self._batch_id, self._count, self._size_bytes = batch_id, count, size_bytes
        return batch_id

    def _unknown(self, headers: Sequence[Header]) -> Sequence[Header]:
        """The headers our chain does not have: once one is unknown, so are all after it."""
        if self._new_seen:
            return headers
        for index, header in enumerate(headers):
            if self._chain.total_difficulty(header.hash) is None:
                self._new_seen = True
                return headers[index:]
        return ()
