"""A small chain whose store has something in every table, and its tables as dictionaries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import lmdb

from services.shared.ethwire.bodies import receipt_totals
from services.shared.ethwire.hashing import EMPTY_TRIE_ROOT, keccak256
from services.shared.ethwire.headers import with_hash
from services.shared.ethwire.rlp_slices import encode_string, encode_uint, join_list
from services.shared.ethwire.types import Block, BlockHash
from services.sync_coordinator.core.fork_choice import extend_blocks, extend_headers
from services.sync_coordinator.store.lmdb_store import LmdbChainStore
from services.sync_coordinator.store.tables import PIVOT_KEY, Table, Tables, Transaction
from tests.support.ruled_chain import GENESIS, ruled_block, ruled_chain
from tests.support.state_trie import add_secure_trie

CODE: Final = b"\x60\x00\x60\x00\xf3" * 20


def account(storage_root: bytes, code_hash: bytes, balance: int = 7) -> bytes:
    return join_list([encode_uint(1), encode_uint(balance), encode_string(storage_root), encode_string(code_hash)])


def made_state(accounts: int = 24) -> tuple[bytes, dict[bytes, bytes]]:
    """(root, entries): plain accounts, two with the same storage and code, and one with large storage values."""
    code_hash, no_code = keccak256(CODE), keccak256(b"")
    entries = {code_hash: CODE}
    shared = add_secure_trie({bytes([slot]): encode_uint(slot) for slot in range(1, 12)}, entries)
    large = add_secure_trie(
        {b"large" + bytes([slot]): encode_string(bytes([slot]) * 32) for slot in range(1, 9)}, entries
    )
    values = {bytes([number]) * 20: account(EMPTY_TRIE_ROOT, no_code, number + 1) for number in range(accounts)}
    values |= {
        b"first": account(shared, code_hash),
        b"second": account(shared, code_hash),
        b"third": account(large, no_code),
    }
    return add_secure_trie(values, entries), entries


def receipts_of(block: Block) -> bytes:
    """Receipts for the transactions of a made block."""
    count = block.header.number % 3
    receipts = []
    for index in range(count):
        bloom = (1 << block.header.number | 1 << 1000 + index).to_bytes(256)
        fields = [encode_uint(1), encode_uint(21_000 * (index + 1)), encode_string(bloom), b"\xc0"]
        receipts.append(join_list(fields))
    return join_list(receipts)


def with_receipts(block: Block, parent_hash: bytes, state_root: bytes | None = None) -> Block:
    """The block with a header that promises its receipts, on top of `parent_hash`."""
    totals = receipt_totals(receipts_of(block))
    header = block.header._replace(
        parent_hash=BlockHash(parent_hash),
        receipts_root=totals.root,
        bloom=totals.bloom,
        gas_used=totals.gas_used,
        state_root=state_root or block.header.state_root,
    )
    return Block(with_hash(header), block.body_rlp)


STATE_ROOT, STATE = made_state()
PIVOT_NUMBER: Final = 24


def _main_chain() -> list[Block]:
    blocks: list[Block] = []
    parent, made = GENESIS, list(ruled_chain(GENESIS, 16))
    for plain in made:
        blocks.append(with_receipts(plain, parent.hash))
        parent = blocks[-1].header
    uncle = ruled_block(blocks[12].header, branch=1).header
    while len(blocks) < 30:
        plain = ruled_block(parent, uncles=[uncle] if len(blocks) == 16 else [])
        state_root = STATE_ROOT if plain.header.number == PIVOT_NUMBER else None
        blocks.append(with_receipts(plain, parent.hash, state_root))
        parent = blocks[-1].header
    return blocks


BLOCKS = _main_chain()
SIDE = ruled_chain(BLOCKS[4].header, 6, seconds=25, branch=2)
AHEAD = ruled_chain(BLOCKS[-1].header, 3)
PIVOT = BLOCKS[PIVOT_NUMBER - 1].header


def fill(path: Path, *, with_pivot: bool = True) -> None:
    """A closed store: fast sync up to the pivot, full blocks after it, a side branch, headers ahead."""
    store = LmdbChainStore.open(path, GENESIS)
    receipts = {block.header.hash: receipts_of(block) for block in BLOCKS[:PIVOT_NUMBER]}
    store.commit(extend_blocks(store, BLOCKS, receipts))
    store.commit(extend_blocks(store, SIDE))
    store.commit(extend_headers(store, [block.header for block in AHEAD]))
    store.close()
    with lmdb.open(str(path), max_dbs=len(Table)) as env:
        tables = {table: env.open_db(table.value) for table in Table}
        with env.begin(write=True) as txn:
            put_state(txn, tables, with_pivot=with_pivot)


def put_state(txn: Transaction, tables: Tables, *, with_pivot: bool) -> None:
    for key, value in STATE.items():
        txn.put(key, value, db=tables[Table.STATE])
    if with_pivot:
        txn.put(PIVOT_KEY, PIVOT.hash, db=tables[Table.META])


class TablesInMemory:
    """A store's tables as dictionaries: `RawTables` that a test can change at will."""

    def __init__(self, tables: Mapping[Table, Mapping[bytes, bytes]]) -> None:
        self.tables = {table: dict(tables[table]) for table in Table}

    @classmethod
    def read(cls, path: Path) -> TablesInMemory:
        store = LmdbChainStore.open(path, None, read_only=True)
        try:
            with store.snapshot() as snapshot:
                return cls({table: dict(snapshot.entries(table)) for table in Table})
        finally:
            store.close()

    def get(self, table: Table, key: bytes) -> bytes | None:
        return self.tables[table].get(key)

    def count(self, table: Table) -> int:
        return len(self.tables[table])

    def entries(self, table: Table) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted(self.tables[table].items()))
