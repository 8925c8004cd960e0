"""One store and several processes: a writer that is killed, readers beside it, a map that grows under them."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from services.sync_coordinator.core.fork_choice import HeadKind, extend_blocks
from services.sync_coordinator.store.chain_store import StoreFailed, StoreRefused
from services.sync_coordinator.store.data_file import check_structure
from services.sync_coordinator.store.lmdb_store import READER_CHECK_COMMITS, LmdbChainStore
from services.sync_coordinator.store.tables import Table
from tests.support.chain_maker import made_chain
from tests.support.deadlines import DEADLINE_S
from tests.support.store_process import CHAIN_LENGTH, FIRST_MAP_BYTES, GENESIS

pytestmark = pytest.mark.integration

CHAIN = made_chain(CHAIN_LENGTH)
MAY_STALL_S = 1.0
"""A bound for busy machines; a reader on an idle one waits less than a tenth of it."""


@contextmanager
def running(what: str, path: Path, number: int = 0) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.support.store_process", what, str(path), str(number)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(DEADLINE_S)
        for stream in (process.stdin, process.stdout, process.stderr):
            assert stream is not None
            stream.close()


def next_line(process: subprocess.Popen[str]) -> str:
    out: IO[str] | None = process.stdout
    assert out is not None
    return out.readline().strip()


def rest_of(process: subprocess.Popen[str]) -> list[str]:
    """The lines it still writes until it ends. `communicate` would miss what is buffered already."""
    assert process.stdout is not None
    return process.stdout.read().splitlines()


def ended(process: subprocess.Popen[str]) -> list[str]:
    """Its last lines, after its input was closed and it ended well."""
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.close()
    lines = rest_of(process)
    assert process.wait(DEADLINE_S) == 0, process.stderr.read()
    return lines


def assert_is_whole_up_to(path: Path, head: int) -> None:
    assert check_structure(path / "data.mdb") == []
    store = LmdbChainStore.open(path, GENESIS, read_only=True)
    assert {store.heads().of(kind) for kind in HeadKind} == {CHAIN.headers[head]}
    assert store.canonical_headers(0, head + 2) == [header.header_rlp for header in CHAIN.headers[: head + 1]]
    hashes = [header.hash for header in CHAIN.headers[: head + 1]]
    assert store.bodies(hashes) == [body.body_rlp for body in CHAIN.bodies[: head + 1]]
    assert store.total_difficulty(hashes[-1]) == CHAIN.total_difficulties[head]
    with store.snapshot() as snapshot:
        for table in (Table.HEADERS, Table.BODIES, Table.NUMBERS, Table.TOTAL_DIFFICULTY, Table.CANONICAL):
            assert snapshot.count(table) == head + 1
    store.close()


@pytest.mark.parametrize("seed", range(10))
def test_store_is_that_of_the_last_commit_when_its_writer_is_killed_at_any_moment(tmp_path, seed):
    rng = random.Random(seed)
    path = tmp_path / "chain"
    batch = rng.choice([3, 40, 300])
    committed = 0
    for _ in range(2):
        with running("write", path, batch) as writer:
            for _ in range(rng.randrange(1, 4)):
                committed = int(next_line(writer) or committed)
            time.sleep(rng.uniform(0, 0.02))
            writer.kill()
            committed = max([committed, *map(int, rest_of(writer))])
        store = LmdbChainStore.open(path, GENESIS)
        head = store.heads().full_block.number
        store.close()
        # What was on disk before it could be said counts too: one batch at most.
        assert committed <= head <= min(committed + batch, CHAIN_LENGTH)
        assert_is_whole_up_to(path, head)
        committed = head


def test_readers_in_other_processes_follow_while_the_map_grows_under_them(tmp_path):
    path = tmp_path / "chain"
    LmdbChainStore.open(path, GENESIS, map_bytes=FIRST_MAP_BYTES).close()
    with running("follow", path) as follower, running("hold", path) as holder:
        assert next_line(follower) == "0"
        assert next_line(holder) == "0"
        with running("write", path, 50) as writer:
            commits = list(map(int, ended(writer)))
        assert commits[-1] == CHAIN_LENGTH
        while next_line(follower) != str(CHAIN_LENGTH):
            assert follower.poll() is None
        longest_s = float(ended(follower)[-1].removeprefix("longest "))
        assert longest_s < MAY_STALL_S
        # The view that was held all the while is still that of its beginning.
        assert ended(holder) == ["0"]
    assert (path / "data.mdb").stat().st_size > 8 * FIRST_MAP_BYTES
    assert_is_whole_up_to(path, CHAIN_LENGTH)


def test_read_beside_a_held_view_fails_in_one_line_when_the_map_has_grown(tmp_path):
    path = tmp_path / "chain"
    LmdbChainStore.open(path, GENESIS, map_bytes=FIRST_MAP_BYTES).close()
    reader = LmdbChainStore.open(path, GENESIS, read_only=True, map_bytes=FIRST_MAP_BYTES)
    with reader.snapshot() as view:
        with running("write", path, 300) as writer:
            ended(writer)
        with pytest.raises(StoreFailed, match="the store grew under a view of it"):
            reader.canonical_hash(0)
        assert view.count(Table.HEADERS) == 1
    assert reader.canonical_hash(CHAIN_LENGTH) == CHAIN.head.hash
    reader.close()


def test_pages_that_a_killed_reader_held_are_used_again(tmp_path):
    def size_after(path: Path, *, held: bool) -> int:
        store = LmdbChainStore.open(path, GENESIS)
        with running("hold", path) as holder:
            assert next_line(holder) == "0"
            if not held:
                holder.kill()
                holder.wait(DEADLINE_S)
            for number in range(1, 4 * READER_CHECK_COMMITS):
                store.commit(extend_blocks(store, [CHAIN.block(number)]))
        store.close()
        return (path / "data.mdb").stat().st_size

    assert 4 * size_after(tmp_path / "killed", held=False) < size_after(tmp_path / "held", held=True)


def test_second_writer_is_refused_in_one_line_and_the_first_goes_on(tmp_path):
    path = tmp_path / "chain"
    with running("write", path, 10) as writer:
        assert next_line(writer) == "10"
        with pytest.raises(StoreRefused, match=rf"in use by another process \(pid {writer.pid}\); stop it first"):
            LmdbChainStore.open(path, GENESIS)
        with running("read", path) as second:
            assert rest_of(second) == []
            assert second.stderr is not None
            assert len(second.stderr.read().splitlines()) == 1
            assert second.wait(DEADLINE_S) == 1
        assert int(ended(writer)[-1]) == CHAIN_LENGTH
