from __future__ import annotations

import random

import pytest
import sha3

from services.peer_gateway.core.framing import (
    MAX_FRAME_BYTES,
    Frame,
    FrameLimit,
    FrameReader,
    FrameTooLarge,
    FrameWriter,
    Secrets,
    UnreadableCode,
    WrongMac,
)
from services.shared.ethwire.offences import Offence
from tests.support.vectors import from_hex, load_vectors
from tests.support.wire import Cut, byte_by_byte, random_cut, whole

GOLDEN = [load_vectors("rlpx/frame.json")]
PAYLOADS = [b"", b"\xc0", bytes(14), bytes(15), bytes(16), random.Random(2).randbytes(70_000)]


class FixedMac:
    """A hash whose digest never changes, as the golden frame was made with."""

    def __init__(self, digest: bytes) -> None:
        self._digest = digest

    def update(self, chunk: bytes | memoryview, /) -> None: ...

    def digest(self) -> bytes:
        return self._digest


def secrets() -> Secrets:
    """Fresh states each time, since they change with use; both directions alike."""
    return Secrets(b"\x11" * 32, b"\x22" * 32, sha3.keccak_256(b"mac"), sha3.keccak_256(b"mac"))


def read_all(reader: FrameReader, sent: bytes, cut: Cut = whole) -> list[Frame]:
    frames = []
    for piece in cut(sent):
        reader.feed(piece)
        while (frame := reader.next_frame()) is not None:
            frames.append(frame)
    return frames


@pytest.mark.parametrize("vector", GOLDEN)
def test_the_published_frame_is_written_and_read(vector):
    mac = FixedMac(from_hex(vector["mac_digest"]))
    golden = Secrets(from_hex(vector["aes_key"]), from_hex(vector["mac_key"]), mac, mac)
    code, payload, frame = vector["code"], from_hex(vector["payload"]), from_hex(vector["frame"])
    assert FrameWriter(golden).encode(code, payload) == frame
    assert read_all(FrameReader(golden), frame) == [Frame(code, payload)]


@pytest.mark.parametrize("cut", [whole, byte_by_byte, random_cut(4)])
def test_frames_pass_whatever_way_they_are_cut(cut):
    writer = FrameWriter(secrets())
    messages = [Frame(code, payload) for code, payload in zip([0, 1, 0x7F, 0x80, 0x10, 300], PAYLOADS, strict=True)]
    sent = b"".join(writer.encode(*message) for message in messages)
    assert read_all(FrameReader(secrets()), sent, cut) == messages


def test_nothing_is_given_out_before_the_last_byte_of_a_frame_has_come():
    sent = FrameWriter(secrets()).encode(16, b"payload")
    assert read_all(FrameReader(secrets()), sent[:-1]) == []


def test_frames_not_read_yet_are_kept_when_more_is_fed():
    writer, reader = FrameWriter(secrets()), FrameReader(secrets())
    reader.feed(writer.encode(16, b"one"))
    reader.feed(writer.encode(17, b"two"))
    assert [reader.next_frame(), reader.next_frame(), reader.next_frame()] == [
        Frame(16, b"one"),
        Frame(17, b"two"),
        None,
    ]


@pytest.mark.parametrize(
    ("position", "part"),
    [(0, "header"), (15, "header"), (16, "header"), (31, "header"), (32, "content"), (-1, "content")],
)
def test_a_frame_is_refused_when_a_byte_was_changed(position, part):
    sent = bytearray(FrameWriter(secrets()).encode(16, b"payload"))
    sent[position] ^= 1
    with pytest.raises(WrongMac) as raised:
        read_all(FrameReader(secrets()), bytes(sent))
    assert raised.value.part == part


def test_a_frame_is_refused_when_one_before_it_was_left_out():
    writer = FrameWriter(secrets())
    writer.encode(16, b"lost")
    with pytest.raises(WrongMac):
        read_all(FrameReader(secrets()), writer.encode(16, b"payload"))


def test_a_frame_over_the_limit_is_refused_from_its_header():
    reader = FrameReader(secrets(), FrameLimit(100, Offence.ETH_MESSAGE_OVERSIZED))
    sent = FrameWriter(secrets()).encode(16, bytes(100))
    with pytest.raises(FrameTooLarge) as raised:
        read_all(reader, sent[:32])
    assert (raised.value.size_bytes, raised.value.limit_bytes) == (101, 100)
    assert raised.value.offence is Offence.ETH_MESSAGE_OVERSIZED


def test_a_frame_of_exactly_the_limit_is_read():
    reader = FrameReader(secrets(), FrameLimit(100, Offence.ETH_MESSAGE_OVERSIZED))
    assert read_all(reader, FrameWriter(secrets()).encode(16, bytes(99))) == [Frame(16, bytes(99))]


def test_a_message_over_24_bits_is_not_written():
    writer = FrameWriter(secrets())
    with pytest.raises(ValueError, match="24-bit"):
        writer.encode(16, bytes(MAX_FRAME_BYTES))


class RawWriter(FrameWriter):
    """Writes content without a code."""

    def encode_content(self, content: bytes, monkeypatch: pytest.MonkeyPatch) -> bytes:
        monkeypatch.setattr("services.peer_gateway.core.framing.encode_uint", lambda _: b"")
        return self.encode(0, content)


@pytest.mark.parametrize(
    "content", [b"", b"\x00", b"\x81\x10", b"\xc0", b"\x82\x01", b"\x89" + bytes(range(1, 10)), b"\xb8"]
)
def test_a_frame_is_refused_when_it_starts_with_no_code(content, monkeypatch):
    sent = RawWriter(secrets()).encode_content(content, monkeypatch)
    with pytest.raises(UnreadableCode):
        read_all(FrameReader(secrets()), sent)
