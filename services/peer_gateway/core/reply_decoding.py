"""What a peer's reply is turned into before it leaves the gateway: exact items, and a digest for each.

Hashing is most of the work of a gateway, so it is done in slices: whoever hashes lets others run between
two of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from services.shared.ethwire.bodies import body_roots_steps, receipts_root_steps
from services.shared.ethwire.messages import BlockBodies, BlockHeaders, NodeData, Receipts
from services.shared.ethwire.roots import NODE_COST, Steps, WorkMeter, keccak_steps

PART_BYTES: Final = 4 * 1024 * 1024
"""An asked reply larger than this crosses the link in numbered parts."""

UNASKED_BYTES: Final = PART_BYTES
"""A larger message that nobody asked for does not cross: no client makes one, and it would fill the link."""

Reply = BlockHeaders | BlockBodies | Receipts | NodeData
"""The messages that answer a question of ours."""


class ReplyPart(NamedTuple):
    """Some items of a reply, in order, and their digests joined."""

    items: Sequence[bytes]
    digests: bytes


def digest_slices(reply: Reply) -> Iterator[bytes]:
    """The digests of a reply's items, joined, one slice of work per step; a slice within a huge item is empty.

    A header and a state value have their hash (32 bytes), a body its transactions root and uncles hash
    (64), a receipt list its root (32). Raises MalformedRlp for an item of a wrong shape.
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


_DIGEST_STEPS: Final[Mapping[type[Reply], Callable[[bytes, WorkMeter], Steps[bytes]]]] = {
    BlockHeaders: keccak_steps,
    BlockBodies: _body_digest_steps,
    Receipts: receipts_root_steps,
    NodeData: keccak_steps,
}
