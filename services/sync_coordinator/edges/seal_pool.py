"""Seal worker processes that need no cache, lent one question at a time. They start when first needed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from services.shared.ethwire.types import Header
from services.sync_coordinator.edges.seal_process import SealProcess, SealProcessDied

CHUNK_HEADERS: Final = 64
"""Headers sent to a worker at once: some milliseconds of work, so that workers end a batch together."""

MIN_CHUNK_HEADERS: Final = 8
"""Fewer are not shared out: asking costs more than it gains."""

SPARE_QUESTIONS: Final = 1
"""Asked beyond one per processor, so that none waits for the event loop between two chunks."""

ATTEMPTS: Final = 2
"""A chunk whose worker dies is given to a fresh one once; a second death is not bad luck."""

T = TypeVar("T")


class SealWorkersFailed(Exception):
    """Seals could not be checked; says nothing about the headers."""


class SealPool:
    """Any worker answers any question; the one with the fewest open is asked."""

    def __init__(self, worker_count: int | None = None) -> None:
        count = worker_count or os.cpu_count() or 1
        self._workers = [SealProcess() for _ in range(count)]
        self._turns = asyncio.Semaphore(count + SPARE_QUESTIONS)
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """The worker processes that run now."""
        return [worker.pid for worker in self._workers if worker.pid is not None]

    def chunks(self, headers: Sequence[Header]) -> list[Sequence[Header]]:
        """`headers` cut so that all workers have their share."""
        return cut(headers, len(self._workers), CHUNK_HEADERS)

    async def ask(self, chunk: Sequence[Header], question: Callable[[SealProcess], Awaitable[T]]) -> T:
        """A worker's answer about `chunk`. Raises SealWorkersFailed."""

        async def attempt() -> T:
            if self._closed:
                raise SealWorkersFailed("the seal workers are closed")
            return await question(min(self._workers, key=lambda worker: worker.open_questions))

        async with self._turns:
            return await ask_twice(chunk, attempt)

    async def close(self) -> None:
        """End the workers; questions that still wait raise SealWorkersFailed."""
        self._closed = True
        await asyncio.gather(*(worker.close() for worker in self._workers))


def cut(headers: Sequence[Header], shares: int, most: int) -> list[Sequence[Header]]:
    """`headers` in chunks of `most`, or of less, so that all have their share."""
    size = min(most, max(MIN_CHUNK_HEADERS, -(-len(headers) // shares)))
    return [headers[start : start + size] for start in range(0, len(headers), size)]


async def ask_twice(chunk: Sequence[Header], attempt: Callable[[], Awaitable[T]]) -> T:
    """What `attempt` gives, tried once more when its worker dies. Raises SealWorkersFailed."""
    for _ in range(ATTEMPTS):
        try:
            return await attempt()
        except SealProcessDied as death:
            reason = death
    raise SealWorkersFailed(f"blocks {chunk[0].number}…{chunk[-1].number} not checked: {reason}") from reason
