"""Seal checks in worker processes, so that they use every core and never hold up the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final, Literal, Protocol

from services.shared.chainspec.spec import ChainSpec
from services.shared.ethwire.types import Header
from services.sync_coordinator.core.ethash_seal import check_sealable, epoch_of
from services.sync_coordinator.core.rule_broken import RuleBroken, broken
from services.sync_coordinator.edges.seal_process import SealProcess, SealProcessDied

SealMode = Literal["ethash", "clique", "none"]

CHUNK_HEADERS: Final = 64
"""Headers sent to a worker at once: a fraction of a second of work, so that workers end a batch together."""

MIN_CHUNK_HEADERS: Final = 8
"""Fewer are not shared out: another worker may first have to build its cache, which takes a second."""

ATTEMPTS: Final = 2
"""A chunk whose worker dies is given to a fresh one once; a second death is not bad luck."""


class SealCheckRefused(ValueError):
    """The seals of this network cannot be checked as asked."""


class SealWorkersFailed(Exception):
    """Seals could not be checked; says nothing about the headers."""


class SealCheck(Protocol):
    """Judges the seals of headers whose other rules already passed."""

    async def check(self, headers: Sequence[Header]) -> None:
        """Raises RuleBroken for the lowest block whose seal is wrong."""

    async def close(self) -> None: ...


def open_seal_check(spec: ChainSpec, wanted: SealMode | None, worker_count: int | None = None) -> SealCheck:
    """The seal check of a network; `wanted=None` means the network's own. Raises SealCheckRefused."""
    mode = wanted or spec.seal_engine
    if mode == "none":
        return NoSeal()
    if mode != spec.seal_engine:
        raise SealCheckRefused(f"--seal-check {mode} does not fit: this network's seals are {spec.seal_engine}")
    if mode == "clique":
        raise SealCheckRefused("clique seals are not supported yet, use --seal-check none")
    return SealWorkers(spec, worker_count)


class NoSeal:
    """Every seal passes; for networks that have none worth checking."""

    async def check(self, headers: Sequence[Header]) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""


class SealWorkers:
    """Ethash seals, checked by worker processes that start when first needed.

    A worker holds the cache of one epoch. A free worker takes a chunk of its own epoch if one waits, else the
    oldest; a chunk goes to a free worker of its epoch if there is one, else to one without a cache.
    """

    def __init__(self, spec: ChainSpec, worker_count: int | None = None) -> None:
        self._spec = spec
        self._workers = [SealProcess() for _ in range(worker_count or os.cpu_count() or 1)]
        self._idle = list(self._workers)
        self._waiting: list[tuple[int, asyncio.Future[SealProcess]]] = []
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """The worker processes that run now."""
        return [worker.pid for worker in self._workers if worker.pid is not None]

    async def check(self, headers: Sequence[Header]) -> None:
        """Raises RuleBroken for the lowest block whose seal is wrong, or SealWorkersFailed."""
        batch = _Batch()
        sealable: list[Header] = []
        for header in sorted(headers, key=lambda header: header.number):
            try:
                check_sealable(self._spec, header)
            except RuleBroken as fault:
                batch.report(header, fault)
                break
            sealable.append(header)
        try:
            async with asyncio.TaskGroup() as tasks:
                for chunk in self._chunks(sealable):
                    tasks.create_task(self._check_chunk(chunk, batch), name="seal-chunk")
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        if batch.fault is not None:
            raise batch.fault

    async def close(self) -> None:
        """End the workers; checks that still run raise SealWorkersFailed."""
        self._closed = True
        await asyncio.gather(*(worker.close() for worker in self._workers))

    def _chunks(self, headers: Sequence[Header]) -> Iterator[list[Header]]:
        """Runs of one epoch, cut so that all workers have their share."""
        for _, run in itertools.groupby(headers, key=lambda header: epoch_of(header.number)):
            same_epoch = list(run)
            share = -(-len(same_epoch) // len(self._workers))
            size = min(CHUNK_HEADERS, max(MIN_CHUNK_HEADERS, share))
            for start in range(0, len(same_epoch), size):
                yield same_epoch[start : start + size]

    async def _check_chunk(self, chunk: Sequence[Header], batch: _Batch) -> None:
        for _ in range(ATTEMPTS):
            async with self._worker_for(epoch_of(chunk[0].number)) as worker:
                if self._closed:
                    raise SealWorkersFailed("the seal workers are closed")
                if batch.settles(chunk[0].number):
                    return
                try:
                    first_bad = await worker.first_bad(chunk)
                except SealProcessDied as death:
                    reason = death
                    continue
            if first_bad >= 0:
                header = chunk[first_bad]
                batch.report(header, broken(header, "seal", "the proof of work is wrong (mix hash or nonce)"))
            return
        raise SealWorkersFailed(f"blocks {chunk[0].number}…{chunk[-1].number} not checked: {reason}") from reason

    @contextlib.asynccontextmanager
    async def _worker_for(self, epoch: int) -> AsyncIterator[SealProcess]:
        worker = await self._acquire(epoch)
        try:
            yield worker
        finally:
            self._release(worker)

    async def _acquire(self, epoch: int) -> SealProcess:
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


class _Batch:
    """The lowest fault found so far among the headers of one call."""

    def __init__(self) -> None:
        self.fault: RuleBroken | None = None

    def report(self, header: Header, fault: RuleBroken) -> None:
        if not self.settles(header.number):
            self.fault = fault

    def settles(self, number: int) -> bool:
        """Whether block `number` no longer matters."""
        return self.fault is not None and self.fault.number <= number
