"""The bytes between a gateway and its root workers: a whole reply of a peer there, its digests or a fault back.

Requests are answered in order. The items of a reply are RLP lists, which know their ends, so they cross
joined, and nothing is built per item or transaction.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.messages import BlockBodies, MessageCode, Receipts
from services.shared.ethwire.rlp_slices import split_items

RootedReply = BlockBodies | Receipts
"""The replies whose digests are roots, and worth another process."""

_PREFIX: Final = struct.Struct(">IB")

PREFIX_BYTES: Final = _PREFIX.size
"""The payload's size and a byte: the kind of a request, or whether an answer is a fault."""

_DIGESTS: Final = 0
_FAULT: Final = 1

READY_FRAME: Final = _PREFIX.pack(0, _DIGESTS)
"""What a worker says once, before its first answer: it is up."""


class Prefix(NamedTuple):
    """What stands before a payload."""

    payload_bytes: int
    code: int


def decode_prefix(prefix: bytes) -> Prefix:
    """Read the first PREFIX_BYTES of a frame."""
    return Prefix(*_PREFIX.unpack(prefix))


def encode_request(reply: RootedReply) -> bytes:
    """A whole frame."""
    items: Sequence[bytes] = reply[0]
    code = MessageCode.BLOCK_BODIES if isinstance(reply, BlockBodies) else MessageCode.RECEIPTS
    return b"".join((_PREFIX.pack(sum(map(len, items)), code), *items))


def decode_request(code: int, payload: bytes) -> RootedReply:
    """The reply again, of a frame with this code and payload."""
    items = split_items(payload, 0, len(payload))
    return BlockBodies(items) if code == MessageCode.BLOCK_BODIES else Receipts(items)


def encode_answer(digests: bytes) -> bytes:
    """A whole frame."""
    return _PREFIX.pack(len(digests), _DIGESTS) + digests


def encode_fault(fault: MalformedRlp) -> bytes:
    """A whole frame, for a reply with an item of a wrong shape."""
    text = str(fault).encode()
    return _PREFIX.pack(len(text), _FAULT) + text


def decode_answer(code: int, payload: bytes) -> bytes:
    """The digests. Raises MalformedRlp where the worker found a fault."""
    if code == _FAULT:
        raise MalformedRlp(payload.decode())
    return payload
