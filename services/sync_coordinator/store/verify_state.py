"""Checks the state entries of a store: each by its hash, and that none is missing below the pivot's root.

Entries that the pivot's root does not reach are those of earlier pivots or of a download under way, so
they are checked by their hash alone. The walk keeps one branch per level of the trie in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from services.shared.ethwire.hashing import EMPTY_TRIE_ROOT, keccak256
from services.sync_coordinator.core.state_trie import EntryKind, MalformedNode, Reference, references
from services.sync_coordinator.store.problems import ProblemLog
from services.sync_coordinator.store.raw_tables import RawTables
from services.sync_coordinator.store.tables import Table

ENTRIES_PER_TURN: Final = 256
"""State entries checked before the event loop gets its turn: a few milliseconds."""

KNOWN_ROOTS: Final = 1 << 16
"""Storage roots and code hashes remembered as walked, about 6 MB: many accounts share them."""


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
        pending = [] if state_root == EMPTY_TRIE_ROOT else [Reference(state_root, EntryKind.ACCOUNT, 0)]
        done = 0
        while pending:
            wanted = pending.pop()
            entry = self._entry(wanted)
            if entry is None:
                continue
            try:
                below = references(entry, wanted.kind, wanted.depth)
            except MalformedNode as fault:
                self._problems.note_state(wanted.hash, "state", f"the entry is malformed: {fault}")
                continue
            pending += [each for each in below if each.depth or self._is_new(each.hash)]
            done += 1
            if done % ENTRIES_PER_TURN == 0:
                self._on_progress(min(done, self._total), self._total)
                await asyncio.sleep(0)

    def _entry(self, wanted: Reference) -> bytes | None:
        entry = self._tables.get(Table.STATE, wanted.hash)
        if entry is None:
            kind = wanted.kind.name.lower()
            self._problems.note_state(wanted.hash, "state", f"an entry of the pivot's state ({kind}) is missing")
        return entry

    def _is_new(self, root: bytes) -> bool:
        """Whether a storage root or code hash was not walked lately."""
        if root in self._known_roots:
            return False
        if len(self._known_roots) == KNOWN_ROOTS:
            self._known_roots.clear()
        self._known_roots.add(root)
        return True
