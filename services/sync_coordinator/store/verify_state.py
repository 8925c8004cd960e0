"""Checks the state entries of a store: each by its hash, and that none is missing below the pivot's root.

Entries that the pivot's root does not reach are those of earlier pivots or of a download under way, so
they are checked by their hash alone. The walk keeps one branch per level of the trie in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final, NamedTuple

from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.hashing import EMPTY_CODE_HASH, EMPTY_TRIE_ROOT, keccak256
from services.shared.ethwire.rlp_slices import split_list, string_payload
from services.sync_coordinator.store.problems import ProblemLog
from services.sync_coordinator.store.raw_tables import RawTables
from services.sync_coordinator.store.tables import Table

ENTRIES_PER_TURN: Final = 256
"""State entries checked before the event loop gets its turn: a few milliseconds."""

KNOWN_ROOTS: Final = 1 << 16
"""Storage roots and code hashes remembered as walked, about 6 MB: many accounts share them."""

_HASH_PREFIX: Final = 0xA0
_NOTHING: Final = 0x80
_BRANCH_ITEMS: Final = 17
_LEAF_FLAG: Final = 2


class _Links(NamedTuple):
    """What a trie node leads to: nodes by their hash, and values."""

    children: list[bytes]
    values: list[bytes]


class StateCheck:
    """One check of the state of one snapshot; `on_progress` gets (entries done, entries)."""

    def __init__(self, tables: RawTables, problems: ProblemLog, on_progress: Callable[[int, int], None]) -> None:
        self._tables, self._problems, self._on_progress = tables, problems, on_progress
        self._total = tables.count(Table.STATE)
        self._known_roots: set[bytes] = set()

    async def check_entries(self) -> None:
        """Each entry must be the one its key names."""
        for done, (key, value) in enumerate(self._tables.entries(Table.STATE), start=1):
            if keccak256(value) != key:
                self._problems.note_state(key, "state", "the entry is not the one its key names")
            if done % ENTRIES_PER_TURN == 0:
                self._on_progress(done, self._total)
                await asyncio.sleep(0)

    async def walk(self, state_root: bytes) -> None:
        """Every entry below `state_root` must be there: accounts, their storage and code."""
        done = 0
        async for node_hash, account in self._values_below(state_root, "account"):
            try:
                storage_root, code_hash = _links_of_account(account)
            except MalformedRlp as fault:
                self._problems.note_state(node_hash, "state", f"an account in it is malformed: {fault}")
                continue
            if code_hash != EMPTY_CODE_HASH and self._is_new(code_hash):
                self._entry(code_hash, "code")
            if storage_root != EMPTY_TRIE_ROOT and self._is_new(storage_root):
                async for _ in self._values_below(storage_root, "storage"):
                    pass
            done += 1
            if done % ENTRIES_PER_TURN == 0:
                self._on_progress(min(done, self._total), self._total)

    async def _values_below(self, root: bytes, kind: str) -> AsyncIterator[tuple[bytes, bytes]]:
        """Each value, with the hash of the node it is in."""
        if root == EMPTY_TRIE_ROOT:
            return
        pending, seen = [root], 0
        while pending:
            node_hash = pending.pop()
            node = self._entry(node_hash, kind)
            if node is None:
                continue
            try:
                links = _links_of(node)
            except MalformedRlp as fault:
                self._problems.note_state(node_hash, "state", f"is not a node of the {kind} trie: {fault}")
                continue
            pending += links.children
            for value in links.values:
                yield node_hash, value
            seen += 1
            if seen % ENTRIES_PER_TURN == 0:
                await asyncio.sleep(0)

    def _entry(self, entry_hash: bytes, kind: str) -> bytes | None:
        entry = self._tables.get(Table.STATE, entry_hash)
        if entry is None:
            self._problems.note_state(entry_hash, "state", f"an entry of the pivot's state ({kind}) is missing")
        return entry

    def _is_new(self, root: bytes) -> bool:
        """Whether a storage root or code hash was not walked lately."""
        if root in self._known_roots:
            return False
        if len(self._known_roots) == KNOWN_ROOTS:
            self._known_roots.clear()
        self._known_roots.add(root)
        return True


def _links_of_account(account: bytes) -> tuple[bytes, bytes]:
    """(storage root, code hash). Raises MalformedRlp."""
    fields = split_list(account, most=4)
    if len(fields) != 4:
        raise MalformedRlp(f"{len(fields)} fields, must be 4")
    return string_payload(fields[2]), string_payload(fields[3])


def _links_of(node: bytes) -> _Links:
    """Where a node leads (Yellow Paper, appendix D). Raises MalformedRlp."""
    links = _Links([], [])
    _collect(node, links)
    return links


def _collect(node: bytes, links: _Links) -> None:
    items = split_list(node, most=_BRANCH_ITEMS)
    if len(items) == _BRANCH_ITEMS:
        for item in items[:-1]:
            if item[0] != _NOTHING:
                _follow(item, links)
        if items[-1][0] != _NOTHING:
            links.values.append(string_payload(items[-1]))
    elif len(items) == 2:
        path = string_payload(items[0])
        if path and path[0] >> 4 & _LEAF_FLAG:
            links.values.append(string_payload(items[1]))
        else:
            _follow(items[1], links)
    else:
        raise MalformedRlp(f"a trie node has {len(items)} items")


def _follow(item: bytes, links: _Links) -> None:
    """A reference is a hash, or a node under 32 bytes itself."""
    if item[0] == _HASH_PREFIX:
        links.children.append(item[1:])
    else:
        _collect(item, links)
