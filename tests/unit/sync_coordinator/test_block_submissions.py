"""What becomes of blocks that are handed in, whatever becomes of their import. The store is LMDB."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.shared.ethwire.bodies import join_block
from services.shared.ethwire.types import Block, PeerId
from services.sync_coordinator.core.block_submission import BlockRefused, RefusalCause
from services.sync_coordinator.core.fetcher_actions import BlockOutcome
from services.sync_coordinator.edges.block_import import BlockImport
from services.sync_coordinator.edges.block_submissions import BlockSubmissions, SubmissionFailed
from services.sync_coordinator.edges.broadcaster_client import BroadcasterClient
from services.sync_coordinator.edges.fetch_driver import FetchImport, ImportParts, Published
from services.sync_coordinator.edges.seal_workers import SealWorkersFailed
from services.sync_coordinator.metrics import CoordinatorMetrics
from services.sync_coordinator.store.chain_store import StoreFailed
from services.sync_coordinator.store.lmdb_store import LmdbChainStore
from tests.support.ruled_chain import GENESIS, RULES, ListedSeals, ruled_block

BLOCK = ruled_block(GENESIS)
RLP = join_block(BLOCK.header.header_rlp, BLOCK.body_rlp)


class HeldImport(FetchImport):
    """Imports once the test lets it; counts how often it was asked; may fail."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.may_go, self.was_asked = asyncio.Event(), asyncio.Event()
        self.asked = 0
        self.failure: Exception | None = None

    async def publish(self, block: Block, origins: Sequence[PeerId]) -> Published:
        self.asked += 1
        self.was_asked.set()
        await self.may_go.wait()
        if self.failure is not None:
            raise self.failure
        return await super().publish(block, origins)


@pytest.fixture
def submitting(tmp_path) -> Callable[[Callable[[BlockSubmissions, HeldImport], Coroutine[Any, Any, None]]], None]:
    """Runs a scenario over submissions to a new store."""

    def run(scenario: Callable[[BlockSubmissions, HeldImport], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            store = LmdbChainStore.open(tmp_path / "chain", GENESIS)
            seals = ListedSeals()
            block_import = BlockImport(store, RULES, seals)
            try:
                async with asyncio.TaskGroup() as tasks:
                    parts = ImportParts(store, RULES, block_import)
                    importing = HeldImport(parts, BroadcasterClient([]), tasks, lambda: False)
                    metrics = CoordinatorMetrics(CollectorRegistry())
                    await scenario(BlockSubmissions(importing, store, lambda: False, tasks, metrics), importing)
            finally:
                block_import.close()
                store.close()

        asyncio.run(main())

    return run


def test_block_is_imported_once_when_it_is_handed_in_again_meanwhile_and_afterwards(submitting):
    async def scenario(submissions: BlockSubmissions, importing: HeldImport) -> None:
        both = asyncio.gather(submissions.submit(RLP), submissions.submit(RLP))
        await asyncio.sleep(0)
        importing.may_go.set()
        first, second = await both
        assert first == second
        assert (first.is_new, importing.asked) == (True, 1)
        assert not (await submissions.submit(RLP)).is_new
        assert importing.asked == 1

    submitting(scenario)


def test_import_goes_on_when_the_caller_goes_away(submitting):
    async def scenario(submissions: BlockSubmissions, importing: HeldImport) -> None:
        caller = asyncio.create_task(submissions.submit(RLP))
        await importing.was_asked.wait()
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        importing.may_go.set()
        assert (await submissions.submit(RLP)).header == BLOCK.header
        assert importing.asked == 1

    submitting(scenario)


@pytest.mark.parametrize(
    ("failure", "told"), [(SealWorkersFailed("gone"), SubmissionFailed), (StoreFailed("full"), StoreFailed)]
)
def test_failure_of_ours_is_told_to_the_caller_and_the_block_may_come_again(submitting, failure, told):
    async def scenario(submissions: BlockSubmissions, importing: HeldImport) -> None:
        importing.may_go.set()
        importing.failure = failure
        with pytest.raises(told):
            await submissions.submit(RLP)
        importing.failure = None
        assert (await submissions.submit(RLP)).is_new

    submitting(scenario)


def test_refused_block_ends_nothing_but_its_call(submitting):
    async def scenario(submissions: BlockSubmissions, importing: HeldImport) -> None:
        importing.may_go.set()
        orphan = ruled_block(BLOCK.header)
        with pytest.raises(BlockRefused) as refused:
            await submissions.submit(join_block(orphan.header.header_rlp, orphan.body_rlp))
        assert refused.value.cause is RefusalCause.PARENT_UNKNOWN
        assert (await submissions.submit(RLP)).is_new
        assert BlockOutcome.IMPORTED is (await importing.publish(orphan, ())).outcome

    submitting(scenario)


def test_block_is_refused_while_the_first_sync_is_not_done(tmp_path):
    async def main() -> None:
        store = LmdbChainStore.open(tmp_path / "chain", GENESIS)
        try:
            async with asyncio.TaskGroup() as tasks:
                metrics = CoordinatorMetrics(CollectorRegistry())
                importing = FetchImport(
                    ImportParts(store, RULES, BlockImport(store, RULES, ListedSeals())),
                    BroadcasterClient([]),
                    tasks,
                    lambda: True,
                )
                with pytest.raises(BlockRefused, match="first sync is not done") as refused:
                    await BlockSubmissions(importing, store, lambda: True, tasks, metrics).submit(RLP)
                assert refused.value.cause is RefusalCause.FIRST_SYNC
        finally:
            store.close()

    asyncio.run(main())
