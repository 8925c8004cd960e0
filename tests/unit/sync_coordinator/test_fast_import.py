"""Fast blocks, the pivot and state entries in the importer. Rules and store are real, as in `test_block_import`."""

from __future__ import annotations

import asyncio

import pytest

from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.types import Block, StateEntry
from services.sync_coordinator.core.fetcher_actions import BlockOutcome
from services.sync_coordinator.core.rule_broken import RuleBroken
from services.sync_coordinator.edges.block_import import BlockImport
from services.sync_coordinator.edges.broadcaster_client import BroadcasterClient
from services.sync_coordinator.edges.fetch_driver import FetchImport, ImportParts
from services.sync_coordinator.store.chain_store import StoreFailed
from services.sync_coordinator.store.lmdb_store import LmdbChainStore
from tests.support.peers import ALICE
from tests.support.ruled_chain import GENESIS, RULES, ListedSeals, ruled_block, ruled_chain

CHAIN = ruled_chain(GENESIS, 30)
HEADERS = [block.header for block in CHAIN]
RECEIPTS = {block.header.hash: b"receipts %d" % block.header.number for block in CHAIN if block.header.number % 2}
ENTRY = StateEntry(b"entry", keccak256(b"entry"))


class FastImport:
    """Runs steps, one after the other, with one importer."""

    def __init__(self, store):
        self.store, self.seals = store, ListedSeals()
        self.updates = []

    def __call__(self, *steps):
        async def main():
            block_import = BlockImport(self.store, RULES, self.seals, clock=lambda: 1e9, on_commit=self.updates.append)
            try:
                return [await step(block_import) for step in steps]
            finally:
                block_import.close()

        return asyncio.run(main())


@pytest.fixture
def importing(tmp_path):
    store = LmdbChainStore.open(tmp_path / "chain", GENESIS)
    yield FastImport(store)
    store.close()


def headers(count):
    return lambda block_import: block_import.import_headers(HEADERS[:count])


def fast(start, end, blocks=CHAIN):
    return lambda block_import: block_import.import_fast_blocks(blocks[start - 1 : end], RECEIPTS)


def full(start, end):
    return lambda block_import: block_import.import_blocks(CHAIN[start - 1 : end], RECEIPTS)


def pivot(number):
    return lambda block_import: block_import.commit_pivot(HEADERS[number - 1])


def heads(store):
    return tuple(head.number for head in store.heads())


def test_heads_move_apart_and_meet_when_the_pivot_is_committed(importing):
    store = importing.store
    importing(headers(30))
    assert heads(store) == (30, 0, 0)
    importing(fast(1, 20))
    assert heads(store) == (30, 20, 0)
    importing(pivot(20))
    assert heads(store) == (30, 20, 20)
    assert store.pivot() == HEADERS[19].hash
    importing(full(21, 30))
    assert heads(store) == (30, 30, 30)
    for block in CHAIN:
        assert store.body_rlp(block.header.hash) == block.body_rlp
        assert store.receipts_rlp(block.header.hash) == RECEIPTS.get(block.header.hash)


def test_seals_of_fast_blocks_are_left_to_their_headers(importing):
    importing(headers(30))
    checked = len(importing.seals.checked)
    importing(fast(1, 30))
    assert not any(importing.seals.checked[checked:])


def test_fast_blocks_that_are_stored_are_not_stored_again(importing):
    importing(headers(30), fast(1, 20))
    (outcome,) = importing(fast(10, 25))
    assert (outcome.known, outcome.imported) == (11, 5)


def test_fast_blocks_are_refused_when_their_headers_are_not_stored(importing):
    importing(headers(10))
    # Headers are always imported first, so one that is gone has left the store.
    with pytest.raises(StoreFailed, match="the store is damaged"):
        importing(fast(1, 20))
    assert heads(importing.store) == (10, 0, 0)


def test_fast_block_is_refused_when_its_parent_has_no_body(importing):
    importing(headers(30))
    with pytest.raises(RuleBroken) as broken:
        importing(fast(5, 20))
    assert broken.value.rule == "parent"


def test_full_block_is_refused_when_its_parent_is_a_fast_block(importing):
    importing(headers(30), fast(1, 20))
    with pytest.raises(RuleBroken) as broken:
        importing(full(21, 22))
    assert broken.value.rule == "parent"
    assert heads(importing.store) == (30, 20, 0)


def test_fast_blocks_above_a_committed_pivot_are_imported_in_full(importing):
    importing(headers(30), fast(1, 25), pivot(20), full(21, 30))
    assert heads(importing.store) == (30, 30, 30)


def test_uncles_of_fast_blocks_keep_the_rules_but_for_their_seals(importing):
    below = CHAIN[:5]
    uncle = ruled_block(below[-2].header, branch=1).header
    far = ruled_block(CHAIN[20].header, branch=2).header
    importing.seals.bad = {uncle.hash}
    good = ruled_block(below[-1].header, uncles=[uncle])
    bad = ruled_block(below[-1].header, branch=3, uncles=[far])

    def own_headers(*blocks: Block):
        return lambda block_import: block_import.import_headers([block.header for block in (*below, *blocks)])

    importing(own_headers(good), fast(1, 6, [*below, good]))
    assert heads(importing.store) == (6, 6, 0)
    with pytest.raises(RuleBroken) as broken:
        importing(own_headers(bad), fast(6, 6, [*below, bad]))
    assert (broken.value.number, broken.value.rule) == (6, "uncles")


def test_state_entries_are_stored_between_the_commits_of_an_import(importing):
    async def both(block_import):
        await asyncio.gather(
            block_import.import_headers(HEADERS), *(block_import.store_state([ENTRY]) for _ in range(5))
        )

    importing(both)
    assert importing.store.state_entries([ENTRY.hash]) == [b"entry"]
    assert heads(importing.store) == (30, 0, 0), "a commit of state takes no head back"


def test_headers_above_fast_blocks_are_rolled_back_and_blocks_stay(importing):
    importing(headers(30), fast(1, 20), lambda block_import: block_import.roll_back(HEADERS[10:]))
    store = importing.store
    assert heads(store) == (20, 20, 0)
    assert store.canonical_hash(20) == HEADERS[19].hash
    assert store.canonical_hash(21) is None
    importing(headers(30), fast(21, 25), pivot(25))
    assert heads(store) == (30, 25, 25)


@pytest.mark.parametrize(
    ("is_fast_syncing", "outcome"), [(False, BlockOutcome.IMPORTED), (True, BlockOutcome.REFUSED)], ids=["full", "fast"]
)
def test_fetched_block_is_discarded_during_a_fast_sync(tmp_path, is_fast_syncing, outcome):
    store = LmdbChainStore.open(tmp_path / "chain", GENESIS)

    async def main():
        block_import = BlockImport(store, RULES, ListedSeals(), clock=lambda: 1e9)
        parts = ImportParts(store, RULES, block_import)
        broadcaster = BroadcasterClient(())
        try:
            async with asyncio.TaskGroup() as tasks:
                importing = FetchImport(parts, broadcaster, tasks, lambda: is_fast_syncing)
                return await importing.import_block(CHAIN[0], ALICE)
        finally:
            block_import.close()
            await broadcaster.close()

    assert asyncio.run(main()) is outcome
    assert store.has_body(HEADERS[0].hash) is not is_fast_syncing
    store.close()
