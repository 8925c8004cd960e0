"""A block from "here" to "imported, and the others know". The store is LMDB; nobody is told for real."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence

import pytest

from services.shared.ethwire.types import Announce, Block, PeerId
from services.sync_coordinator.core.chain_rules import ChainRules
from services.sync_coordinator.core.fetcher_actions import BlockOutcome
from services.sync_coordinator.core.rule_broken import RuleBroken
from services.sync_coordinator.edges.block_import import BlockImport
from services.sync_coordinator.edges.broadcaster_client import BroadcasterClient
from services.sync_coordinator.edges.fetch_driver import FetchImport, ImportParts
from services.sync_coordinator.store.lmdb_store import LmdbChainStore
from tests.support.peers import ALICE
from tests.support.ruled_chain import GENESIS, RULES, SPEC, ListedSeals, ruled_block, ruled_chain

FIRST, SECOND, *_ = ruled_chain(GENESIS, 2)
FIRST_TOTAL = GENESIS.difficulty + FIRST.header.difficulty


class NotedCalls(BroadcasterClient):
    """Broadcasters that note what they are asked, and whether the block was stored then."""

    def __init__(self, store: LmdbChainStore) -> None:
        super().__init__([])
        self._store = store
        self.calls: list[tuple[str, int, Sequence[PeerId], bool]] = []

    async def propagate(self, block: Block, total_difficulty: int, origins: Sequence[PeerId]) -> int:
        self.calls.append(("propagate", total_difficulty, origins, self._store.has_body(block.header.hash)))
        return 4

    async def announce(self, announce: Announce, origins: Sequence[PeerId] = (), **stamps: int) -> int:
        assert stamps["imported_us"] > 0
        self.calls.append(("announce", announce.number, origins, self._store.has_body(announce.block_hash)))
        return 5


@pytest.fixture
def store(tmp_path):
    store = LmdbChainStore.open(tmp_path / "chain", GENESIS)
    yield store
    store.close()


def publish(
    store: LmdbChainStore, block: Block, *, seals: ListedSeals | None = None, rules: ChainRules = RULES
) -> tuple[BlockOutcome | RuleBroken, NotedCalls]:
    async def main() -> tuple[BlockOutcome | RuleBroken, NotedCalls]:
        checks = seals or ListedSeals()
        block_import = BlockImport(store, rules, checks)
        broadcaster = NotedCalls(store)
        try:
            async with asyncio.TaskGroup() as tasks:
                importing = FetchImport(ImportParts(store, rules, block_import), broadcaster, tasks, lambda: False)
                try:
                    return await importing.import_block(block, ALICE), broadcaster
                except RuleBroken as broken:
                    return broken, broadcaster
        finally:
            block_import.close()

    return asyncio.run(main())


def test_block_is_propagated_before_and_announced_after_its_import(store):
    outcome, broadcaster = publish(store, FIRST)
    assert outcome is BlockOutcome.IMPORTED
    assert broadcaster.calls == [("propagate", FIRST_TOTAL, [ALICE], False), ("announce", 1, [ALICE], True)]


def test_seal_is_checked_once(store):
    seals = ListedSeals()
    assert publish(store, FIRST, seals=seals)[0] is BlockOutcome.IMPORTED
    assert [batch for batch in seals.checked if batch] == [[FIRST.header]]


def test_block_whose_parent_is_unknown_is_told_to_nobody(store):
    assert publish(store, SECOND)[0] is BlockOutcome.PARENT_UNKNOWN
    assert publish(store, SECOND)[1].calls == []


@pytest.mark.parametrize("flaw", ["rule", "seal", "merge"])
def test_block_whose_header_is_invalid_is_told_to_nobody(store, flaw):
    block, seals, rules = FIRST, ListedSeals(), RULES
    if flaw == "rule":
        block = ruled_block(GENESIS, seconds=2**40)
    elif flaw == "seal":
        seals = ListedSeals([FIRST.header.hash])
    else:
        rules = ChainRules(dataclasses.replace(SPEC, terminal_total_difficulty=GENESIS.difficulty))
    outcome, broadcaster = publish(store, block, seals=seals, rules=rules)
    assert isinstance(outcome, RuleBroken)
    assert broadcaster.calls == []


def test_block_with_a_bad_uncle_is_propagated_and_not_announced(store):
    outcome, broadcaster = publish(store, ruled_block(GENESIS, uncles=[GENESIS]))
    assert outcome is BlockOutcome.REFUSED
    assert [call[0] for call in broadcaster.calls] == ["propagate"]
