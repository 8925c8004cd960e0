"""One seal worker process per ethash epoch in use, with a thread for each processor; `seal_routing` says which."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Final, assert_never

from services.shared.ethwire.types import Header
from services.sync_coordinator.core.ethash_epochs import EthashEpoch
from services.sync_coordinator.core.seal_routing import EndWorker, RoutingAction, SealRouting, StartWorker
from services.sync_coordinator.edges.seal_pool import SPARE_QUESTIONS, SealWorkersFailed, ask_twice, cut
from services.sync_coordinator.edges.seal_process import SealProcess, SealProcessDied

CHUNK_HEADERS: Final = 16
"""Headers sent to a worker at once: some 20 ms of work, so that threads end a batch together."""


class EpochPool:
    """Threads of one process share its cache, so there is one for each epoch, however many processors there are."""

    def __init__(self, ecip1099_block: int | None, threads: int | None = None) -> None:
        self._threads = threads or os.cpu_count() or 1
        self._routing = SealRouting(ecip1099_block)
        self._workers: dict[EthashEpoch, SealProcess] = {}
        self._turns = asyncio.Semaphore(self._threads + SPARE_QUESTIONS)
        self._chores: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """The worker processes that run now."""
        return [worker.pid for worker in self._workers.values() if worker.pid is not None]

    def chunks(self, headers: Sequence[Header]) -> list[Sequence[Header]]:
        """`headers`, in number order, in runs of one epoch, cut so that all threads have their share."""
        chunks: list[Sequence[Header]] = []
        start = 0
        for index in range(1, len(headers) + 1):
            if index == len(headers) or headers[index].number not in self._epoch_of(headers[start]).blocks:
                chunks += cut(headers[start:index], self._threads, CHUNK_HEADERS)
                start = index
        return chunks

    def prepare(self, number: int) -> None:
        """Build the cache of block `number` now, and the next one's if its edge is near; nobody waits for it."""
        self._carry_out(self._routing.prepare(number, asyncio.get_running_loop().time()))

    async def first_bad(self, chunk: Sequence[Header], is_settled: Callable[[], bool]) -> int:
        """Index of the first wrong seal in a chunk; -1 if there is none or nobody asks any more.

        Raises SealWorkersFailed.
        """

        async def attempt() -> int:
            if self._closed:
                raise SealWorkersFailed("the seal workers are closed")
            if is_settled():
                return -1
            with self._lent(chunk) as worker:
                return await worker.first_bad(chunk)

        async with self._turns:
            return await ask_twice(chunk, attempt)

    async def close(self) -> None:
        """End the workers; checks that still run raise SealWorkersFailed."""
        self._closed = True
        workers, self._workers = list(self._workers.values()), {}
        await asyncio.gather(*(worker.close() for worker in workers), *self._chores)

    def _epoch_of(self, header: Header) -> EthashEpoch:
        return self._routing.epoch_of(header.number)

    @contextlib.contextmanager
    def _lent(self, chunk: Sequence[Header]) -> Iterator[SealProcess]:
        loop = asyncio.get_running_loop()
        epoch = self._epoch_of(chunk[-1])
        self._carry_out(self._routing.on_question(chunk[-1].number, loop.time()))
        try:
            yield self._workers[epoch]
        finally:
            self._carry_out(self._routing.on_answer(epoch, loop.time()))

    def _carry_out(self, actions: Sequence[RoutingAction]) -> None:
        if self._closed:
            return
        for action in actions:
            match action:
                case StartWorker(epoch, is_ahead):
                    self._workers[epoch] = worker = SealProcess(self._threads, epoch)
                    if is_ahead:
                        self._do(_start(worker))
                case EndWorker(epoch):
                    self._do(self._workers.pop(epoch).close())
                case unexpected:
                    assert_never(unexpected)

    def _do(self, chore: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(chore, name="seal-worker-chore")
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)


async def _start(worker: SealProcess) -> None:
    """A failure is told when the worker is asked, which starts it again."""
    with contextlib.suppress(SealProcessDied):
        await worker.start()
