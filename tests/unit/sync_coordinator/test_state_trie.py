"""What state entries refer to, checked against tries that the `rlp` package encodes."""

from __future__ import annotations

import contextlib

import pytest
import rlp
from hypothesis import given
from hypothesis import strategies as st

from services.shared.ethwire.hashing import EMPTY_CODE_HASH, EMPTY_TRIE_ROOT, keccak256
from services.shared.ethwire.roots import trie_root
from services.sync_coordinator.core.state_trie import (
    MAX_STORAGE_VALUE_BYTES,
    EntryKind,
    MalformedNode,
    Reference,
    looks_like_node,
    references,
)
from tests.support.state_trie import Account, add_secure_trie, add_trie, made_state, seeded_state
from tests.support.vectors import from_hex, load_vectors

HASH = bytes(range(32))
LEAF_PATH = b"\x20" + bytes(32)
"""Of a leaf that is the root."""


def walk(entries, root, kind=EntryKind.ACCOUNT):
    """Everything below a root, found by following references alone."""
    found, todo = {}, [Reference(root, kind, 0)] if root != EMPTY_TRIE_ROOT else []
    while todo:
        reference = todo.pop()
        value = entries[reference.hash]
        found[reference.hash] = value
        todo += references(value, reference.kind, reference.depth)
    return found


def test_all_entries_of_a_state_are_found_from_its_root():
    state = seeded_state(5, 400)
    assert walk(state.entries, state.root) == state.entries


def test_account_refers_to_its_code_and_storage():
    state = made_state({b"a" * 20: Account(1, 2, {bytes(32): 7}, b"code")})
    storage_root = add_secure_trie({bytes(32): b"\x07"}, {})
    assert references(state.entries[state.root], EntryKind.ACCOUNT, 0) == [
        Reference(keccak256(b"code"), EntryKind.CODE, 0),
        Reference(storage_root, EntryKind.STORAGE, 0),
    ]


def test_account_without_code_and_storage_refers_to_nothing():
    state = made_state({b"a" * 20: Account(1, 2)})
    assert references(state.entries[state.root], EntryKind.ACCOUNT, 0) == []


def test_code_refers_to_nothing_whatever_it_is():
    assert references(b"\xff", EntryKind.CODE, 0) == []


def test_nodes_of_fewer_than_32_bytes_are_read_inside_their_parent():
    near = {bytes(31) + bytes([last]): b"\x01" for last in range(4)}
    far = {b"\xf0" + bytes(31): b"\x82" + b"\xff\xff"}
    entries: dict[bytes, bytes] = {}
    root = add_trie({**near, **far}, entries)
    assert any(b"\xc2\x20\x01" in value for value in entries.values()), "a leaf of three bytes"
    assert walk(entries, root, EntryKind.STORAGE) == entries


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=name)
        for file in ("trieanyorder_secureTrie", "trietest_secureTrie", "hex_encoded_securetrie_test")
        for name, case in load_vectors(f"ethwire/{file}.json").items()
    ],
)
def test_published_secure_tries_are_walked_to_every_leaf(case):
    items: dict[bytes, bytes] = {}
    pairs = case["in"].items() if isinstance(case["in"], dict) else case["in"]
    for key, value in pairs:
        if value is None:
            items.pop(_bytes(key), None)
        else:
            items[_bytes(key)] = _bytes(value)
    entries: dict[bytes, bytes] = {}
    root = add_secure_trie(items, entries)
    assert root == from_hex(case["root"])
    if all(len(value) <= MAX_STORAGE_VALUE_BYTES for value in items.values()):
        assert walk(entries, root, EntryKind.STORAGE) == entries


@given(
    st.dictionaries(st.binary(min_size=32, max_size=32), st.binary(min_size=1, max_size=33), min_size=1, max_size=40)
)
def test_any_trie_of_hashed_keys_is_walked_whole(items):
    entries: dict[bytes, bytes] = {}
    root = add_secure_trie(items, entries)
    assert root == trie_root({keccak256(key): value for key, value in items.items()})
    assert walk(entries, root, EntryKind.STORAGE) == entries


def account(storage_root: bytes = EMPTY_TRIE_ROOT, code_hash: bytes = EMPTY_CODE_HASH) -> bytes:
    encoded: bytes = rlp.encode([b"", b"", storage_root, code_hash])
    return encoded


