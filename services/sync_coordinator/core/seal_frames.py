"""The bytes between the coordinator and its seal workers: one request with headers, one reply with a verdict."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from services.shared.ethwire.headers import decode_header
from services.shared.ethwire.types import BlockHash, Header

_LENGTH: Final = struct.Struct(">I")
_HEADER_LENGTH: Final = struct.Struct(">H")
_REPLY: Final = struct.Struct(">Ii")

LENGTH_BYTES: Final = _LENGTH.size
REPLY_BYTES: Final = _REPLY.size


class SealReply(NamedTuple):
    request_id: int
    first_bad: int
    """Index of the first header with a wrong seal, or -1."""


def encode_request(request_id: int, headers: Sequence[Header]) -> bytes:
    """A whole frame: the payload's length, the request's id, and each header's RLP with its length."""
    parts = [_LENGTH.pack(request_id)]
    for header in headers:
        parts += (_HEADER_LENGTH.pack(len(header.header_rlp)), header.header_rlp)
    payload = b"".join(parts)
    return _LENGTH.pack(len(payload)) + payload


def payload_length(prefix: bytes) -> int:
    """How many bytes follow the first LENGTH_BYTES of a request."""
    length: int = _LENGTH.unpack(prefix)[0]
    return length


def decode_request(payload: bytes) -> tuple[int, list[Header]]:
    """The id and the headers, without their hashes: a seal does not need them."""
    request_id: int = _LENGTH.unpack_from(payload)[0]
    headers = []
    offset = LENGTH_BYTES
    while offset < len(payload):
        start = offset + _HEADER_LENGTH.size
        offset = start + _HEADER_LENGTH.unpack_from(payload, offset)[0]
        headers.append(decode_header(payload[start:offset], BlockHash(b"")))
    return request_id, headers


def encode_reply(reply: SealReply) -> bytes:
    return _REPLY.pack(*reply)


def decode_reply(frame: bytes) -> SealReply:
    return SealReply(*_REPLY.unpack(frame))
