from __future__ import annotations

import asyncio
import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from services.shared.ethwire.rlp_slices import join_list
from services.sync_coordinator.core.chain_rules import ChainRules
from services.sync_coordinator.core.fork_choice import extend_blocks, extend_headers
from services.sync_coordinator.store.lmdb_store import LmdbChainStore
from services.sync_coordinator.store.problems import MAX_PROBLEMS, Problem
from services.sync_coordinator.store.tables import Table, Tables, Transaction, block_key, number_key
from services.sync_coordinator.store.verify import StoreCheck
from tests.support.ruled_chain import GENESIS, RULES, SPEC, ListedSeals, ruled_block, ruled_chain

SHARED = ruled_chain(GENESIS, 20)
UNCLE = ruled_block(SHARED[16].header, branch=1).header
NEPHEW = ruled_block(SHARED[-1].header, uncles=[UNCLE])
BLOCKS = [*SHARED, NEPHEW, *ruled_chain(NEPHEW.header, 9)]
SIDE = ruled_chain(SHARED[4].header, 6, seconds=25, branch=2)
AHEAD = ruled_chain(BLOCKS[-1].header, 3)
EMPTY_RECEIPTS = b"\xc0"

Change = Callable[[Transaction, Tables], object]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed store: 30 blocks, one with an uncle; a side branch of 6; 3 headers ahead."""
    path = tmp_path_factory.mktemp("original") / "chain"
    store = LmdbChainStore.open(path, GENESIS)
    store.commit(extend_blocks(store, BLOCKS, {BLOCKS[0].header.hash: EMPTY_RECEIPTS}))
    store.commit(extend_blocks(store, SIDE))
    store.commit(extend_headers(store, [block.header for block in AHEAD]))
    store.close()
    return path


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "chain"))


def problems_of(path: Path, seals: ListedSeals | None = None, rules: ChainRules = RULES) -> list[Problem]:
    found: list[Problem] = []
    store = LmdbChainStore.open(path, GENESIS, read_only=True)
    try:
        with store.snapshot() as snapshot:
            check = StoreCheck(snapshot, rules, seals or ListedSeals(), found.append)
            asyncio.run(check.run(lambda *_: None))
            assert check.problems == len(found)
    finally:
        store.close()
    return found


def change(path: Path, edit: Change) -> None:
    """Writes into a closed store, past all checks."""
    with lmdb.open(str(path), max_dbs=len(Table)) as env:
        tables = {table: env.open_db(table.value) for table in Table}
        with env.begin(write=True) as txn:
            edit(txn, tables)


def key_of(block) -> bytes:
    return block_key(block.header.number, block.header.hash)


def put(table: Table, key: bytes, value: bytes) -> Change:
    return lambda txn, tables: txn.put(key, value, db=tables[table])


def delete(table: Table, key: bytes) -> Change:
    return lambda txn, tables: txn.delete(key, db=tables[table])


def test_whole_store_has_no_problem(path):
    assert problems_of(path) == []


def test_blocks_after_the_terminal_total_difficulty_are_found(path):
    terminal = GENESIS.difficulty + sum(block.header.difficulty for block in BLOCKS) + AHEAD[0].header.difficulty
    found = problems_of(path, rules=ChainRules(dataclasses.replace(SPEC, terminal_total_difficulty=terminal)))
    late = [block.header.number for block in AHEAD[1:]]
    assert [(problem.number, problem.rule) for problem in found] == [
        (number, "terminal-total-difficulty") for number in late
    ]


def test_empty_store_has_no_problem(tmp_path):
    LmdbChainStore.open(tmp_path / "chain", GENESIS).close()
    assert problems_of(tmp_path / "chain") == []


TENTH = BLOCKS[9]
OTHER = ruled_block(TENTH.header, branch=7)


@pytest.mark.parametrize(
    ("edit", "number", "rule"),
    [
        (put(Table.HEADERS, key_of(TENTH), TENTH.header.header_rlp[:-1] + b"\1"), 10, "hash"),
        (put(Table.HEADERS, key_of(TENTH), b"\xc0"), 10, "header"),
        (put(Table.HEADERS, block_key(11, TENTH.header.hash), TENTH.header.header_rlp), 11, "hash"),
        (delete(Table.HEADERS, key_of(TENTH)), 11, "parent"),
        (put(Table.HEADERS, key_of(OTHER), OTHER.header.header_rlp), 11, "number-index"),
        (put(Table.TOTAL_DIFFICULTY, key_of(TENTH), b"\1"), 10, "total-difficulty"),
        (delete(Table.TOTAL_DIFFICULTY, key_of(TENTH)), 10, "total-difficulty"),
        (put(Table.TOTAL_DIFFICULTY, key_of(OTHER), b"\1"), 0, "total_difficulty"),
        (put(Table.NUMBERS, TENTH.header.hash, number_key(3)), 10, "number-index"),
        (delete(Table.NUMBERS, TENTH.header.hash), 10, "number-index"),
        (put(Table.NUMBERS, OTHER.header.hash, number_key(3)), 0, "numbers"),
        (put(Table.BODIES, key_of(TENTH), b"\xc0"), 10, "body"),
        (put(Table.BODIES, key_of(TENTH), join_list([b"\xc2\x81\x99", b"\xc0"])), 10, "body"),
        (put(Table.BODIES, key_of(TENTH), join_list([b"\xc1\xc0", b"\xc0"])), 10, "transactions-root"),
        (put(Table.BODIES, key_of(TENTH), join_list([b"\xc0", b"\xc1\xc0"])), 10, "uncles-hash"),
        (delete(Table.BODIES, key_of(TENTH)), 11, "body"),
        (delete(Table.BODIES, key_of(BLOCKS[-1])), 30, "head"),
        (put(Table.BODIES, key_of(OTHER), TENTH.body_rlp), 0, "bodies"),
        (put(Table.RECEIPTS, key_of(TENTH), b"\xc1\xc0"), 10, "receipts"),
        (put(Table.RECEIPTS, key_of(TENTH), b"\x80"), 10, "receipts"),
        (put(Table.RECEIPTS, key_of(OTHER), EMPTY_RECEIPTS), 0, "receipts"),
        (put(Table.CANONICAL, number_key(10), SIDE[4].header.hash), 10, "canonical"),
        (delete(Table.CANONICAL, number_key(10)), 11, "canonical"),
        (put(Table.CANONICAL, number_key(34), bytes(32)), 33, "canonical"),
        (put(Table.META, b"head.header", BLOCKS[-1].header.hash), 30, "head"),
        (put(Table.META, b"head.full_block", SHARED[0].header.hash), 1, "head"),
        (put(Table.META, b"head.full_block", AHEAD[0].header.hash), 31, "head"),
        (put(Table.META, b"head.fast_block", SHARED[0].header.hash), 0, "head"),
    ],
)
def test_damage_is_found_where_it_is(path, edit, number, rule):
    change(path, edit)
    found = problems_of(path)
    assert (number, rule) in [(problem.number, problem.rule) for problem in found]
    assert all("\n" not in str(problem) for problem in found)


def test_header_that_breaks_a_rule_is_found_when_it_is_stored_like_any_other(path):
    early = ruled_block(TENTH.header, seconds=-5)
    change(path, put(Table.HEADERS, key_of(early), early.header.header_rlp))
    assert (11, "timestamp") in [(problem.number, problem.rule) for problem in problems_of(path)]


def test_uncle_that_breaks_the_rules_is_found(tmp_path):
    bad = ruled_block(BLOCKS[-1].header, uncles=[BLOCKS[3].header])
    store = LmdbChainStore.open(tmp_path / "chain", GENESIS)
    store.commit(extend_blocks(store, [*BLOCKS, bad]))
    store.close()
    assert [(problem.number, problem.rule) for problem in problems_of(tmp_path / "chain")] == [(31, "uncles")]


def test_bad_seals_are_found_each_by_itself(path):
    bad = [BLOCKS[3].header, UNCLE, AHEAD[1].header]
    found = problems_of(path, ListedSeals({header.hash for header in bad}))
    assert [(problem.number, problem.rule) for problem in found] == [(4, "seal"), (18, "seal"), (32, "seal")]
    assert [problem.key for problem in found] == [block_key(header.number, header.hash) for header in bad]


def test_check_stops_when_there_are_too_many_problems(tmp_path):
    long = ruled_chain(GENESIS, MAX_PROBLEMS + 20)
    store = LmdbChainStore.open(tmp_path / "chain", GENESIS)
    store.commit(extend_blocks(store, long))
    store.close()
    change(tmp_path / "chain", lambda txn, tables: txn.drop(tables[Table.NUMBERS], delete=False))
    change(tmp_path / "chain", put(Table.NUMBERS, GENESIS.hash, number_key(0)))
    change(tmp_path / "chain", put(Table.NUMBERS, long[-1].header.hash, number_key(long[-1].header.number)))
    assert len(problems_of(tmp_path / "chain")) == MAX_PROBLEMS
