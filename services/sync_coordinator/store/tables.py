"""How the chain lies in the store: its tables, their keys, and what is written for one update.

| table | key | value |
|---|---|---|
| headers, bodies, receipts | number (8 bytes, big-endian) + hash | the exact RLP |
| total_difficulty | number + hash | big-endian, no leading zeros |
| numbers | hash | number (8 bytes) |
| canonical | number | hash |
| state | hash | a state entry: trie node or code |
| seal_states | number + hash | who may seal what follows (clique), every 1,024 blocks |
| meta | a name | schema version, genesis hash, one hash per head, the pivot's hash |

Keys start with the number, so that importing a chain appends.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final, TypeAlias

import lmdb

from services.shared.ethwire.types import BlockHash, Header
from services.sync_coordinator.core.fork_choice import ChainUpdate, HeadKind

SCHEMA_VERSION: Final = 2
"""Raised whenever an older trisync could misread the store. Schema 1 had no table of seal states."""

SCHEMA_KEY: Final = b"schema"
GENESIS_KEY: Final = b"genesis"
PIVOT_KEY: Final = b"pivot"
HEAD_KEYS: Final[Mapping[HeadKind, bytes]] = {kind: b"head." + kind.value.encode() for kind in HeadKind}

PUTS_PER_CALL: Final = 256
"""LMDB keeps the interpreter lock during one call; this many puts take well under a millisecond."""


class Table(enum.Enum):
    """A named database of the environment."""

    META = b"meta"
    HEADERS = b"headers"
    BODIES = b"bodies"
    RECEIPTS = b"receipts"
    TOTAL_DIFFICULTY = b"total_difficulty"
    NUMBERS = b"numbers"
    CANONICAL = b"canonical"
    STATE = b"state"
    SEAL_STATES = b"seal_states"


Tables = Mapping[Table, lmdb._Database]
Transaction: TypeAlias = "lmdb.Transaction[bytes]"


def number_key(number: int) -> bytes:
    return number.to_bytes(8)


def block_key(number: int, block_hash: bytes) -> bytes:
    return number.to_bytes(8) + block_hash


def encode_total_difficulty(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8)


def write_update(txn: Transaction, tables: Tables, update: ChainUpdate) -> None:
    """Puts all of `update` into one write transaction."""
    for header in update.forgotten:
        _forget(txn, tables, header)
    keyed = [(block_key(header.number, header.hash), header, total) for header, total in update.headers]
    _put(txn, tables[Table.HEADERS], [(key, header.header_rlp) for key, header, _ in keyed])
    _put(txn, tables[Table.TOTAL_DIFFICULTY], [(key, encode_total_difficulty(total)) for key, _, total in keyed])
    _put(txn, tables[Table.NUMBERS], sorted((key[8:], key[:8]) for key, _, _ in keyed))
    _put(
        txn,
        tables[Table.BODIES],
        [(block_key(block.header.number, block.header.hash), block.body_rlp) for block in update.bodies],
    )
    _put(
        txn,
        tables[Table.RECEIPTS],
        [(block_key(header.number, header.hash), receipts_rlp) for header, receipts_rlp in update.receipts],
    )
    _put(txn, tables[Table.CANONICAL], [(number_key(number), block_hash) for number, block_hash in update.canonical])
    _put(
        txn,
        tables[Table.SEAL_STATES],
        [(block_key(state.number, state.block_hash), state.value) for state in update.seal_states],
    )
    _put(txn, tables[Table.STATE], sorted([(entry.hash, entry.value) for entry in update.state_entries]))
    for number in update.vacated_numbers:
        txn.delete(number_key(number), db=tables[Table.CANONICAL])
    for kind, key in HEAD_KEYS.items():
        txn.put(key, update.heads.of(kind).hash, db=tables[Table.META])
    if update.pivot is not None:
        txn.put(PIVOT_KEY, update.pivot, db=tables[Table.META])


def write_genesis(txn: Transaction, tables: Tables, genesis: Header, update: ChainUpdate) -> None:
    """Turns an empty environment into a store that holds the genesis block."""
    write_update(txn, tables, update)
    txn.put(GENESIS_KEY, genesis.hash, db=tables[Table.META])
    txn.put(SCHEMA_KEY, str(SCHEMA_VERSION).encode(), db=tables[Table.META])


def read_by_hash(txn: Transaction, tables: Tables, table: Table, block_hash: BlockHash) -> bytes | None:
    """The value that `table` keeps under number + hash."""
    number = txn.get(block_hash, db=tables[Table.NUMBERS])
    return None if number is None else txn.get(number + block_hash, db=tables[table])


def _forget(txn: Transaction, tables: Tables, header: Header) -> None:
    key = block_key(header.number, header.hash)
    for table in (Table.HEADERS, Table.TOTAL_DIFFICULTY, Table.BODIES, Table.RECEIPTS, Table.SEAL_STATES):
        txn.delete(key, db=tables[table])
    txn.delete(header.hash, db=tables[Table.NUMBERS])


def _put(txn: Transaction, table: lmdb._Database, items: list[tuple[bytes, bytes]]) -> None:
    """Put all items. Those in order above all keys of the table are appended, which fills its pages better."""
    cursor = txn.cursor(table)
    is_above = bool(items) and (not cursor.last() or cursor.key() < items[0][0])
    for start in range(0, len(items), PUTS_PER_CALL):
        batch = items[start : start + PUTS_PER_CALL]
        if is_above:
            _, added = cursor.putmulti(batch, append=True)
            # LMDB leaves out what is not above its last key.
            is_above = added == len(batch)
        if not is_above:
            cursor.putmulti(batch)
