"""Whatever is changed in whichever table, `verify` finds it and says where."""

from __future__ import annotations

import asyncio
import itertools
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from services.shared.ethwire.hashing import keccak256
from services.sync_coordinator.store.lmdb_store import LmdbChainStore
from services.sync_coordinator.store.problems import Problem
from services.sync_coordinator.store.tables import PIVOT_KEY, Table, block_key
from services.sync_coordinator.store.verify import StoreCheck
from tests.support.ruled_chain import GENESIS, RULES, ListedSeals
from tests.support.whole_store import (
    AHEAD,
    BLOCKS,
    CODE,
    PIVOT,
    SIDE,
    STATE,
    STATE_ROOT,
    TablesInMemory,
    fill,
    receipts_of,
)

BY_NUMBER = (
    Table.HEADERS,
    Table.BODIES,
    Table.RECEIPTS,
    Table.TOTAL_DIFFICULTY,
    Table.CANONICAL,
)
"""Tables in which a problem is told with the block's number."""

FILLED = [table for table in Table if table is not Table.SEAL_STATES]
FLIPS_PER_VALUE = 5

NO_RECEIPTS = b"\xc0"
"""Receipts of a block that has none need not be stored."""

MAY_BE_MISSING = {
    (Table.BODIES, block_key(SIDE[-1].header.number, SIDE[-1].header.hash)),
    (Table.META, PIVOT_KEY),
}
"""What cannot be missed: a side branch may end with a header alone, and a chain need have no pivot."""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "chain"
    fill(path)
    return path


@pytest.fixture(scope="module")
def whole(path: Path) -> TablesInMemory:
    return TablesInMemory.read(path)


def problems_of(tables) -> list[Problem]:
    found: list[Problem] = []
    asyncio.run(StoreCheck(tables, RULES, ListedSeals(), found.append).run(lambda *_: None))
    assert all("\n" not in str(problem) for problem in found)
    return found


def changed(whole: TablesInMemory, table: Table, key: bytes, value: bytes | None) -> TablesInMemory:
    """A copy in which one value is another one, or, with None, gone."""
    copy = TablesInMemory.__new__(TablesInMemory)
    copy.tables = {**whole.tables, table: dict(whole.tables[table])}
    if value is None:
        del copy.tables[table][key]
    else:
        copy.tables[table][key] = value
    return copy


def flipped(value: bytes, rng: random.Random, most: int) -> Iterator[bytes]:
    """The value with one bit of one byte turned: its first and last byte, and some between."""
    inner = range(1, len(value) - 1)
    for at in {0, len(value) - 1, *rng.sample(inner, min(most, len(inner)))}:
        yield value[:at] + bytes([value[at] ^ 1 << rng.randrange(8)]) + value[at + 1 :]


def names(problem: Problem, table: Table, key: bytes) -> bool:
    """Whether the problem is about this entry, or one that it belongs to."""
    if table is Table.STATE:
        return problem.key == key
    if table is Table.NUMBERS:
        return problem.key[8:] == key or problem.number == 0
    if table in BY_NUMBER:
        return problem.number in (int.from_bytes(key[:8]), int.from_bytes(key[:8]) + 1)
    return True


@pytest.mark.parametrize("table", FILLED, ids=lambda table: table.name)
def test_every_flipped_byte_is_found_where_it_is(whole, table):
    rng = random.Random(table.name)
    assert whole.count(table)
    for key, value in whole.entries(table):
        for wrong in flipped(value, rng, FLIPS_PER_VALUE):
            found = problems_of(changed(whole, table, key, wrong))
            assert any(names(problem, table, key) for problem in found), (table, key.hex(), wrong.hex(), found)


@pytest.mark.parametrize("table", FILLED, ids=lambda table: table.name)
def test_every_deleted_value_is_found(whole, table):
    for key, value in whole.entries(table):
        if (table, key) in MAY_BE_MISSING or value == NO_RECEIPTS:
            continue
        assert problems_of(changed(whole, table, key, None)), (table, key.hex())


@pytest.mark.parametrize("table", FILLED, ids=lambda table: table.name)
def test_two_values_in_each_others_place_are_found(whole, table):
    for (key, value), (other_key, other) in itertools.pairwise(whole.entries(table)):
        if value != other:
            swapped = changed(changed(whole, table, key, other), table, other_key, value)
            assert problems_of(swapped), (table, key.hex())


