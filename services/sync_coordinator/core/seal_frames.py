"""The bytes between the coordinator and its seal workers: requests with headers, replies in any order."""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from services.shared.ethwire.headers import decode_header
from services.shared.ethwire.types import BlockHash, Header
from services.sync_coordinator.core.clique_shape import SIGNER_BYTES

_LENGTH: Final = struct.Struct(">I")
_HEADER_LENGTH: Final = struct.Struct(">H")
_REQUEST: Final = struct.Struct(">IB")
_REPLY: Final = struct.Struct(">II")
_VERDICT: Final = struct.Struct(">i")

LENGTH_BYTES: Final = _LENGTH.size
REPLY_HEAD_BYTES: Final = _REPLY.size

EXIT_UNFIT: Final = 3
"""Exit status of a worker whose ethash library cannot check seals of its epoch."""


class SealQuestion(enum.IntEnum):
    """What a worker is asked about headers."""

    FIRST_BAD = 0
    """The first of the worker's ethash epoch whose seal is wrong."""
    SIGNERS = 1
    """Who sealed each, on a clique network."""


class SealReplyHead(NamedTuple):
    request_id: int
    answer_bytes: int


def encode_request(request_id: int, question: SealQuestion, headers: Sequence[Header]) -> bytes:
    """A whole frame: the payload's length, the request's id, the question, and each header's RLP with its length."""
    parts = [_REQUEST.pack(request_id, question)]
    for header in headers:
        parts += (_HEADER_LENGTH.pack(len(header.header_rlp)), header.header_rlp)
    payload = b"".join(parts)
    return _LENGTH.pack(len(payload)) + payload


def payload_length(prefix: bytes) -> int:
    """How many bytes follow the first LENGTH_BYTES of a request."""
    length: int = _LENGTH.unpack(prefix)[0]
    return length


def decode_request(payload: bytes) -> tuple[int, SealQuestion, list[Header]]:
    """The id, the question and the headers, without their hashes: a seal does not need them."""
    request_id, question = _REQUEST.unpack_from(payload)
    headers = []
    offset = _REQUEST.size
    while offset < len(payload):
        start = offset + _HEADER_LENGTH.size
        offset = start + _HEADER_LENGTH.unpack_from(payload, offset)[0]
        headers.append(decode_header(payload[start:offset], BlockHash(b"")))
    return request_id, SealQuestion(question), headers


def encode_reply(request_id: int, answer: bytes) -> bytes:
    """A whole frame: the request's id, the answer's length, the answer."""
    return _REPLY.pack(request_id, len(answer)) + answer


def decode_reply_head(head: bytes) -> SealReplyHead:
    """From the first REPLY_HEAD_BYTES of a reply; the answer follows."""
    return SealReplyHead(*_REPLY.unpack(head))


def encode_first_bad(index: int) -> bytes:
    """The index of the first header with a wrong seal, or -1."""
    return _VERDICT.pack(index)


def decode_first_bad(answer: bytes) -> int:
    index: int = _VERDICT.unpack(answer)[0]
    return index


def encode_signers(signers: Sequence[bytes]) -> bytes:
    return b"".join(signers)


def decode_signers(answer: bytes) -> list[bytes]:
    """One address for each header of the request."""
    return [answer[start : start + SIGNER_BYTES] for start in range(0, len(answer), SIGNER_BYTES)]
