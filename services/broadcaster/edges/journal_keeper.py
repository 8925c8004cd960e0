"""The journal's writer: off the event loop, one write after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from services.broadcaster.core.pool_shelves import Pooled
from services.broadcaster.core.transaction import Transaction
from services.broadcaster.edges.local_journal import LocalJournal
from services.broadcaster.pool_metrics import PoolMetrics
from services.shared.runtime.logs import get_log


class JournalKeeper:
    """Without a journal it keeps nothing, and says so. A write that fails is told and counted: the pool goes on.

    Caller's duty: `open` before anything else, `close` at the end.
    """

    def __init__(self, journal: LocalJournal | None, metrics: PoolMetrics) -> None:
        self._journal, self._metrics = journal, metrics
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._unrestored: list[bytes] = []
        self._log = get_log("journal")

    def open(self) -> None:
        """Read what a former run left. Blocking. Raises OSError."""
        if self._journal is None:
            return
        content = self._journal.read()
        self._unrestored = content.transactions
        if content.bad_lines:
            self._log.warning(
                "lines of the journal are passed over", lines=content.bad_lines, of=str(self._journal.path)
            )

    @property
    def unrestored(self) -> int:
        """Transactions of a former run that are not pooled again yet."""
        return len(self._unrestored)

    def take_unrestored(self) -> list[bytes]:
        taken, self._unrestored = self._unrestored, []
        return taken

    async def change(
        self, added: Sequence[Pooled], gone: Sequence[Pooled], kept: Callable[[], Sequence[Transaction]]
    ) -> bool:
        """Whether what was added is on disk now. `kept` names all that are to be there, should it be written anew."""
        if self._journal is None or not (added or gone):
            return False
        wires, hashes = [one.transaction.wire for one in added], [one.hash for one in gone]
        is_written = await self._write(lambda journal: journal.append(wires, hashes))
        current = kept()
        if self._journal.is_worn(len(current)):
            await self.rewrite(current)
        return is_written

    async def rewrite(self, kept: Sequence[Transaction]) -> None:
        """Write the file anew with these alone."""
        wires = [transaction.wire for transaction in kept]
        await self._write(lambda journal: journal.rewrite(wires))

    def close(self) -> None:
        self._thread.shutdown(wait=True)

    async def _write(self, write: Callable[[LocalJournal], None]) -> bool:
        journal = self._journal
        if journal is None:
            return False
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, write, journal)
        except OSError as problem:
            self._metrics.journal_failures.inc()
            self._log.warning("local transactions are not on disk", journal=str(journal.path), why=str(problem))
            return False
        return True
