"""The reader of state entries: nodes of the account trie and of storage tries, and code."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from services.sync_coordinator.core.state_trie import (
    KEY_NIBBLES,
    EntryKind,
    MalformedNode,
    Reference,
    looks_like_node,
    references,
)
from tests.fuzz.target import Target
from tests.support.state_trie import seeded_state


def state_targets() -> Iterator[Target]:
    state = seeded_state(1, 40)
    samples: dict[EntryKind, list[bytes]] = {kind: [] for kind in EntryKind}
    todo = [Reference(state.root, EntryKind.ACCOUNT, 0)]
    while todo:
        entry_hash, kind, depth = todo.pop()
        value = state.entries[entry_hash]
        samples[kind].append(bytes((depth,)) + value)
        todo += references(value, kind, depth)
    for kind in EntryKind:
        yield Target(f"state-{kind.name.lower()}", partial(_entry, kind), (MalformedNode,), samples[kind][:80])


def _entry(kind: EntryKind, value: bytes) -> None:
    """The first byte says how deep the entry lies."""
    looks_like_node(value)
    depth = value[0] % (KEY_NIBBLES + 1) if value else 0
    for below in references(value[1:], kind, depth):
        assert len(below.hash) == 32
        assert 0 <= below.depth <= KEY_NIBBLES