@pytest.mark.parametrize("table", [*FILLED, Table.SEAL_STATES], ids=lambda table: table.name)
@pytest.mark.parametrize("key", [bytes(32), block_key(7, bytes(32)), (99).to_bytes(8), b"?"], ids=repr)
def test_value_that_belongs_to_nothing_is_found(whole, table, key):
    assert problems_of(changed(whole, table, key, b"\xc0"))


def test_seal_state_under_a_block_that_has_none_is_found(whole):
    found = problems_of(changed(whole, Table.SEAL_STATES, block_key(PIVOT.number, PIVOT.hash), b"state"))
    assert [(problem.number, problem.rule) for problem in found] == [(PIVOT.number, "seal-state")]


def test_missing_state_entry_is_told_with_what_it_is(whole):
    code = problems_of(changed(whole, Table.STATE, keccak256(CODE), None))
    assert [(problem.key, problem.rule) for problem in code] == [(keccak256(CODE), "state")]
    assert "an entry of the pivot's state (code) is missing" in str(code[0])
    root = problems_of(changed(whole, Table.STATE, STATE_ROOT, None))
    assert "(account) is missing" in str(root[0])
    kinds = {str(problems_of(changed(whole, Table.STATE, key, None))[0]).rpartition("(")[2] for key in STATE}
    assert kinds == {"account) is missing", "storage) is missing", "code) is missing"}


def test_state_without_a_pivot_may_be_partial_but_not_wrong(whole):
    without = changed(whole, Table.META, PIVOT_KEY, None)
    without = changed(without, Table.META, b"head.full_block", GENESIS.hash)
    without = changed(without, Table.META, b"head.fast_block", BLOCKS[-1].header.hash)
    receipts = {block_key(block.header.number, block.header.hash): receipts_of(block) for block in BLOCKS}
    without.tables[Table.RECEIPTS] = receipts
    assert problems_of(without) == []
    partial = changed(without, Table.STATE, STATE_ROOT, None)
    assert problems_of(partial) == []
    key, value = next(whole.entries(Table.STATE))
    assert [problem.key for problem in problems_of(changed(partial, Table.STATE, key, value + b"\0"))] == [key]


def test_state_entry_that_no_root_reaches_is_no_problem(whole):
    assert problems_of(changed(whole, Table.STATE, keccak256(b"of an earlier pivot"), b"of an earlier pivot")) == []


def test_receipts_that_fast_sync_must_have_stored_are_missed(whole):
    block = BLOCKS[PIVOT.number - 3]
    assert receipts_of(block) != b"\xc0"
    key = block_key(block.header.number, block.header.hash)
    found = problems_of(changed(whole, Table.RECEIPTS, key, None))
    assert [(problem.number, problem.rule) for problem in found] == [(block.header.number, "receipts")]


def test_pivot_that_is_no_block_or_above_the_full_blocks_is_found(whole):
    assert [problem.rule for problem in problems_of(changed(whole, Table.META, PIVOT_KEY, bytes(32)))] == ["pivot"]
    above = problems_of(changed(whole, Table.META, PIVOT_KEY, AHEAD[-1].header.hash))
    assert (AHEAD[-1].header.number, "pivot") in [(problem.number, problem.rule) for problem in above]


@pytest.mark.parametrize("table", [table for table in FILLED if table is not Table.META], ids=lambda table: table.name)
def test_damage_in_the_file_is_found_like_that_in_memory(path, whole, tmp_path, table):
    copy = Path(shutil.copytree(path, tmp_path / "chain"))
    key, value = list(whole.entries(table))[-1]
    wrong = value[:-1] + bytes([value[-1] ^ 1])
    with lmdb.open(str(copy), max_dbs=len(Table)) as env:
        database = env.open_db(table.value)
        with env.begin(write=True) as txn:
            txn.put(key, wrong, db=database)
    store = LmdbChainStore.open(copy, None, read_only=True)
    with store.snapshot() as snapshot:
        found = problems_of(snapshot)
    store.close()
    assert found
    assert found == problems_of(changed(whole, table, key, wrong))
