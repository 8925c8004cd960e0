"""Checks the indexes, the heads and what else `meta` holds, once every header was seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from services.sync_coordinator.core.fork_choice import HeadKind
from services.sync_coordinator.store.problems import ProblemLog
from services.sync_coordinator.store.raw_tables import RawTables
from services.sync_coordinator.store.tables import (
    GENESIS_KEY,
    HEAD_KEYS,
    PIVOT_KEY,
    SCHEMA_KEY,
    SCHEMA_VERSION,
    Table,
)

META_KEYS: Final = frozenset({SCHEMA_KEY, GENESIS_KEY, PIVOT_KEY, *HEAD_KEYS.values()})


class HeadsCheck:
    """Reads heads and pivot before the headers are checked, and judges them afterwards."""

    def __init__(self, tables: RawTables, problems: ProblemLog) -> None:
        self._tables, self._problems = tables, problems
        self._keys = {kind: self._key_of(tables.get(Table.META, key) or b"") for kind, key in HEAD_KEYS.items()}
        self._pivot = tables.get(Table.META, PIVOT_KEY)
        self._pivot_key = None if self._pivot is None else self._key_of(self._pivot)

    @property
    def fast_blocks(self) -> range:
        """Canonical blocks that came by fast sync, so that those with receipts have them stored.

        Without a pivot that is what the fast-block head has above the full-block head. With one it is all up
        to the pivot: a fast sync begins on a store that has no full blocks.
        """
        full, fast = self._keys[HeadKind.FULL_BLOCK], self._keys[HeadKind.FAST_BLOCK]
        if self._pivot_key is not None:
            return range(1, _number(self._pivot_key) + 1)
        return range(0) if full is None or fast is None else range(_number(full) + 1, _number(fast) + 1)

    @property
    def pivot_header_rlp(self) -> bytes | None:
        """The header whose state must be whole."""
        return None if self._pivot_key is None else self._tables.get(Table.HEADERS, self._pivot_key)

    def check_counts(self, seen: Mapping[Table, int]) -> None:
        """Entries that belong to no header; entries that are missing were found with their header."""
        for table, count in seen.items():
            stored = self._tables.count(table)
            if stored != count:
                detail = f"{stored} entries are stored, {count} belong to headers"
                self._problems.note_index(table.value.decode(), detail)

    def check_meta(self) -> None:
        for key, value in self._tables.entries(Table.META):
            if key not in META_KEYS:
                self._problems.note_index("meta", f"there is an entry 0x{key.hex()} of no meaning")
            elif key == SCHEMA_KEY and value != str(SCHEMA_VERSION).encode():
                self._problems.note_index("meta", f"the schema is not {SCHEMA_VERSION}")
        for key in META_KEYS - {PIVOT_KEY}:
            if self._tables.get(Table.META, key) is None:
                self._problems.note_index("meta", f"{key.decode()} is missing")

    def check_heads(self, heaviest_header: int, heaviest_body: int) -> None:
        """Every head must lead the chains of its kind, given the weight of the heaviest of them."""
        weights = []
        for kind in HeadKind:
            key = self._keys[kind]
            if key is None:
                self._problems.note_index("head", f"the {kind.value} head is missing")
                return
            weights.append(int.from_bytes(self._tables.get(Table.TOTAL_DIFFICULTY, key) or b""))
            if kind is not HeadKind.HEADER and self._tables.get(Table.BODIES, key) is None:
                self._problems.note(key, "head", f"the {kind.value} head has no body")
        header, fast, full = (self._keys[kind] or b"" for kind in HeadKind)
        self._check_canonical_end(header)
        for kind, key, weight, heaviest in (
            (HeadKind.HEADER, header, weights[0], heaviest_header),
            (HeadKind.FAST_BLOCK, fast, weights[1], heaviest_body),
        ):
            if weight < heaviest:
                self._problems.note(key, "head", f"a chain is heavier than the {kind.value} head: {heaviest}")
        if self._pivot is None and full != fast and _number(full):
            self._problems.note(full, "head", "the full_block head is below the fast_block head, and there is no pivot")
        if weights != sorted(weights, reverse=True):
            self._problems.note_index("head", "a head is above the one that must lead it")

    def check_pivot(self) -> None:
        if self._pivot is None:
            return
        if self._pivot_key is None:
            self._problems.note_index("pivot", f"0x{self._pivot.hex()} is no stored block")
            return
        full = self._keys[HeadKind.FULL_BLOCK]
        if full is not None and full[:8] < self._pivot_key[:8]:
            self._problems.note(self._pivot_key, "pivot", "the full_block head is below it")

    def _check_canonical_end(self, head_key: bytes) -> None:
        number = _number(head_key)
        if self._tables.get(Table.CANONICAL, head_key[:8]) != head_key[8:]:
            self._problems.note(head_key, "canonical", "the header head is not canonical")
        if self._tables.count(Table.CANONICAL) != number + 1:
            self._problems.note(head_key, "canonical", "the canonical index does not end at the header head")

    def _key_of(self, block_hash: bytes) -> bytes | None:
        """Number and hash of a stored block."""
        number = self._tables.get(Table.NUMBERS, block_hash) if block_hash else None
        key = (number or b"") + block_hash
        return key if self._tables.get(Table.HEADERS, key) is not None else None


def _number(key: bytes) -> int:
    return int.from_bytes(key[:8])
