"""Seal checks in worker processes, so that they use every processor and never hold up the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal, Protocol

from services.shared.chainspec.genesis import Genesis
from services.shared.chainspec.spec import ChainSpec
from services.shared.ethwire.types import Header
from services.sync_coordinator.core.clique_snapshot import genesis_snapshot
from services.sync_coordinator.core.ethash_seal import check_sealable
from services.sync_coordinator.core.fork_choice import SealState
from services.sync_coordinator.core.rule_broken import RuleBroken, broken
from services.sync_coordinator.edges.clique_seals import CliqueSeals, SealHistory
from services.sync_coordinator.edges.epoch_pool import EpochPool
from services.sync_coordinator.edges.seal_pool import SealPool, SealWorkersFailed

__all__ = ["NoSeal", "SealCheck", "SealCheckRefused", "SealWorkers", "SealWorkersFailed", "open_seal_check"]

SealMode = Literal["ethash", "clique", "none"]


class SealCheckRefused(ValueError):
    """The seals of this network cannot be checked as asked."""


class SealCheck(Protocol):
    """Judges the seals of headers whose other rules already passed."""

    @property
    def stands_alone(self) -> bool:
        """Whether a seal is judged without those before it."""

    def read_from(self, history: SealHistory) -> None:
        """Where ancestors are looked up. Caller's duty: before the first check."""

    def prepare(self, number: int) -> None:
        """Block `number` will be checked before long: what takes time is begun, off the event loop."""

    async def check(self, headers: Sequence[Header]) -> None:
        """Raises RuleBroken for the lowest block whose seal is wrong."""

    def to_store(self, headers: Sequence[Header]) -> Sequence[SealState]:
        """What to commit together with these headers. Caller's duty: they were just checked."""

    async def close(self) -> None: ...


def open_seal_check(genesis: Genesis, wanted: SealMode | None, at_once: int | None = None) -> SealCheck:
    """The seal check of a network; `wanted=None` means the network's own. Raises SealCheckRefused.

    So many seals are checked at once, by default one per processor.
    """
    spec = genesis.spec
    mode = wanted or spec.seal_engine
    if mode == "none":
        return NoSeal()
    if mode != spec.seal_engine:
        raise SealCheckRefused(f"--seal-check {mode} does not fit: this network's seals are {spec.seal_engine}")
    if mode == "ethash":
        return SealWorkers(spec, at_once)
    try:
        genesis_snapshot(genesis.header)
    except ValueError as problem:
        raise SealCheckRefused(f"this genesis cannot begin a clique chain: its {problem}") from problem
    return CliqueSeals(spec.clique_epoch_blocks, SealPool(at_once))


class NoSeal:
    """Every seal passes; for networks that have none worth checking."""

    stands_alone = True

    def read_from(self, history: SealHistory) -> None:
        """Nothing to do."""

    def prepare(self, number: int) -> None:
        """Nothing to do."""

    async def check(self, headers: Sequence[Header]) -> None:
        """Nothing to do."""

    def to_store(self, headers: Sequence[Header]) -> Sequence[SealState]:
        return ()

    async def close(self) -> None:
        """Nothing to do."""


class SealWorkers:
    """Ethash seals: each stands for itself, so all of a batch are checked at once."""

    stands_alone = True

    def __init__(self, spec: ChainSpec, threads: int | None = None) -> None:
        self._spec = spec
        self._pool = EpochPool(spec.ecip1099_block, threads)

    @property
    def pids(self) -> list[int]:
        """The worker processes that run now."""
        return self._pool.pids

    def read_from(self, history: SealHistory) -> None:
        """Nothing to do: a proof of work needs no ancestors."""

    def prepare(self, number: int) -> None:
        """Build the epoch's cache, which takes up to some seconds: the first block would wait for it."""
        self._pool.prepare(number)

    def to_store(self, headers: Sequence[Header]) -> Sequence[SealState]:
        return ()

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
                for chunk in self._pool.chunks(sealable):
                    tasks.create_task(self._check_chunk(chunk, batch), name="seal-chunk")
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        if batch.fault is not None:
            raise batch.fault

    async def close(self) -> None:
        """End the workers; checks that still run raise SealWorkersFailed."""
        await self._pool.close()

    async def _check_chunk(self, chunk: Sequence[Header], batch: _Batch) -> None:
        index = await self._pool.first_bad(chunk, lambda: batch.settles(chunk[0].number))
        if index >= 0:
            header = chunk[index]
            batch.report(header, broken(header, "seal", "the proof of work is wrong (mix hash or nonce)"))


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
