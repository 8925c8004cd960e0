"""The seal worker processes, lent one question at a time. They start when first needed."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, TypeVar

from services.shared.ethwire.types import Header
from services.sync_coordinator.edges.seal_process import SealProcess, SealProcessDied

CHUNK_HEADERS: Final = 64
"""Headers sent to a worker at once: a fraction of a second of work, so that workers end a batch together."""

MIN_CHUNK_HEADERS: Final = 8
"""Fewer are not shared out: another worker may first have to build its cache, which takes a second."""

ATTEMPTS: Final = 2
"""A chunk whose worker dies is given to a fresh one once; a second death is not bad luck."""

T = TypeVar("T")


class SealWorkersFailed(Exception):
    """Seals could not be checked; says nothing about the headers."""


class SealPool:
    """A worker may hold the cache of one ethash epoch.

    A free worker takes a chunk of its own epoch if one waits, else the oldest; a chunk goes to a free worker
    of its epoch if there is one, else to one without a cache. Work that needs no cache has no epoch.
    """

    def __init__(self, worker_count: int | None = None) -> None:
        self._workers = [SealProcess() for _ in range(worker_count or os.cpu_count() or 1)]
        self._idle = list(self._workers)
        self._waiting: list[tuple[int | None, asyncio.Future[SealProcess]]] = []
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """The worker processes that run now."""
        return [worker.pid for worker in self._workers if worker.pid is not None]

    def chunks(self, headers: Sequence[Header]) -> list[Sequence[Header]]:
        """`headers` cut so that all workers have their share."""
        share = -(-len(headers) // len(self._workers))
        size = min(CHUNK_HEADERS, max(MIN_CHUNK_HEADERS, share))
        return [headers[start : start + size] for start in range(0, len(headers), size)]

    async def ask(
        self, chunk: Sequence[Header], epoch: int | None, question: Callable[[SealProcess], Awaitable[T]]
    ) -> T:
        """A worker's answer about `chunk`. Raises SealWorkersFailed."""
        for _ in range(ATTEMPTS):
            async with self._worker_for(epoch) as worker:
                if self._closed:
                    raise SealWorkersFailed("the seal workers are closed")
                try:
                    return await question(worker)
                except SealProcessDied as death:
                    reason = death
        raise SealWorkersFailed(f"blocks {chunk[0].number}…{chunk[-1].number} not checked: {reason}") from reason

    async def close(self) -> None:
        """End the workers; questions that still wait raise SealWorkersFailed."""
        self._closed = True
        await asyncio.gather(*(worker.close() for worker in self._workers))

    @contextlib.asynccontextmanager
    async def _worker_for(self, epoch: int | None) -> AsyncIterator[SealProcess]:
        worker = await self._acquire(epoch)
        try:
            yield worker
        finally:
            self._release(worker)

    async def _acquire(self, epoch: int | None) -> SealProcess:
        if self._idle:
            worker = min(self._idle, key=lambda idle: (idle.epoch != epoch, idle.epoch is not None))
            self._idle.remove(worker)
            return worker
        turn: asyncio.Future[SealProcess] = asyncio.get_running_loop().create_future()
        self._waiting.append((epoch, turn))
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release(turn.result())
            raise

    def _release(self, worker: SealProcess) -> None:
        """Hand the worker to whoever waits for its epoch, else to whoever waits longest."""
        self._waiting = [(epoch, turn) for epoch, turn in self._waiting if not turn.done()]
        if not self._waiting:
            self._idle.append(worker)
            return
        entry = min(self._waiting, key=lambda waiting: waiting[0] != worker.epoch)
        self._waiting.remove(entry)
        entry[1].set_result(worker)
