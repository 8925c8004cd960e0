"""What a state entry refers to: the entries below a node of a secure trie (Yellow Paper, appendix D and section 4.1).

The account trie and every storage trie have keys of 32 hashed bytes, so all leaves lie 64 nibbles deep, and a
branch has no value of its own. A node of fewer than 32 bytes stands inside its parent instead of its hash.
Storage values are words, far shorter than any account, so no node can belong to both kinds of trie.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.hashing import EMPTY_CODE_HASH, EMPTY_TRIE_ROOT
from services.shared.ethwire.rlp_slices import item_span, list_span, split_list, string_payload, whole_list

KEY_NIBBLES: Final = 64
"""Depth of every leaf of a secure trie."""

MAX_STORAGE_VALUE_BYTES: Final = 33
"""A storage value is the RLP of a word of 32 bytes without leading zeros."""

HASH_BYTES: Final = 32
_HASH_PREFIX: Final = 0x80 + HASH_BYTES
_EMPTY: Final = 0x80
_BRANCH_CHILDREN: Final = 16


class EntryKind(enum.Enum):
    """What a state entry is; its bytes alone do not always tell."""

    ACCOUNT = "node of the account trie"
    STORAGE = "node of a storage trie"
    CODE = "code"


class Reference(NamedTuple):
    """An entry that a node refers to, `depth` nibbles below the root of its own trie."""

    hash: bytes
    kind: EntryKind
    depth: int


class MalformedNode(Exception):
    """An entry that is no node of a secure trie. Its hash is right, so the chain is invalid, not the peer's reply."""


def references(value: bytes, kind: EntryKind, depth: int) -> list[Reference]:
    """Everything an entry refers to by hash, the empty trie and the empty code left out.

    `depth` is how many nibbles lead to the node. Raises MalformedNode.
    """
    if kind is EntryKind.CODE:
        return []
    found: list[Reference] = []
    try:
        whole_list(value)
        _read_node(value, 0, kind, depth, found)
    except MalformedRlp as problem:
        raise MalformedNode(f"a {kind.value}, {depth} nibbles deep: {problem}") from problem
    return found


def looks_like_node(code: bytes) -> bool:
    """Whether code is a list of as many items as a node has; contracts are not, unless someone means them to be."""
    if not code or code[0] < 0xC0:
        return False
    try:
        return len(split_list(code, most=_BRANCH_CHILDREN + 1)) in (2, _BRANCH_CHILDREN + 1)
    except MalformedRlp:
        return False


def _read_node(buffer: bytes, offset: int, kind: EntryKind, depth: int, found: list[Reference]) -> None:
    start, end = list_span(buffer, offset, len(buffer))
    _, first_end, _ = item_span(buffer, start, end)
    _, second_end, _ = item_span(buffer, first_end, end)
    if second_end != end:
        _read_branch(buffer, start, end, kind, depth, found)
        return
    nibbles, is_leaf = _read_path(buffer, start, end)
    depth += nibbles
    if is_leaf:
        if depth != KEY_NIBBLES:
            raise MalformedRlp(f"a leaf lies {depth} nibbles deep")
        start, end, is_list = item_span(buffer, first_end, end)
        if is_list:
            raise MalformedRlp("the value of a leaf is a list")
        _read_value(buffer[start:end], kind, found)
        return
    if not nibbles:
        raise MalformedRlp("an extension without a path")
    if _read_child(buffer, first_end, end, kind, depth, found) != end or buffer[first_end] == _EMPTY:
        raise MalformedRlp("an extension leads to nothing")


def _read_branch(buffer: bytes, at: int, end: int, kind: EntryKind, depth: int, found: list[Reference]) -> None:
    below = depth + 1
    if below > KEY_NIBBLES:
        raise MalformedRlp("a branch lies deeper than any key")
    for _ in range(_BRANCH_CHILDREN):
        if at >= end:
            raise MalformedRlp("a branch has fewer than 16 children")
        prefix = buffer[at]
        if prefix == _HASH_PREFIX and at + HASH_BYTES < end:
            found.append(Reference(buffer[at + 1 : at + 1 + HASH_BYTES], kind, below))
            at += 1 + HASH_BYTES
        elif prefix == _EMPTY:
            at += 1
        else:
            at = _read_child(buffer, at, end, kind, below, found)
    if end - at != 1 or buffer[at] != _EMPTY:
        raise MalformedRlp("a branch has a value")


def _read_child(buffer: bytes, at: int, limit: int, kind: EntryKind, depth: int, found: list[Reference]) -> int:
    """Read what stands for a child, a hash or the node itself; returns where it ends."""
    start, end, is_list = item_span(buffer, at, limit)
    if is_list:
        if end - at >= HASH_BYTES:
            raise MalformedRlp(f"a node of {end - at} bytes stands inside another")
        _read_node(buffer[at:end], 0, kind, depth, found)
    elif end - start == HASH_BYTES:
        found.append(Reference(buffer[start:end], kind, depth))
    elif end != start:
        raise MalformedRlp(f"a child is named by {end - start} bytes")
    return end


def _read_path(buffer: bytes, at: int, limit: int) -> tuple[int, bool]:
    """A hex-prefix path (appendix C): how many nibbles it has, and whether it ends in a leaf."""
    start, end, is_list = item_span(buffer, at, limit)
    if is_list or start == end:
        raise MalformedRlp("a node of two items has no path")
    flags, nibble = buffer[start] >> 4, buffer[start] & 0x0F
    is_odd = flags & 1
    if flags > 3 or (nibble and not is_odd):
        raise MalformedRlp(f"a path begins with 0x{buffer[start]:02x}")
    return 2 * (end - start - 1) + is_odd, flags >= 2


def _read_value(value: bytes, kind: EntryKind, found: list[Reference]) -> None:
    if kind is EntryKind.STORAGE:
        if len(value) > MAX_STORAGE_VALUE_BYTES:
            raise MalformedRlp(f"a storage value has {len(value)} bytes")
        return
    fields = split_list(value, most=4)
    if len(fields) != 4:
        raise MalformedRlp("an account is not a nonce, a balance, a storage root and a code hash")
    storage_root, code_hash = string_payload(fields[2]), string_payload(fields[3])
    if len(storage_root) != HASH_BYTES or len(code_hash) != HASH_BYTES:
        raise MalformedRlp("an account names its storage or code by something that is no hash")
    if code_hash != EMPTY_CODE_HASH:
        found.append(Reference(code_hash, EntryKind.CODE, 0))
    if storage_root != EMPTY_TRIE_ROOT:
        found.append(Reference(storage_root, EntryKind.STORAGE, 0))