@pytest.mark.parametrize(
    ("value", "kind", "depth", "problem"),
    [
        (b"", EntryKind.ACCOUNT, 0, "an item is missing"),
        (b"\x80", EntryKind.STORAGE, 0, "a list is expected"),
        (rlp.encode([LEAF_PATH, b"v"]) + b"\x00", EntryKind.STORAGE, 0, "bytes follow"),
        (rlp.encode([LEAF_PATH, b"v"]), EntryKind.STORAGE, 1, "a leaf lies 65 nibbles deep"),
        (rlp.encode([b"\x20" + bytes(31), b"v"]), EntryKind.STORAGE, 0, "a leaf lies 62 nibbles deep"),
        (rlp.encode([LEAF_PATH, bytes(34)]), EntryKind.STORAGE, 0, "has 34 bytes"),
        (rlp.encode([LEAF_PATH, [b"v"]]), EntryKind.STORAGE, 0, "is a list"),
        (rlp.encode([LEAF_PATH, b"v"]), EntryKind.ACCOUNT, 0, "a list is expected"),
        (rlp.encode([LEAF_PATH, rlp.encode([b"", b"", HASH])]), EntryKind.ACCOUNT, 0, "not a nonce"),
        (rlp.encode([LEAF_PATH, account(storage_root=b"short")]), EntryKind.ACCOUNT, 0, "no hash"),
        (rlp.encode([LEAF_PATH, account(code_hash=b"")]), EntryKind.ACCOUNT, 0, "no hash"),
        (rlp.encode([b"\x40" + bytes(32), b"v"]), EntryKind.STORAGE, 0, "a path begins with 0x40"),
        (rlp.encode([b"\x2f" + bytes(32), b"v"]), EntryKind.STORAGE, 0, "a path begins with 0x2f"),
        (rlp.encode([b"", b"v"]), EntryKind.STORAGE, 0, "has no path"),
        (rlp.encode([b"\x00", HASH]), EntryKind.STORAGE, 0, "without a path"),
        (rlp.encode([b"\x11", b""]), EntryKind.STORAGE, 0, "leads to nothing"),
        (rlp.encode([b"\x11", bytes(31)]), EntryKind.STORAGE, 0, "named by 31 bytes"),
        (rlp.encode([b"\x11", [HASH]]), EntryKind.STORAGE, 0, "stands inside another"),
        (rlp.encode([HASH] * 16), EntryKind.STORAGE, 0, "empty value"),
        (rlp.encode([HASH] * 17), EntryKind.STORAGE, 0, "empty value"),
        (rlp.encode([*[HASH] * 16, b"v"]), EntryKind.STORAGE, 0, "empty value"),
        (rlp.encode([*[HASH] * 16, b"", b""]), EntryKind.STORAGE, 0, "empty value"),
        (rlp.encode([*[HASH] * 16, b""]), EntryKind.STORAGE, 64, "deeper than any key"),
        (rlp.encode([HASH[:5]] * 3), EntryKind.STORAGE, 0, "named by 5 bytes"),
    ],
)
def test_entry_that_is_no_node_of_a_secure_trie_is_malformed(value, kind, depth, problem):
    with pytest.raises(MalformedNode, match=problem):
        references(value, kind, depth)


@given(st.binary(max_size=200), st.sampled_from(EntryKind), st.integers(0, 64))
def test_any_bytes_are_read_or_malformed(value, kind, depth):
    looks_like_node(value)
    with contextlib.suppress(MalformedNode):
        references(value, kind, depth)


def test_code_looks_like_a_node_only_when_it_is_a_list_of_as_many_items():
    assert looks_like_node(rlp.encode([LEAF_PATH, account()]))
    assert looks_like_node(rlp.encode([HASH] * 17))
    assert not looks_like_node(bytes.fromhex("6080604052"))
    assert not looks_like_node(b"")
    assert not looks_like_node(rlp.encode([HASH] * 3))
    assert not looks_like_node(rlp.encode([HASH] * 18))
    assert not looks_like_node(rlp.encode([HASH] * 17) + b"\x00")


def _bytes(text: str) -> bytes:
    return from_hex(text) if text.startswith("0x") else text.encode()
