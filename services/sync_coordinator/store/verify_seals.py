"""Checks the stored seal states of a clique chain against what the headers give."""

from __future__ import annotations

from collections.abc import Iterable

from services.sync_coordinator.core.clique_codec import decode_snapshot
from services.sync_coordinator.core.clique_snapshot import STORE_INTERVAL
from services.sync_coordinator.core.fork_choice import SealState
from services.sync_coordinator.store.problems import ProblemLog
from services.sync_coordinator.store.raw_tables import RawTables
from services.sync_coordinator.store.tables import Table, block_key


class SealStatesCheck:
    """One that is missing is computed when it is needed; one that is there must be right, and in its place."""

    def __init__(self, tables: RawTables, problems: ProblemLog, *, is_clique: bool) -> None:
        self._tables, self._problems, self._is_clique = tables, problems, is_clique
        self._pending: set[bytes] = set()
        self._bad: set[bytes] = set()
        self._has_compared = False
        self.unjudged = 0
        """Whether they are right could not be told, for the seals were not checked."""

    def see(self, key: bytes) -> bool:
        """Whether there is a seal state under this header's key."""
        value = self._tables.get(Table.SEAL_STATES, key)
        if value is None:
            return False
        number = int.from_bytes(key[:8])
        if not self._is_clique or number == 0 or number % STORE_INTERVAL:
            self._problems.note(key, "seal-state", "this block has none")
            return True
        try:
            state = decode_snapshot(value)
        except ValueError as fault:
            self._note_bad(key, str(fault))
            return True
        if block_key(state.number, state.block_hash) != key:
            self._note_bad(key, "is that of another block")
            return True
        self._pending.add(key)
        return True

    def compare(self, states: Iterable[SealState]) -> None:
        """What the seal check would store for the headers just checked."""
        for number, block_hash, value in states:
            key = block_key(number, block_hash)
            self._pending.discard(key)
            self._has_compared = True
            if key not in self._bad and self._tables.get(Table.SEAL_STATES, key) not in (None, value):
                self._problems.note(key, "seal-state", "is not what the headers give")

    def end(self, *, were_judged: bool) -> None:
        """After the last header; `were_judged`: the seal check got to the end of the chain."""
        if self._has_compared and were_judged:
            for key in sorted(self._pending):
                self._problems.note(key, "seal-state", "no seal check gives one here")
        else:
            self.unjudged = len(self._pending)

    def _note_bad(self, key: bytes, detail: str) -> None:
        self._bad.add(key)
        self._problems.note(key, "seal-state", detail)
