from __future__ import annotations

import asyncio

import pytest

from services.sync_coordinator.core.fetcher_actions import BlockOutcome
from services.sync_coordinator.core.rule_broken import broken, too_early
from services.sync_coordinator.edges.block_import import BlockImport
from services.sync_coordinator.edges.fetch_driver import ImportParts, LightImport, outcome_of
from services.sync_coordinator.store.lmdb_store import LmdbChainStore
from tests.support.peers import ALICE
from tests.support.ruled_chain import GENESIS, RULES, ListedSeals, ruled_chain

FIRST, SECOND, *_ = ruled_chain(GENESIS, 2)


@pytest.mark.parametrize(
    ("is_syncing", "expected"), [(False, BlockOutcome.IMPORTED), (True, BlockOutcome.REFUSED)], ids=["idle", "syncing"]
)
def test_header_is_left_to_the_sync_while_one_runs_that_may_take_its_parent_back(tmp_path, is_syncing, expected):
    store = LmdbChainStore.open(tmp_path / "chain", GENESIS)

    async def main() -> BlockOutcome:
        block_import = BlockImport(store, RULES, ListedSeals())
        try:
            await block_import.import_headers([FIRST.header])
            parts = ImportParts(store, RULES, block_import)
            outcome = await LightImport(parts, lambda: is_syncing).import_block(SECOND, ALICE)
            if is_syncing:
                await block_import.roll_back([FIRST.header])
                assert store.heads().header == GENESIS
            return outcome
        finally:
            block_import.close()

    assert asyncio.run(main()) is expected
    assert (store.header(SECOND.header.hash) is None) is is_syncing
    store.close()


@pytest.mark.parametrize(
    ("ahead_s", "expected"), [(0.1, BlockOutcome.IN_NEAR_FUTURE), (30, BlockOutcome.IN_NEAR_FUTURE), (31, "refused")]
)
def test_block_ahead_of_our_clock_is_nobodys_fault(ahead_s, expected):
    fault = too_early(FIRST.header, FIRST.header.timestamp - ahead_s)
    assert outcome_of(fault) is BlockOutcome(expected)
    assert outcome_of(broken(FIRST.header, "difficulty", "")) is BlockOutcome.INVALID
