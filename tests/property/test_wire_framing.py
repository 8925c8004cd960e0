from __future__ import annotations

import sha3
from hypothesis import given, settings
from hypothesis import strategies as st

from services.peer_gateway.core.devp2p import (
    MAX_BASE_MESSAGE_BYTES,
    Capability,
    Hello,
    decode_disconnect,
    decode_hello,
    encode_hello,
)
from services.peer_gateway.core.framing import Frame, FrameReader, FrameWriter, Secrets
from services.peer_gateway.core.snappy_codec import deflate, inflate
from services.shared.ethwire.faults import PeerFault
from tests.support.wire import random_cut

FRAMES = st.lists(st.builds(Frame, st.integers(0, 2**64 - 1), st.binary(max_size=300)), max_size=8)
NAMES = st.text(max_size=20)
UINT64 = st.integers(0, 2**64 - 1)
HELLOS = st.builds(
    lambda version, name, capabilities, port, node_id: Hello(version, name, tuple(sorted(capabilities)), port, node_id),
    UINT64,
    NAMES,
    st.sets(st.builds(Capability, NAMES, UINT64), max_size=5),
    UINT64,
    st.binary(max_size=70),
)


def secrets() -> Secrets:
    return Secrets(b"\x11" * 32, b"\x22" * 32, sha3.keccak_256(b"mac"), sha3.keccak_256(b"mac"))


@given(FRAMES, st.integers(), st.integers(1, 200))
def test_frames_survive_any_split(frames, seed, most):
    writer, reader = FrameWriter(secrets()), FrameReader(secrets())
    received = []
    for piece in random_cut(seed, most)(b"".join(writer.encode(*frame) for frame in frames)):
        reader.feed(piece)
        while (frame := reader.next_frame()) is not None:
            received.append(frame)
    assert received == frames


@given(FRAMES.filter(bool), st.data())
def test_a_changed_byte_never_passes(frames, choose):
    writer, reader = FrameWriter(secrets()), FrameReader(secrets())
    sent = bytearray(b"".join(writer.encode(*frame) for frame in frames))
    sent[choose.draw(st.integers(0, len(sent) - 1))] ^= choose.draw(st.integers(1, 255))
    reader.feed(bytes(sent))
    received = []
    try:
        while (frame := reader.next_frame()) is not None:
            received.append(frame)
    except PeerFault:
        assert received == frames[: len(received)]
        return
    raise AssertionError("a changed frame was accepted")


@settings(max_examples=40)
@given(HELLOS)
def test_a_hello_comes_back(hello):
    assert decode_hello(encode_hello(hello)) == hello


@given(st.binary(max_size=MAX_BASE_MESSAGE_BYTES))
def test_any_bytes_are_a_hello_or_a_documented_fault(payload):
    for decode in (decode_hello, decode_disconnect):
        try:
            decode(payload)
        except PeerFault:
            continue


@given(st.binary(max_size=2000))
def test_a_compressed_payload_comes_back(payload):
    assert inflate(deflate(payload)) == payload


@given(st.binary(max_size=200))
def test_any_bytes_inflate_or_are_a_documented_fault(compressed):
    try:
        assert len(inflate(compressed, 10_000)) <= 10_000
    except PeerFault:
        return
