"""Has the importer take what the downloader hands out, and says what came of it."""

from __future__ import annotations

import random
from collections.abc import Awaitable
from typing import Final, NamedTuple, assert_never

from services.sync_coordinator.core.rule_broken import RuleBroken
from services.sync_coordinator.core.seal_sampling import sample
from services.sync_coordinator.core.sync_actions import (
    CommitPivot,
    ImportBlocks,
    ImportFastBlocks,
    ImportHeaders,
    StoreState,
    SyncImport,
)
from services.sync_coordinator.edges.block_import import BlockImport
from services.sync_coordinator.edges.seal_workers import SealWorkersFailed
from services.sync_coordinator.metrics import CoordinatorMetrics
from services.sync_coordinator.store.chain_store import StoreFailed

KIND_OF: Final = {
    ImportHeaders: "headers",
    ImportBlocks: "blocks",
    ImportFastBlocks: "fast_blocks",
    CommitPivot: "pivot",
    StoreState: "state_entries",
}
"""Metric labels."""


class ImportFailure(NamedTuple):
    """Why an import failed: block `number` broke a rule; or, with None, our own side could not do it."""

    number: int | None
    reason: str


class SyncImporting:
    """The edge between the downloader's batches and the importer."""

    def __init__(
        self, block_import: BlockImport, metrics: CoordinatorMetrics, rng: random.Random, *, seal_sample: bool
    ) -> None:
        self._block_import, self._metrics, self._rng = block_import, metrics, rng
        self._seal_sample = seal_sample

    async def take(self, batch: SyncImport) -> ImportFailure | None:
        """None when all of it is stored."""
        kind = KIND_OF[type(batch)]
        with self._metrics.import_seconds.labels(kind).time():
            failure = await failure_of(self._import(batch))
        if failure is None:
            self._metrics.imported_blocks.labels(kind).inc(_count(batch))
        return failure

    async def _import(self, batch: SyncImport) -> None:
        match batch:
            case ImportHeaders(_, headers, pivot):
                is_sampled = pivot is not None or self._seal_sample
                sealed = sample(headers, self._rng, pivot) if is_sampled else None
                await self._block_import.import_headers(headers, sealed)
            case ImportBlocks(_, blocks, receipts):
                await self._block_import.import_blocks(blocks, receipts)
            case ImportFastBlocks(_, blocks, receipts):
                await self._block_import.import_fast_blocks(blocks, receipts)
            case CommitPivot(_, header):
                await self._block_import.commit_pivot(header)
            case StoreState(_, entries):
                await self._block_import.store_state(entries)
            case _:
                assert_never(batch)


async def failure_of(importing: Awaitable[object]) -> ImportFailure | None:
    """The chain's faults and our disk's are reported, and a later sync tries again; bugs go on up."""
    try:
        await importing
    except RuleBroken as broken:
        return ImportFailure(None if broken.is_early else broken.number, str(broken))
    except (StoreFailed, SealWorkersFailed) as failed:
        return ImportFailure(None, str(failed))
    return None


def _count(batch: SyncImport) -> int:
    match batch:
        case ImportHeaders(_, headers):
            return len(headers)
        case ImportBlocks(_, blocks) | ImportFastBlocks(_, blocks):
            return len(blocks)
        case CommitPivot():
            return 1
        case StoreState(_, entries):
            return len(entries)
        case _:
            assert_never(batch)
