"""The incomplete part of a state: entries below a root that are missing, or that wait for what is below them.

An entry leaves once its whole subtree is complete, after all of the subtree, so whoever stores entries in the
order they leave can take "stored" for "complete below".
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Final

from services.shared.ethwire.hashing import EMPTY_TRIE_ROOT
from services.shared.ethwire.types import StateEntry
from services.sync_coordinator.core.state_trie import (
    KEY_NIBBLES,
    EntryKind,
    MalformedNode,
    Reference,
    looks_like_node,
    references,
)

REFERENCES_PER_STEP: Final = 1024
"""References looked up at once: with the reading of their nodes about 3 ms."""

NODES_PER_STEP: Final = 256
"""Nodes read at once; leaves have few references, and reading one takes about 5 µs."""

_SERIAL_BITS: Final = 48
"""Room for the running number of an entry below its depth in its order."""


class IncompleteEntry:
    """One entry and those that wait for it. `value` is None until it arrives."""

    __slots__ = ("depth", "hash", "kind", "order", "parents", "value", "waits_for")

    def __init__(self, reference: Reference, order: int) -> None:
        self.hash, self.kind, self.depth = reference
        self.order = order
        """What is asked for first: the lowest."""
        self.value: bytes | None = None
        self.waits_for = 0
        """References to entries that are not complete."""
        self.parents: list[IncompleteEntry] = []


class StateTree:
    """Everything below one root that is neither stored nor about to be, each hash once.

    Deepest first, because a subtree that is complete leaves memory: only the paths to what is missing stay.

    Code may have the very bytes of a node, and who writes contracts can choose it so. Once stored it would
    vouch for what that node refers to. So code that looks like a node waits until nothing else is missing;
    should the node be needed, it takes over the place of the code.
    """

    def __init__(
        self,
        root: bytes,
        *,
        has_state: Callable[[Sequence[bytes]], list[bool]],
        leaving: Container[bytes],
        on_complete: Callable[[StateEntry], None],
    ) -> None:
        """`leaving` has the hashes that were complete and are not stored yet."""
        self._has_state, self._leaving, self._on_complete = has_state, leaving, on_complete
        self._entries: dict[bytes, IncompleteEntry] = {}
        self._arrived: list[IncompleteEntry] = []
        self._node_like_code: dict[bytes, IncompleteEntry] = {}
        self._serial = 0
        self.missing = 0
        """Entries that are known to be needed and have not arrived."""
        self._new: list[IncompleteEntry] = []
        if root != EMPTY_TRIE_ROOT and root not in leaving and not has_state([root])[0]:
            self._add(Reference(root, EntryKind.ACCOUNT, 0))

    def __len__(self) -> int:
        """Entries held, arrived or not."""
        return len(self._entries)

    @property
    def has_work(self) -> bool:
        """Whether `step` has something to do."""
        return bool(self._arrived) or (bool(self._node_like_code) and not self.missing)

    def take_new(self) -> list[IncompleteEntry]:
        """The missing entries found since the last call."""
        new, self._new = self._new, []
        return new

    def arrive(self, entry: IncompleteEntry, value: bytes) -> None:
        """A missing entry is here; its hash was checked."""
        entry.value = value
        self.missing -= 1
        self._arrived.append(entry)

    def step(self) -> None:
        """Look below some of what has arrived, a few milliseconds' worth. Raises MalformedNode."""
        arrived = self._arrived
        if not arrived and not self.missing:
            self._release_code()
            return
        read: list[tuple[IncompleteEntry, list[Reference]]] = []
        count = 0
        while arrived and count < REFERENCES_PER_STEP and len(read) < NODES_PER_STEP:
            entry = arrived.pop()
            assert entry.value is not None, "it has arrived"
            if entry.kind is EntryKind.CODE and looks_like_node(entry.value):
                self._node_like_code[entry.hash] = entry
                continue
            below = references(entry.value, entry.kind, entry.depth)
            read.append((entry, below))
            count += len(below)
        stored = self._stored([reference.hash for _, below in read for reference in below])
        for entry, below in read:
            for reference in below:
                if reference.hash not in stored:
                    self._link(entry, reference)
            if not entry.waits_for:
                self._complete(entry)

    def _stored(self, hashes: list[bytes]) -> set[bytes]:
        unknown = [entry_hash for entry_hash in hashes if entry_hash not in self._entries]
        if not unknown:
            return set()
        return {
            entry_hash for entry_hash, is_stored in zip(unknown, self._has_state(unknown), strict=True) if is_stored
        }

    def _link(self, parent: IncompleteEntry, reference: Reference) -> None:
        child = self._entries.get(reference.hash)
        if child is None:
            if reference.hash in self._leaving:
                return
            child = self._add(reference)
        elif (child.kind, child.depth) != (reference.kind, reference.depth):
            self._reconcile(child, reference)
        child.parents.append(parent)
        parent.waits_for += 1

    def _add(self, reference: Reference) -> IncompleteEntry:
        """Storage and code count as lying below the accounts."""
        depth = reference.depth if reference.kind is EntryKind.ACCOUNT else KEY_NIBBLES + reference.depth
        if reference.kind is EntryKind.CODE:
            depth += KEY_NIBBLES
        self._serial += 1
        entry = IncompleteEntry(reference, -(depth << _SERIAL_BITS | self._serial))
        self._entries[reference.hash] = entry
        self._new.append(entry)
        self.missing += 1
        return entry

    def _reconcile(self, entry: IncompleteEntry, reference: Reference) -> None:
        """One entry, needed in two places as two things: where one is a node, that is what it must be complete as."""
        if reference.kind is EntryKind.CODE:
            return
        if entry.kind is not EntryKind.CODE:
            raise MalformedNode(f"0x{entry.hash.hex()} is a node at two depths or of two tries")
        entry.kind, entry.depth = reference.kind, reference.depth
        if self._node_like_code.pop(entry.hash, None) is not None:
            self._arrived.append(entry)

    def _complete(self, entry: IncompleteEntry) -> None:
        complete = [entry]
        while complete:
            done = complete.pop()
            assert done.value is not None, "it has arrived"
            del self._entries[done.hash]
            self._on_complete(StateEntry(done.value, done.hash))
            for parent in done.parents:
                parent.waits_for -= 1
                if not parent.waits_for:
                    complete.append(parent)

    def _release_code(self) -> None:
        held, self._node_like_code = self._node_like_code, {}
        for entry in held.values():
            self._complete(entry)
