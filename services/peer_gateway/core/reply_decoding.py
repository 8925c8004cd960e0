"""What a peer's reply is turned into before it leaves the gateway: exact items, and a digest for each.

Hashing is most of the work of a gateway, so it is done in slices: the edge lets other peers run
between two of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from services.shared.ethwire.bodies import body_roots, receipts_root
from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.messages import BlockBodies, BlockHeaders, NodeData, Receipts

SLICE_COST: Final = 64 * 1024
"""Bytes hashed before others may run: 2 ms of transactions at the 30 MB/s of roots on a slow core."""

ITEM_COST: Final = 256
"""What an item costs beside its bytes, in the same unit: a reply of thousands of empty bodies is sliced too."""

PART_BYTES: Final = 4 * 1024 * 1024
"""An asked reply larger than this crosses the link in numbered parts (DESIGN decision 4)."""

Reply = BlockHeaders | BlockBodies | Receipts | NodeData
"""The messages that answer a question of ours."""


class ReplyPart(NamedTuple):
    """Some items of a reply, in order, and their digests joined."""

    items: Sequence[bytes]
    digests: bytes


def digest_slices(reply: Reply) -> Iterator[bytes]:
    """The digests of the reply's items, joined, one slice of work per step.

    A header and a state value have their hash (32 bytes), a body its transactions root and uncles hash
    (64), a receipt list its root (32). Raises MalformedRlp for an item of a wrong shape.
    """
    digest = _DIGESTS[type(reply)]
    done: list[bytes] = []
    cost = 0
    for item in reply[0]:
        if cost >= SLICE_COST:
            yield b"".join(done)
            done.clear()
            cost = 0
        done.append(digest(item))
        cost += len(item) + ITEM_COST
    yield b"".join(done)


def cut_parts(items: Sequence[bytes], digests: bytes, limit_bytes: int = PART_BYTES) -> list[ReplyPart]:
    """The reply in parts of at most `limit_bytes`, at least one; a larger item is a part alone."""
    if not items:
        return [ReplyPart(items, digests)]
    width = len(digests) // len(items)
    parts: list[ReplyPart] = []
    start = size = 0
    for index, item in enumerate(items):
        if size + len(item) > limit_bytes and index > start:
            parts.append(ReplyPart(items[start:index], digests[start * width : index * width]))
            start, size = index, 0
        size += len(item)
    parts.append(ReplyPart(items[start:], digests[start * width :]))
    return parts


def body_digest(body_rlp: bytes) -> bytes:
    """Transactions root and uncles hash of a body, joined."""
    body = body_roots(body_rlp)
    return body.transactions_root + body.uncles_hash


_DIGESTS: Final[Mapping[type[Reply], Callable[[bytes], bytes]]] = {
    BlockHeaders: keccak256,
    BlockBodies: body_digest,
    Receipts: receipts_root,
    NodeData: keccak256,
}
