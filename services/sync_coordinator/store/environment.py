"""Opening the LMDB environment of a store: what is checked before it may be read, and how a new one is made."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import lmdb

from services.shared.ethwire.bodies import EMPTY_BODY_RLP
from services.shared.ethwire.types import Block, Header
from services.sync_coordinator.core.fork_choice import ChainUpdate, Heads
from services.sync_coordinator.store.chain_store import StoreRefused
from services.sync_coordinator.store.data_file import check_data_file, damaged
from services.sync_coordinator.store.tables import (
    GENESIS_KEY,
    SCHEMA_KEY,
    SCHEMA_VERSION,
    Table,
    Tables,
    write_genesis,
)
from services.sync_coordinator.store.writer_lock import LOCK_NAME

DATA_NAME: Final = "data.mdb"
OWN_NAMES: Final = frozenset({DATA_NAME, "lock.mdb", LOCK_NAME})
"""Files of a store; any other in its directory makes it foreign."""

FIRST_MAP_BYTES: Final = 1 << 30
"""Address space of a new store. The file grows as it fills; only addresses are reserved."""


def check_directory(path: Path, *, must_exist: bool) -> None:
    """The directory is a store, or empty, or can be made; else StoreRefused."""
    if path.exists() and not path.is_dir():
        raise StoreRefused(f"{path}: the store cannot be opened: it is not a directory")
    names = {entry.name for entry in path.iterdir()} if path.exists() else set()
    foreign = sorted(names - OWN_NAMES)
    if foreign:
        raise StoreRefused(f"{path}: the directory is not a trisync store: it holds {foreign[0]}")
    if DATA_NAME in names:
        return
    if must_exist:
        raise _nothing_here(path)
    path.mkdir(parents=True, exist_ok=True)


class Probe(Protocol):
    """Tries a store before it is opened here. Raises StoreRefused."""

    def __call__(self, path: Path, /, *, writes: bool) -> None: ...


class OpenOptions(NamedTuple):
    """How a store is opened."""

    read_only: bool
    map_bytes: int
    probe: Probe | None


def open_environment(path: Path, genesis: Header | None, options: OpenOptions) -> tuple[lmdb.Environment, Tables]:
    """The environment and tables of the store at `path`, made when nothing is there yet.

    Raises StoreRefused, OSError or lmdb.Error. Caller's duty: the writer lock, unless `read_only`.
    """
    read_only, map_bytes, probe = options
    data_file = path / DATA_NAME
    if data_file.exists():
        check_data_file(data_file)
        if probe is not None and data_file.stat().st_size:
            probe(path, writes=not read_only)
    env = lmdb.open(
        str(path),
        map_size=map_bytes,
        readonly=read_only,
        max_dbs=len(Table),
        max_spare_txns=2,
        create=False,
        readahead=False,
    )
    try:
        with suppress(lmdb.ReadonlyError):
            env.reader_check()
        _upgrade(path, env, read_only=read_only)
        tables = _check_contents(path, env, genesis) or _create(path, env, None if read_only else genesis)
    except BaseException:
        env.close()
        raise
    return env, tables


def _upgrade(path: Path, env: lmdb.Environment, *, read_only: bool) -> None:
    """Gives a store of schema 1 the one table that it lacks."""
    with env.begin() as txn:
        names = {bytes(key) for key, _ in txn.cursor()}
    if names != {table.value for table in Table} - {Table.SEAL_STATES.value}:
        return
    meta = env.open_db(Table.META.value, create=False)
    with env.begin(db=meta) as txn:
        if txn.get(SCHEMA_KEY) != b"1":
            return
    if read_only:
        raise StoreRefused(f"{path}: the store has schema 1; `trisync init` brings it to {SCHEMA_VERSION}")
    with env.begin(write=True) as txn:
        env.open_db(Table.SEAL_STATES.value, txn=txn)
        txn.put(SCHEMA_KEY, str(SCHEMA_VERSION).encode(), db=meta)


def _check_contents(path: Path, env: lmdb.Environment, genesis: Header | None) -> Tables | None:
    """The tables of a store of this schema and genesis; None when nothing was stored yet."""
    with env.begin() as txn:
        names = {bytes(key) for key, _ in txn.cursor()}
    if names - {table.value for table in Table}:
        raise StoreRefused(f"{path}: the directory is not a trisync store: it is another program's LMDB file")
    if Table.META.value not in names:
        return None
    meta = env.open_db(Table.META.value, create=False)
    with env.begin(db=meta) as txn:
        schema, own_genesis = txn.get(SCHEMA_KEY), txn.get(GENESIS_KEY)
    if schema is None:
        return None
    if not schema.isdigit():
        raise damaged(path, "its schema is not a number")
    if int(schema) > SCHEMA_VERSION:
        raise StoreRefused(
            f"{path}: the store has schema {int(schema)}, this trisync knows {SCHEMA_VERSION}; use the newer trisync"
        )
    if own_genesis is None or int(schema) < SCHEMA_VERSION or names != {table.value for table in Table}:
        raise damaged(path, "a table or its genesis is missing")
    if genesis is not None and own_genesis != genesis.hash:
        raise StoreRefused(
            f"{path}: genesis mismatch: the store has 0x{own_genesis.hex()}, this network's is 0x{genesis.hash.hex()}; "
            "choose the store's network, or another --datadir"
        )
    return {table: env.open_db(table.value, create=False) for table in Table}


def _create(path: Path, env: lmdb.Environment, genesis: Header | None) -> Tables:
    """Makes the tables and the genesis block; a process killed meanwhile leaves what counts as an empty store."""
    if genesis is None:
        raise _nothing_here(path)
    tables = {table: env.open_db(table.value) for table in Table}
    with env.begin(write=True) as txn:
        write_genesis(txn, tables, genesis, _genesis_update(genesis))
    return tables


def _nothing_here(path: Path) -> StoreRefused:
    return StoreRefused(f"{path}: there is no chain store here; `trisync init` makes one")


def _genesis_update(genesis: Header) -> ChainUpdate:
    return ChainUpdate(
        heads=Heads(genesis, genesis, genesis),
        headers=[(genesis, genesis.difficulty)],
        bodies=[Block(genesis, EMPTY_BODY_RLP)],
        canonical=[(genesis.number, genesis.hash)],
    )
