"""Valid messages made invalid, or differently valid: bytes, lengths and nesting changed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.rlp_slices import encode_length, item_span

MOST_BYTES: Final = 64 * 1024
"""Longest input made: size limits have tests of their own."""

INTERESTING: Final = (
    b"",
    b"\x80",
    b"\xc0",
    b"\x00",
    b"\x81\x00",
    b"\xa0",
    b"\xa0" + bytes(32),
    b"\xf8\x00",
    b"\xf8\x37",
    b"\xb8\x00",
    b"\xbf" + b"\xff" * 8,
    b"\xff" * 9,
    b"\xfb\xff\xff\xff\xff",
    b"\x88" + b"\xff" * 8,
    b"\x89\x01" + bytes(8),
    b"\xa1" + b"\xff" * 33,
    b"\xc1" * 40 + b"\xc0",
    b"\xc8\x80\x80\x80\x80\x80\x80\x80\x80",
    *(b"null", b"-1", b"1e999", b'"0x"', b"{}", b"[" * 9, b"%00", b"\xff\xfe", b"@", b"[::1]", b":99999"),
)
"""Bytes at the edges of what RLP, integers and texts may be."""

Tree = bytes | list["Tree"]


def parse(encoded: bytes, depth: int = 0) -> Tree:
    """The items of an RLP list as a tree; a part that is no RLP, or lies too deep, is left as bytes."""
    try:
        start, end, is_list = item_span(encoded, 0, len(encoded))
        if not is_list or end != len(encoded) or depth > 6:
            return encoded
        items: list[Tree] = []
        while start < end:
            _, item_end, _ = item_span(encoded, start, end)
            items.append(parse(encoded[start:item_end], depth + 1))
            start = item_end
    except MalformedRlp:
        return encoded
    return items


def render(tree: Tree) -> bytes:
    if isinstance(tree, bytes):
        return tree
    payload = b"".join(map(render, tree))
    return encode_length(len(payload), 0xC0) + payload


def mutate(sample: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """`sample` with one to four changes."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        change = rng.choice((_change_tree, _change_tree, *_BYTE_CHANGES))
        sample = change(sample, others, rng)[:MOST_BYTES]
    return sample


def _change_tree(sample: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    tree = parse(sample)
    lists = _lists(tree)
    if not lists:
        return _replace_part(sample, others, rng)
    chosen = rng.choice(lists)
    at = rng.randrange(len(chosen) + 1)
    match rng.randrange(7):
        case 0:
            chosen.insert(at, rng.choice(INTERESTING))
        case 1 if chosen:
            del chosen[at - 1]
        case 2 if chosen:
            chosen.extend([chosen[at - 1]] * rng.choice((1, 3, 200)))
        case 3 if chosen:
            chosen[at - 1] = [chosen[at - 1]]
        case 4 if chosen:
            chosen[at - 1] = rng.choice(INTERESTING)
        case 5 if chosen:
            inner = render(chosen[at - 1])
            chosen[at - 1] = _replace_part(inner, others, rng)
        case _:
            other = _lists(parse(rng.choice(others))) if others else []
            chosen.insert(at, rng.choice(other) if other else [])
    return render(tree)


def _lists(tree: Tree) -> list[list[Tree]]:
    if isinstance(tree, bytes):
        return []
    return [tree, *(inner for item in tree[:64] for inner in _lists(item))]


def _flip(sample: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    del others
    if not sample:
        return rng.randbytes(rng.randrange(1, 20))
    changed = bytearray(sample)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _set_byte(sample: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    del others
    at = rng.randrange(len(sample) + 1)
    return sample[:at] + rng.choice((b"\x00", b"\x7f", b"\x80", b"\xff", rng.randbytes(1))) + sample[at + 1 :]


def _cut(sample: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    del others
    start, end = sorted((rng.randrange(len(sample) + 1), rng.randrange(len(sample) + 1)))
    return rng.choice((sample[:end], sample[:start] + sample[end:], sample[start:]))


def _replace_part(sample: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    del others
    start = rng.randrange(len(sample) + 1)
    end = min(len(sample), start + rng.choice((0, 1, 2, 8, 32)))
    return sample[:start] + rng.choice((*INTERESTING, rng.randbytes(rng.randrange(40)))) + sample[end:]


def _splice(sample: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    other = rng.choice(others) if others else b""
    return sample[: rng.randrange(len(sample) + 1)] + other[rng.randrange(len(other) + 1) :]


_BYTE_CHANGES: Final[Sequence[Callable[[bytes, Sequence[bytes], random.Random], bytes]]] = (
    _flip,
    _set_byte,
    _cut,
    _replace_part,
    _splice,
)
