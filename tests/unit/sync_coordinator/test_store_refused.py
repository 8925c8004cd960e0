from __future__ import annotations

import contextlib
import random
import shutil
from pathlib import Path

import lmdb
import pytest

from services.sync_coordinator.core.fork_choice import extend_blocks
from services.sync_coordinator.store.chain_store import StoreFailed, StoreRefused
from services.sync_coordinator.store.lmdb_store import LmdbChainStore
from services.sync_coordinator.store.tables import Table
from tests.support.chain_maker import EMPTY_BODY, made_chain, made_genesis, make_header

GENESIS = made_genesis().head
CHAIN = made_chain(60)
PAGE_BYTES = 4096
TRANSACTION_ID_AT = 144
"""Where it stands in a meta page."""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed store of 60 blocks."""
    path = tmp_path_factory.mktemp("original") / "chain"
    store = LmdbChainStore.open(path, GENESIS)
    for first in range(1, 61, 10):
        store.commit(extend_blocks(store, [CHAIN.block(number) for number in range(first, first + 10)]))
    store.close()
    return path


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(original, tmp_path / "chain"))


def refusal(path: Path, genesis=GENESIS, **options) -> str:
    """The text of the refusal, after seeing that it left the directory as it was."""
    before = content(path)
    with pytest.raises(StoreRefused) as caught:
        LmdbChainStore.open(path, genesis, **options)
    assert content(path) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def content(path: Path) -> object:
    if not path.is_dir():
        return path.read_bytes() if path.exists() else None
    return {entry.name: entry.read_bytes() for entry in path.iterdir() if entry.name not in ("lock.mdb", "writer.lock")}


def edit(path: Path, table: Table, change) -> None:
    """Writes into a closed store, past all checks."""
    with lmdb.open(str(path), max_dbs=len(Table)) as env:
        database = env.open_db(table.value)
        with env.begin(write=True) as txn:
            change(txn, database)


def test_file_in_place_of_the_directory_is_refused(tmp_path):
    (tmp_path / "chain").write_text("not a directory")
    assert "is not a directory" in refusal(tmp_path / "chain")


def test_directory_of_another_program_is_refused(tmp_path):
    (tmp_path / "CURRENT").write_text("MANIFEST-000001")
    assert "is not a trisync store: it holds CURRENT" in refusal(tmp_path)


def test_lmdb_file_of_another_program_is_refused(tmp_path):
    with lmdb.open(str(tmp_path), max_dbs=1) as env:
        env.open_db(b"accounts")
    assert "another program's LMDB file" in refusal(tmp_path)


def test_store_of_another_genesis_is_refused_with_both_hashes(path):
    other = make_header(None, EMPTY_BODY, extra_data=b"other")
    text = refusal(path, other)
    assert "genesis mismatch" in text
    assert GENESIS.hash.hex() in text
    assert other.hash.hex() in text


def test_newer_schema_is_refused(path):
    edit(path, Table.META, lambda txn, table: txn.put(b"schema", b"3", db=table))
    assert "schema 3, this trisync knows 2" in refusal(path)


@pytest.mark.parametrize("schema", [b"", b"two", b"\xb2", b"-1"])
def test_schema_that_is_no_number_is_damage(path, schema):
    edit(path, Table.META, lambda txn, table: txn.put(b"schema", schema, db=table))
    assert "the store is damaged: its schema is not a number" in refusal(path)


def test_meta_pages_that_are_not_of_two_commits_in_a_row_are_damage(path):
    with (path / "data.mdb").open("r+b") as file:
        file.seek(TRANSACTION_ID_AT + 1)
        file.write(b"\x01")
    assert "its two meta pages are not of two commits in a row" in refusal(path)


def to_schema_1(path: Path) -> None:
    edit(path, Table.META, lambda txn, table: txn.put(b"schema", b"1", db=table))
    edit(path, Table.SEAL_STATES, lambda txn, table: txn.drop(table))


def test_store_of_schema_1_is_brought_up_when_it_is_opened_for_writing(path):
    to_schema_1(path)
    assert "the store has schema 1; `trisync init` brings it to 2" in refusal(path, read_only=True)
    store = LmdbChainStore.open(path, GENESIS)
    assert store.heads().full_block == CHAIN.head
    assert store.seal_state(CHAIN.head.hash) is None
    store.close()
    LmdbChainStore.open(path, GENESIS, read_only=True).close()


def test_store_of_schema_1_that_lacks_another_table_is_damaged(path):
    to_schema_1(path)
    edit(path, Table.STATE, lambda txn, table: txn.drop(table))
    assert "the store is damaged: a table or its genesis is missing" in refusal(path)


def test_missing_store_is_refused_when_it_may_not_be_made(tmp_path):
    assert "there is no chain store here" in refusal(tmp_path / "chain", read_only=True)
    assert "there is no chain store here" in refusal(tmp_path / "chain", None)
    assert not (tmp_path / "chain").exists()


def test_store_is_refused_while_it_is_open_for_writing(path):
    store = LmdbChainStore.open(path, GENESIS)
    assert "in use by another process (pid " in refusal(path)
    store.close()
    LmdbChainStore.open(path, GENESIS).close()


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.9])
def test_cut_off_file_is_refused(path, share):
    file = path / "data.mdb"
    size = file.stat().st_size
    with file.open("r+b") as opened:
        opened.truncate(int(size * share))
    assert "the store is damaged" in refusal(path)


@pytest.mark.parametrize("page", [0, 1])
def test_overwritten_meta_page_is_refused(path, page):
    overwrite(path, page)
    assert "the store is damaged" in refusal(path)


def test_garbage_file_is_refused(path):
    (path / "data.mdb").write_bytes(random.Random(1).randbytes(5 * PAGE_BYTES))
    assert "it is not an LMDB file" in refusal(path)


def test_overwritten_root_page_is_refused(path):
    for page in range(2, (path / "data.mdb").stat().st_size // PAGE_BYTES):
        overwrite(path, page)
    assert "is overwritten" in refusal(path)


@pytest.mark.parametrize("seed", range(20))
def test_overwritten_page_is_refused_or_reads_fail_and_the_process_lives_on(path, seed):
    overwrite(path, random.Random(seed).randrange(2, (path / "data.mdb").stat().st_size // PAGE_BYTES))
    try:
        store = LmdbChainStore.open(path, GENESIS)
    except StoreRefused:
        return
    for header in CHAIN.headers:
        with contextlib.suppress(StoreFailed):
            store.header(header.hash)
            store.body_rlp(header.hash)
    store.close()


def test_missing_head_is_refused(path):
    edit(path, Table.META, lambda txn, table: txn.delete(b"head.full_block", db=table))
    assert "its full_block head is missing" in refusal(path)


def test_lost_total_difficulty_of_a_head_is_refused_but_to_those_who_only_read(path):
    key = CHAIN.head.number.to_bytes(8) + CHAIN.head.hash
    edit(path, Table.TOTAL_DIFFICULTY, lambda txn, table: txn.delete(key, db=table))
    text = refusal(path)
    assert "the total difficulty of its header head is missing (`trisync verify` tells more)" in text
    with contextlib.closing(LmdbChainStore.open(path, GENESIS, read_only=True)) as store:
        assert store.heads().header == CHAIN.head


def test_missing_table_is_refused(path):
    edit(path, Table.NUMBERS, lambda txn, table: txn.drop(table))
    assert "a table or its genesis is missing" in refusal(path)


def test_store_is_made_anew_when_a_process_was_killed_while_making_it(tmp_path):
    path = tmp_path / "chain"
    path.mkdir()
    (path / "data.mdb").touch()
    LmdbChainStore.open(path, GENESIS).close()
    with lmdb.open(str(path / "second"), max_dbs=2) as env:
        env.open_db(Table.META.value)
        env.open_db(Table.HEADERS.value)
    store = LmdbChainStore.open(path / "second", GENESIS)
    assert store.heads().header == GENESIS
    store.close()


def overwrite(path: Path, page: int) -> None:
    with (path / "data.mdb").open("r+b") as file:
        file.seek(page * PAGE_BYTES)
        file.write(random.Random(page).randbytes(PAGE_BYTES))
