"""The chain store in one LMDB environment on one disk.

Every commit is one transaction, on disk when it returns; a killed process leaves the last one whole.
Values are copied out of the map, and read transactions end before control returns, so no reader keeps
old pages alive. The map starts small and doubles when it is full.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import lmdb

from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.headers import decode_header
from services.shared.ethwire.types import BlockHash, Header
from services.sync_coordinator.core.fork_choice import ChainUpdate, HeadKind, Heads
from services.sync_coordinator.store.chain_store import StoreFailed, StoreRefused, StoreSize
from services.sync_coordinator.store.data_file import damaged
from services.sync_coordinator.store.environment import (
    FIRST_MAP_BYTES,
    OpenOptions,
    Probe,
    check_directory,
    open_environment,
)
from services.sync_coordinator.store.reading import Reading
from services.sync_coordinator.store.tables import (
    HEAD_KEYS,
    PIVOT_KEY,
    Table,
    Tables,
    Transaction,
    number_key,
    read_by_hash,
    write_update,
)
from services.sync_coordinator.store.writer_lock import WriterLock

READER_CHECK_COMMITS: Final = 64
"""After so many commits the readers that were killed are looked for: they would keep old pages for ever."""


def store_path(datadir: Path) -> Path:
    """Where the chain lies in a data directory."""
    return datadir / "chaindata"


class LmdbChainStore:
    """A `ChainStore`. Reads from any thread; `commit` from one at a time."""

    def __init__(self, path: Path, env: lmdb.Environment, tables: Tables, lock: WriterLock | None) -> None:
        self._path, self._env, self._tables, self._lock = path, env, tables, lock
        self._reading = Reading(path, env)
        self._heads = self._read_heads(are_compared=lock is not None)
        self._commits = 0
        self._on_commit: Callable[[float], object] = lambda _: None

    @classmethod
    def open(
        cls,
        path: Path,
        genesis: Header | None,
        *,
        read_only: bool = False,
        map_bytes: int = FIRST_MAP_BYTES,
        probe: Probe | None = None,
    ) -> Self:
        """Opens or creates the store in the directory `path`. Raises StoreRefused; a refused store is untouched.

        Without `genesis` any existing store will do. A read-only store may be open elsewhere for writing.
        With `probe` another process reads an existing store first, so that damage cannot end this one.
        """
        try:
            check_directory(path, must_exist=read_only or genesis is None)
            lock = None if read_only else WriterLock.acquire(path)
            try:
                env, tables = open_environment(path, genesis, OpenOptions(read_only, map_bytes, probe))
                try:
                    return cls(path, env, tables, lock)
                except BaseException:
                    env.close()
                    raise
            except BaseException:
                if lock is not None:
                    lock.release()
                raise
        except (OSError, lmdb.Error, MalformedRlp, StoreFailed) as error:
            raise StoreRefused(f"{path}: the store cannot be opened: {error}") from error

    def close(self) -> None:
        with self._reading.lock:
            self._env.close()
        if self._lock is not None:
            self._lock.release()

    def on_damage(self, report: Callable[[StoreFailed], None]) -> None:
        """Calls `report`, in whichever thread reads, when a page of the store turns out to be unreadable."""
        self._reading.on_damage = report

    def damaged(self, problem: str) -> StoreFailed:
        return self._reading.damaged(problem)

    def on_commit(self, report: Callable[[float], object]) -> None:
        """Calls `report` after each commit, in its thread, with the seconds that it took."""
        self._on_commit = report

    def size(self) -> StoreSize:
        """What is used of the disk and of the address space. Any thread may ask until the store is closed."""
        with self._reading.lock:
            env = self._env.info()
            page_bytes = self._env.stat()["psize"]
        disk = os.statvfs(self._path)
        return StoreSize(
            used_bytes=(env["last_pgno"] + 1) * page_bytes,
            limit_bytes=env["map_size"],
            free_disk_bytes=disk.f_bavail * disk.f_frsize,
        )

    def header(self, block_hash: BlockHash) -> Header | None:
        header_rlp = self._read(Table.HEADERS, block_hash)
        try:
            return None if header_rlp is None else decode_header(header_rlp, block_hash)
        except MalformedRlp as fault:
            raise self._reading.damaged(f"header 0x{block_hash.hex()}: {fault}") from fault

    def header_rlp(self, block_hash: BlockHash) -> bytes | None:
        return self._read(Table.HEADERS, block_hash)

    def body_rlp(self, block_hash: BlockHash) -> bytes | None:
        return self._read(Table.BODIES, block_hash)

    def receipts_rlp(self, block_hash: BlockHash) -> bytes | None:
        return self._read(Table.RECEIPTS, block_hash)

    def seal_state(self, block_hash: BlockHash) -> bytes | None:
        return self._read(Table.SEAL_STATES, block_hash)

    def total_difficulty(self, block_hash: BlockHash) -> int | None:
        value = self._read(Table.TOTAL_DIFFICULTY, block_hash)
        return None if value is None else int.from_bytes(value)

    def number_of(self, block_hash: BlockHash) -> int | None:
        with self._reading as txn:
            value = txn.get(block_hash, db=self._tables[Table.NUMBERS])
        return None if value is None else int.from_bytes(value)

    def has_body(self, block_hash: BlockHash) -> bool:
        with self._reading as txn:
            number = txn.get(block_hash, db=self._tables[Table.NUMBERS])
            return number is not None and txn.cursor(self._tables[Table.BODIES]).set_key(number + block_hash)

    def canonical_hash(self, number: int) -> BlockHash | None:
        if not 0 <= number < 1 << 64:
            return None
        with self._reading as txn:
            value = txn.get(number_key(number), db=self._tables[Table.CANONICAL])
        return None if value is None else BlockHash(value)

    def heads(self) -> Heads:
        return self._heads

    def canonical_headers(self, start: int, amount: int, step: int = 1) -> list[bytes]:
        """Header RLP of canonical blocks `start`, `start + step`, …; ends early where the chain does."""
        found: list[bytes] = []
        canonical, headers = self._tables[Table.CANONICAL], self._tables[Table.HEADERS]
        with self._reading as txn:
            for number in range(start, start + amount * step, step):
                if not 0 <= number < 1 << 64:
                    break
                key = number_key(number)
                block_hash = txn.get(key, db=canonical)
                header_rlp = None if block_hash is None else txn.get(key + block_hash, db=headers)
                if header_rlp is None:
                    break
                found.append(header_rlp)
        return found

    def bodies(self, hashes: Sequence[BlockHash]) -> list[bytes | None]:
        return self._read_many(Table.BODIES, hashes)

    def receipts(self, hashes: Sequence[BlockHash]) -> list[bytes | None]:
        return self._read_many(Table.RECEIPTS, hashes)

    def state_entries(self, hashes: Sequence[bytes]) -> list[bytes | None]:
        with self._reading as txn:
            return [txn.get(entry_hash, db=self._tables[Table.STATE]) for entry_hash in hashes]

    def has_state(self, hashes: Sequence[bytes]) -> list[bool]:
        """Looks every hash up in key order, which touches each page of the table once."""
        with self._reading as txn:
            has_key = txn.cursor(self._tables[Table.STATE]).set_key
            found = {entry_hash for entry_hash in sorted(hashes) if has_key(entry_hash)}
        return [entry_hash in found for entry_hash in hashes]

    def pivot(self) -> BlockHash | None:
        """The block whose whole state is in the store."""
        with self._reading as txn:
            value = txn.get(PIVOT_KEY, db=self._tables[Table.META])
        return None if value is None else BlockHash(value)

    def commit(self, update: ChainUpdate) -> None:
        """Writes all of `update` and waits for the disk. Raises StoreFailed with nothing changed."""
        began = time.perf_counter()
        try:
            if self._commits % READER_CHECK_COMMITS == 0:
                self._env.reader_check()
            self._commits += 1
            while True:
                try:
                    with self._env.begin(write=True) as txn:
                        write_update(txn, self._tables, update)
                    break
                except lmdb.MapFullError:
                    with self._reading.lock:
                        self._env.set_mapsize(2 * self._env.info()["map_size"])
        except lmdb.Error as error:
            raise self._reading.failed(error) from error
        self._heads = update.heads
        self._on_commit(time.perf_counter() - began)

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """One unchanging view for a long read. Caller's duty: no commit of this process meanwhile."""
        try:
            with self._reading.begin() as txn:
                self._reading.snapshots += 1
                try:
                    yield Snapshot(txn, self._tables)
                finally:
                    self._reading.snapshots -= 1
        except lmdb.Error as error:
            raise self._reading.failed(error) from error

    def _read(self, table: Table, block_hash: BlockHash) -> bytes | None:
        with self._reading as txn:
            return read_by_hash(txn, self._tables, table, block_hash)

    def _read_many(self, table: Table, hashes: Sequence[BlockHash]) -> list[bytes | None]:
        with self._reading as txn:
            return [read_by_hash(txn, self._tables, table, block_hash) for block_hash in hashes]

    def _read_heads(self, *, are_compared: bool) -> Heads:
        """Whoever adds blocks compares total difficulties; a reader, as `trisync verify` is, goes on without."""
        heads = []
        with self._reading as txn:
            for kind in HeadKind:
                block_hash = BlockHash(txn.get(HEAD_KEYS[kind], b"", db=self._tables[Table.META]))
                header_rlp = read_by_hash(txn, self._tables, Table.HEADERS, block_hash) if block_hash else None
                if header_rlp is None:
                    raise damaged(self._path, f"its {kind.value} head is missing")
                weight = read_by_hash(txn, self._tables, Table.TOTAL_DIFFICULTY, block_hash)
                if weight is None and are_compared:
                    problem = f"the total difficulty of its {kind.value} head is missing (`trisync verify` tells more)"
                    raise damaged(self._path, problem)
                heads.append(decode_header(header_rlp, block_hash))
        return Heads(*heads)


class Snapshot:
    """Raw reads of one read transaction, for checking and copying whole stores."""

    def __init__(self, txn: Transaction, tables: Tables) -> None:
        self._txn, self._tables = txn, tables

    def get(self, table: Table, key: bytes) -> bytes | None:
        return self._txn.get(key, db=self._tables[table])

    def count(self, table: Table) -> int:
        return self._txn.stat(self._tables[table])["entries"]

    def entries(self, table: Table) -> Iterator[tuple[bytes, bytes]]:
        """All (key, value) of a table in key order."""
        return self._txn.cursor(self._tables[table]).iternext()
