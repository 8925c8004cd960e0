"""What a peer's reply is turned into before it leaves the gateway: exact items, and a digest for each.

Hashing is most of the work of a gateway, so it is done in slices: whoever hashes lets others run between
two of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from services.shared.ethwire.bodies import BLOOM_BYTES, GAS_BYTES, body_roots_steps, receipt_totals_steps
from services.shared.ethwire.messages import BlockBodies, BlockHeaders, NodeData, Receipts
from services.shared.ethwire.roots import NODE_COST, Steps, WorkMeter, keccak_steps

PART_BYTES: Final = 4 * 1024 * 1024
"""An asked reply larger than this crosses the link in numbered parts."""

UNASKED_BYTES: Final = PART_BYTES
"""A larger message that nobody asked for does not cross: no client makes one, and it would fill the link."""

RECEIPTS_DIGEST_BYTES: Final = 32 + GAS_BYTES + BLOOM_BYTES

Reply = BlockHeaders | BlockBodies | Receipts | NodeData
"""The messages that answer a question of ours."""


class ReplyPart(NamedTuple):
    """Some items of a reply, in order, and their digests joined."""

    items: Sequence[bytes]
    digests: bytes


def digest_slices(reply: Reply) -> Iterator[bytes]:
    """The digests of a reply's items, joined, one slice of work per step; a slice within a huge item is empty.

    A header and a state value have their hash (32 bytes), a body its transactions root and uncles hash
    (64), a receipt list its root, gas used and bloom (296). Raises MalformedRlp for an item of a wrong shape.
    """
    digest_steps, meter = _DIGEST_STEPS[type(reply)], WorkMeter()
    done: list[bytes] = []
    for item in reply[0]:
        if meter.is_due(NODE_COST):
            yield b"".join(done)
            done.clear()
        steps = digest_steps(item, meter)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                done.append(end.value)
                break
            yield b"".join(done)
            done.clear()
    yield b"".join(done)


class ReceiptDigests(NamedTuple):
    """The digests of receipt lists, one list of each kind."""

    roots: bytes
    """32 bytes each, joined."""
    gas_used: Sequence[int]
    blooms: bytes
    """256 bytes each, joined."""


def split_receipt_digests(digests: bytes) -> ReceiptDigests:
    """The digests of receipt lists, which `digest_slices` joined, apart."""
    starts = range(0, len(digests), RECEIPTS_DIGEST_BYTES)
    gas_at = [start + 32 for start in starts]
    return ReceiptDigests(
        b"".join([digests[start : start + 32] for start in starts]),
        [int.from_bytes(digests[at : at + GAS_BYTES]) for at in gas_at],
        b"".join([digests[start + 32 + GAS_BYTES : start + RECEIPTS_DIGEST_BYTES] for start in starts]),
    )


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


def _body_digest_steps(body_rlp: bytes, meter: WorkMeter) -> Steps[bytes]:
    body = yield from body_roots_steps(body_rlp, meter)
    return body.transactions_root + body.uncles_hash


def _receipts_digest_steps(receipts_rlp: bytes, meter: WorkMeter) -> Steps[bytes]:
    root, bloom, gas_used = yield from receipt_totals_steps(receipts_rlp, meter)
    return root + gas_used.to_bytes(GAS_BYTES) + bloom


_DIGEST_STEPS: Final[Mapping[type[Reply], Callable[[bytes, WorkMeter], Steps[bytes]]]] = {
    BlockHeaders: keccak_steps,
    BlockBodies: _body_digest_steps,
    Receipts: _receipts_digest_steps,
    NodeData: keccak_steps,
}
