"""Rules are real; the store is LMDB; seals are judged by a list. Each test is one short event loop without timers."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest

from services.shared.ethwire.rlp_slices import join_list
from services.shared.ethwire.types import Block, BlockHash, Header
from services.sync_coordinator.core.chain_rules import ChainRules
from services.sync_coordinator.core.checked_chunks import CHUNK_BLOCKS, CHUNK_HEADERS
from services.sync_coordinator.core.fork_choice import ChainUpdate
from services.sync_coordinator.core.rule_broken import RuleBroken
from services.sync_coordinator.edges.block_import import BlockImport
from services.sync_coordinator.store.chain_store import StoreFailed
from services.sync_coordinator.store.lmdb_store import LmdbChainStore
from services.sync_coordinator.store.tables import Table, number_key
from tests.support.ruled_chain import GENESIS, RULES, SPEC, ListedSeals, ruled_block, ruled_chain

NOW = 1e9
OURS = ruled_chain(GENESIS, 30)


class Importing:
    """A store, its import, and what the import reported."""

    def __init__(self, store: LmdbChainStore, seals: ListedSeals) -> None:
        self.store, self.seals, self.rules = store, seals, RULES
        self.updates: list[ChainUpdate] = []

    def blocks(self, *batches: Sequence[Block], now: float = NOW) -> list[Any]:
        """The outcome, or the broken rule, of each batch in turn."""
        return self._run(now, lambda block_import: [block_import.import_blocks(batch) for batch in batches])

    def headers(self, *batches: Sequence[Block]) -> list[Any]:
        return self._run(
            NOW,
            lambda block_import: [block_import.import_headers([block.header for block in batch]) for batch in batches],
        )

    def sampled_headers(self, batch: Sequence[Block], sealed: Sequence[Block]) -> Any:
        headers, chosen = [block.header for block in batch], [block.header for block in sealed]
        return self._run(NOW, lambda block_import: [block_import.import_headers(headers, chosen)])[0]

    def sealed_before(self, header: Header, block: Block) -> Any:
        """The outcome for `block` with the word that the seal of `header` is valid."""

        async def both(block_import: BlockImport) -> Any:
            return await block_import.import_blocks([block], checked=await block_import.check_seal(header))

        return self._run(NOW, lambda block_import: [both(block_import)])[0]

    def roll_back(self, headers: Sequence[Header]) -> list[Any]:
        return self._run(NOW, lambda block_import: [block_import.roll_back(headers)])

    def _run(self, now, make) -> list[Any]:
        async def main() -> list[Any]:
            block_import = BlockImport(
                self.store, self.rules, self.seals, clock=lambda: now, on_commit=self.updates.append
            )
            work: list[Coroutine[Any, Any, Any]] = make(block_import)
            try:
                return await asyncio.gather(*work, return_exceptions=True)
            finally:
                block_import.close()

        return asyncio.run(main())


@pytest.fixture
def importing(tmp_path):
    store = LmdbChainStore.open(tmp_path / "chain", GENESIS)
    yield Importing(store, ListedSeals())
    store.close()


def stored_until(importing: Importing, blocks: Sequence[Block]) -> int:
    """How many of `blocks`, from the first on, are stored whole; none may be after a gap."""
    stored = [importing.store.has_body(block.header.hash) for block in blocks]
    count = stored.count(True)
    assert stored == [True] * count + [False] * (len(blocks) - count)
    return count


def broken_rule(outcome: object) -> tuple[int, str]:
    assert isinstance(outcome, RuleBroken), outcome
    return outcome.number, outcome.rule


def test_blocks_move_all_heads_and_are_stored_whole(importing):
    (outcome,) = importing.blocks(OURS)
    assert (outcome.imported, outcome.known, outcome.reorgs) == (30, 0, [])
    assert set(outcome.heads) == {OURS[-1].header}
    assert [importing.store.body_rlp(block.header.hash) for block in OURS] == [block.body_rlp for block in OURS]
    assert [block for update in importing.updates for block in update.bodies] == OURS


def test_known_blocks_are_skipped(importing):
    importing.blocks(OURS[:20])
    (outcome,) = importing.blocks(OURS)
    assert (outcome.imported, outcome.known) == (10, 20)
    (outcome,) = importing.blocks(OURS)
    assert (outcome.imported, outcome.known) == (0, 30)


def test_nothing_happens_when_there_is_nothing_to_import(importing):
    (outcome,) = importing.blocks([])
    assert (outcome.imported, outcome.known) == (0, 0)


def test_headers_move_the_header_head_only(importing):
    (outcome,) = importing.headers(OURS)
    assert outcome.imported == 30
    assert outcome.heads.header == OURS[-1].header
    assert outcome.heads.full_block == GENESIS


def test_only_the_chosen_seals_are_checked_when_headers_are_sampled(importing):
    importing.seals.bad = {OURS[3].header.hash}
    assert importing.sampled_headers(OURS, [OURS[7], OURS[29]]).imported == 30
    assert importing.seals.checked == [[OURS[7].header, OURS[29].header]]


def test_headers_before_a_bad_chosen_seal_are_stored_when_headers_are_sampled(importing):
    importing.seals.bad = {OURS[7].header.hash}
    assert broken_rule(importing.sampled_headers(OURS, [OURS[7], OURS[29]])) == (8, "seal")
    assert importing.store.heads().header == OURS[6].header


def test_every_seal_is_checked_when_headers_are_sampled_but_seals_depend_on_each_other(importing):
    importing.seals.stands_alone = False
    importing.sampled_headers(OURS, [OURS[29]])
    assert importing.seals.checked == [[block.header for block in OURS]]


def test_full_head_catches_up_when_headers_were_there_first(importing):
    importing.headers(OURS)
    (outcome,) = importing.blocks(OURS[:10])
    assert outcome.imported == 10
    assert outcome.heads.header == OURS[-1].header
    assert outcome.heads.full_block == OURS[9].header


@pytest.mark.parametrize("bad_at", [0, 1, 17, 29])
def test_what_is_valid_before_a_broken_rule_is_stored(importing, bad_at):
    bad = ruled_block(OURS[bad_at - 1].header if bad_at else GENESIS)
    bad = Block(bad.header._replace(difficulty=1, hash=BlockHash(b"\1" * 32)), bad.body_rlp)
    (outcome,) = importing.blocks([*OURS[:bad_at], bad, *OURS[bad_at + 1 :]])
    assert broken_rule(outcome) == (bad_at + 1, "difficulty")
    assert stored_until(importing, OURS) == bad_at


@pytest.mark.parametrize("kind", ["blocks", "headers"])
@pytest.mark.parametrize("bad_at", [0, 1, 17, 29])
def test_what_is_valid_before_a_bad_seal_is_stored(importing, bad_at, kind):
    importing.seals.bad = {OURS[bad_at].header.hash, OURS[29].header.hash}
    (outcome,) = getattr(importing, kind)(OURS)
    assert broken_rule(outcome) == (bad_at + 1, "seal")
    assert importing.store.heads().header == (OURS[bad_at - 1].header if bad_at else GENESIS)


def test_first_bad_block_counts_when_an_uncle_of_a_later_one_has_a_lower_number(importing):
    """The seal check names the uncle first; block 15, before it, is bad as well."""
    uncle = ruled_block(OURS[9].header, branch=1).header
    blocks = [*OURS[:15], ruled_block(OURS[14].header, uncles=[uncle])]
    importing.seals.bad = {uncle.hash, OURS[14].header.hash}
    (outcome,) = importing.blocks(blocks)
    assert broken_rule(outcome) == (15, "seal")
    assert stored_until(importing, blocks) == 14


def test_block_is_refused_when_its_uncles_seal_is_bad(importing):
    uncle = ruled_block(OURS[9].header, branch=1).header
    blocks = [*OURS[:15], ruled_block(OURS[14].header, uncles=[uncle])]
    importing.seals.bad = {uncle.hash}
    (outcome,) = importing.blocks(blocks)
    assert broken_rule(outcome) == (16, "uncles")
    assert "block 11" in str(outcome)
    assert stored_until(importing, blocks) == 15


def test_seals_of_blocks_and_uncles_are_asked_for(importing):
    uncle = ruled_block(OURS[9].header, branch=1).header
    blocks = [*OURS[:15], ruled_block(OURS[14].header, uncles=[uncle])]
    importing.blocks(blocks)
    assert set(importing.seals.checked[0]) == {uncle, *(block.header for block in blocks)}


def test_uncle_is_refused_when_an_ancestor_from_an_earlier_import_named_it(importing):
    uncle = ruled_block(OURS[9].header, branch=1).header
    first = ruled_block(OURS[14].header, uncles=[uncle])
    second = ruled_block(first.header)
    assert importing.blocks(OURS[:15], [first], [second])[-1].imported == 1
    (outcome,) = importing.blocks([ruled_block(second.header, uncles=[uncle])])
    assert broken_rule(outcome) == (18, "uncles")


def test_uncle_is_accepted_when_its_parent_came_in_an_earlier_import(importing):
    uncle = ruled_block(OURS[9].header, branch=1).header
    importing.blocks(OURS[:15])
    (outcome,) = importing.blocks([ruled_block(OURS[14].header, uncles=[uncle])])
    assert outcome.imported == 1


def test_block_is_refused_when_its_uncles_are_no_headers(importing):
    block = ruled_block(GENESIS)
    header = block.header._replace(uncles_hash=bytes(32))
    (outcome,) = importing.blocks([Block(header, join_list([b"\xc0", join_list([b"\xc1\x01"])]))])
    assert broken_rule(outcome) == (1, "uncles")


@pytest.mark.parametrize("kind", ["blocks", "headers"])
def test_parent_rule_is_broken_when_the_parent_is_unknown(importing, kind):
    (outcome,) = getattr(importing, kind)(OURS[5:])
    assert broken_rule(outcome) == (6, "parent")
    assert importing.store.heads().header == GENESIS


def test_block_is_refused_when_only_the_header_of_its_parent_is_known(importing):
    importing.headers(OURS)
    (outcome,) = importing.blocks(OURS[5:])
    assert broken_rule(outcome) == (6, "parent")


def test_block_from_the_future_is_refused_by_that_name(importing):
    (outcome,) = importing.blocks(OURS, now=OURS[20].header.timestamp - 15)
    assert broken_rule(outcome) == (22, "timestamp-future")
    assert stored_until(importing, OURS) == 21


@pytest.mark.parametrize("kind", ["blocks", "headers"])
@pytest.mark.parametrize("last", [0, 1, 9, CHUNK_BLOCKS - 1, CHUNK_BLOCKS, CHUNK_BLOCKS + 5])
def test_chain_is_taken_up_to_the_block_that_reaches_the_terminal_total_difficulty(importing, kind, last):
    long = ruled_chain(GENESIS, CHUNK_BLOCKS + 20)
    terminal = GENESIS.difficulty + sum(block.header.difficulty for block in long[:last])
    importing.rules = ChainRules(dataclasses.replace(SPEC, terminal_total_difficulty=terminal))
    (outcome,) = getattr(importing, kind)(long)
    assert broken_rule(outcome) == (last + 1, "terminal-total-difficulty")
    assert importing.store.heads().header == (long[last - 1].header if last else GENESIS)
    assert "proof-of-stake" in str(outcome)


def test_chain_is_taken_whole_when_its_last_block_reaches_the_terminal_total_difficulty(importing):
    weight = GENESIS.difficulty + sum(block.header.difficulty for block in OURS)
    importing.rules = ChainRules(dataclasses.replace(SPEC, terminal_total_difficulty=weight))
    first, second = importing.blocks(OURS[:12], OURS)
    assert (first.imported, second.imported) == (12, 18)


def test_branches_in_one_batch_are_weighed_against_each_other(importing):
    heavier = ruled_chain(OURS[9].header, 25, seconds=5, branch=1)
    (outcome,) = importing.blocks([*OURS, *heavier])
    assert outcome.imported == 55
    assert set(outcome.heads) == {heavier[-1].header}
    (reorg,) = outcome.reorgs
    assert (reorg.depth, reorg.common_ancestor) == (20, OURS[9].header)
    assert importing.store.has_body(OURS[-1].header.hash)


def test_calls_are_carried_out_in_their_order(importing):
    outcomes = importing.blocks(OURS[:10], OURS[10:20], OURS[20:])
    assert [outcome.imported for outcome in outcomes] == [10, 10, 10]


def test_long_batch_is_committed_in_chunks(importing):
    long = ruled_chain(GENESIS, CHUNK_BLOCKS * 2 + 7)
    (outcome,) = importing.blocks(long)
    assert outcome.imported == len(long)
    assert [len(update.bodies) for update in importing.updates] == [CHUNK_BLOCKS, CHUNK_BLOCKS, 7]


def test_headers_are_committed_in_larger_chunks(importing):
    long = ruled_chain(GENESIS, CHUNK_HEADERS + 7)
    (outcome,) = importing.headers(long)
    assert outcome.imported == len(long)
    assert [len(update.headers) for update in importing.updates] == [CHUNK_HEADERS, 7]


def test_chunks_before_a_bad_seal_are_kept_while_later_ones_are_checked(importing):
    long = ruled_chain(GENESIS, CHUNK_BLOCKS * 2 + 7)
    importing.seals.bad = {long[CHUNK_BLOCKS + 3].header.hash}
    (outcome,) = importing.blocks(long)
    assert broken_rule(outcome) == (CHUNK_BLOCKS + 4, "seal")
    assert stored_until(importing, long) == CHUNK_BLOCKS + 3


def test_lower_fault_is_raised_when_a_seal_is_bad_and_a_rule_is_broken_in_the_next_chunk(importing):
    long = ruled_chain(GENESIS, CHUNK_BLOCKS + 7)
    bad = Block(long[-1].header._replace(difficulty=1), long[-1].body_rlp)
    importing.seals.bad = {long[5].header.hash}
    (outcome,) = importing.blocks([*long[:-1], bad])
    assert broken_rule(outcome) == (6, "seal")
    assert stored_until(importing, long) == 5


def test_cancelled_import_waits_for_its_commit_and_reports_it(importing):
    """Cancelled at every step of the loop in turn: what was reported is exactly what is stored."""
    long = ruled_chain(GENESIS, CHUNK_BLOCKS + 50)

    async def cancel_after(steps: int) -> bool:
        block_import = BlockImport(importing.store, RULES, importing.seals, on_commit=importing.updates.append)
        task = asyncio.create_task(block_import.import_blocks(long))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        done = (await asyncio.gather(task, return_exceptions=True))[0]
        block_import.close()
        return not isinstance(done, asyncio.CancelledError)

    for steps in range(40):
        if asyncio.run(cancel_after(steps)):
            break
        reported = [block for update in importing.updates for block in update.bodies]
        assert stored_until(importing, long) == len(reported)


def test_rolled_back_headers_are_gone_and_can_come_again(importing):
    importing.headers(OURS)
    importing.roll_back([block.header for block in OURS[10:]])
    assert importing.store.heads().header == OURS[9].header
    (outcome,) = importing.headers(OURS)
    assert (outcome.imported, outcome.known) == (20, 10)


def test_failing_disk_is_raised_as_such(importing):
    def fail(update: ChainUpdate) -> None:
        raise StoreFailed("no space left")

    importing.store.commit = fail
    (outcome,) = importing.blocks(OURS)
    assert isinstance(outcome, StoreFailed)
    assert importing.updates == []


def lose(store: LmdbChainStore, table: Table, block: Block) -> None:
    """Take away what a table has of a block, as a damaged key or a wrong byte does."""
    key = number_key(block.header.number) + block.header.hash
    with store._env.begin(write=True) as txn:
        assert txn.delete(key, db=store._tables[table])


@pytest.mark.parametrize("again", ["blocks", "headers", "branch"])
def test_store_that_lost_the_parent_of_what_comes_is_damaged_and_no_bug(importing, again):
    importing.blocks(OURS[:10])
    lose(importing.store, Table.TOTAL_DIFFICULTY, OURS[9])
    told: list[StoreFailed] = []
    importing.store.on_damage(told.append)
    if again == "blocks":
        [failure] = importing.blocks(OURS[10:12])
    elif again == "headers":
        [failure] = importing.headers(OURS[10:12])
    else:
        [failure] = importing.blocks(ruled_chain(OURS[7].header, 4, branch=2))
    assert isinstance(failure, StoreFailed)
    assert re.search(
        r"the store is damaged: the parent 0x\w{64} of block \d+ is not known; `trisync verify`", str(failure)
    )
    assert told == [failure]


def test_store_that_lost_the_parent_of_what_is_taken_back_is_damaged_and_no_bug(importing):
    importing.headers(OURS[:10])
    lose(importing.store, Table.HEADERS, OURS[4])
    [failure] = importing.roll_back([block.header for block in OURS[5:10]])
    assert isinstance(failure, StoreFailed)


@pytest.mark.parametrize("forged", ["its nonce", "its bytes"])
def test_checked_seal_stands_for_no_other_header_even_under_its_hash(importing, forged):
    good = OURS[0]
    other = {
        "its nonce": good.header._replace(nonce=b"\x01" * 8),
        "its bytes": good.header._replace(header_rlp=good.header.header_rlp + b"\x00"),
    }[forged]
    importing.sealed_before(good.header, Block(other, good.body_rlp))
    assert importing.seals.checked == [[good.header], [other]]


def test_checked_seal_of_a_block_leaves_those_of_its_uncles_to_check(importing):
    uncle = ruled_block(GENESIS, branch=1).header
    importing.seals.bad = [uncle.hash]
    importing.blocks(OURS[:1])
    nephew = ruled_block(OURS[0].header, uncles=[uncle])
    outcome = importing.sealed_before(nephew.header, nephew)
    assert isinstance(outcome, RuleBroken)
    assert outcome.rule == "uncles"
