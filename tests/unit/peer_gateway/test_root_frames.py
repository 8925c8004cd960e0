"""What crosses between a gateway and its root workers."""

from __future__ import annotations

import pytest

from services.peer_gateway.core.root_frames import (
    PREFIX_BYTES,
    READY_FRAME,
    Prefix,
    decode_answer,
    decode_prefix,
    decode_request,
    encode_answer,
    encode_fault,
    encode_request,
)
from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.messages import BlockBodies, Receipts
from tests.support.chain_maker import made_chain

BODIES = [body.body_rlp for body in made_chain(20).bodies]


def read(frame: bytes) -> tuple[Prefix, bytes]:
    prefix, payload = decode_prefix(frame[:PREFIX_BYTES]), frame[PREFIX_BYTES:]
    assert prefix.payload_bytes == len(payload)
    return prefix, payload


@pytest.mark.parametrize("reply", [BlockBodies(BODIES), BlockBodies([]), Receipts([b"\xc0", b"\xc1\xc0"])], ids=str)
def test_request_is_read_as_it_was_written(reply):
    prefix, payload = read(encode_request(reply))
    decoded = decode_request(prefix.code, payload)
    assert decoded == reply
    assert type(decoded) is type(reply)


def test_answer_is_read_as_it_was_written():
    prefix, payload = read(encode_answer(b"d" * 128))
    assert decode_answer(prefix.code, payload) == b"d" * 128


def test_fault_is_raised_with_its_text():
    prefix, payload = read(encode_fault(MalformedRlp("1 bytes follow the list")))
    with pytest.raises(MalformedRlp, match="1 bytes follow the list"):
        decode_answer(prefix.code, payload)


def test_frame_of_a_worker_that_is_up_is_an_empty_answer():
    prefix, payload = read(READY_FRAME)
    assert decode_answer(prefix.code, payload) == b""
