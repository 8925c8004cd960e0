"""Decoders of the link itself: handshake packets, frames, base messages, snappy; and whole connections."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from typing import Final

import sha3
from coincurve import PrivateKey

from services.peer_gateway.core import snappy_codec
from services.peer_gateway.core.connection import Connection
from services.peer_gateway.core.devp2p import BaseCode, decode_disconnect, decode_hello, encode_disconnect, encode_hello
from services.peer_gateway.core.ecies import open_sealed
from services.peer_gateway.core.events import Disconnected
from services.peer_gateway.core.framing import FrameReader, FrameWriter, Secrets
from services.peer_gateway.core.phases import Phase
from services.peer_gateway.core.rlpx_handshake import (
    Initiator,
    OpenedPacket,
    Recipient,
    decode_ack,
    decode_auth,
    encode_auth,
    recover_ephemeral_key,
)
from services.shared.ethwire.eth_messages import encode_message
from services.shared.ethwire.faults import DisconnectReason, PeerFault
from services.shared.ethwire.messages import GetBlockHeaders
from tests.fuzz.eth_targets import messages_of, script_of
from tests.fuzz.target import Target
from tests.support.vectors import from_hex, load_vectors
from tests.support.wire import ALICE, BOB, MALLORY, scripted_peer

MOST_INFLATED: Final = 1024 * 1024
"""As much as the snappy target may inflate to: a bomb is refused before, whatever the limit."""


def link_targets() -> Iterator[Target]:
    handshake = load_vectors("rlpx/eip8-handshake.json")
    keys = [PrivateKey(from_hex(handshake[node]["static_key"])) for node in ("node_a", "node_b")]
    packets = {
        kind: [from_hex(row["packet"]) for row in handshake["packets"] if row["kind"] == kind]
        for kind in ("auth", "ack")
    }
    yield Target("auth-packet", partial(_auth_packet, keys[1]), (PeerFault,), packets["auth"])
    yield Target("ack-packet", partial(_ack_packet, keys[0]), (PeerFault,), packets["ack"])
    # Inside the seal, where bytes that somebody changed still arrive whole.
    contents = [open_sealed(keys[1], packet[2:], packet[:2]) for packet in packets["auth"][1:]]
    yield Target("auth-content", partial(_auth_content, keys[1]), (PeerFault,), contents)
    contents = [open_sealed(keys[0], packet[2:], packet[:2]) for packet in packets["ack"][1:]]
    yield Target("ack-content", _ack_content, (PeerFault,), contents)
    hellos = [encode_hello(MALLORY.hello()), from_hex(load_vectors("rlpx/eip8-hello.json")["hello"])]
    yield Target("hello", decode_hello, (PeerFault,), hellos)
    yield Target(
        "disconnect", decode_disconnect, (PeerFault,), [encode_disconnect(DisconnectReason.USELESS_PEER), b"\x04"]
    )
    blocks = [snappy_codec.deflate(sample) for sample in (b"", bytes(500), *hellos)]
    yield Target("snappy", _inflate, (PeerFault,), blocks)
    yield Target("frames", _frames, (PeerFault,), [_written(script_of([(1, b"\xc0"), (16, bytes(300))]))])
    messages = [
        (BaseCode.PING, b"\xc0"),
        (BaseCode.PONG, b"\xc0"),
        (0x13, encode_message(63, GetBlockHeaders(1, 1, 0, False))[1]),
    ]
    plain = script_of([(BaseCode.HELLO, hellos[0]), *messages])
    yield Target("connection-hello", partial(_connection, Phase.HELLO), (), [plain])
    compressed = script_of([(code, snappy_codec.deflate(payload)) for code, payload in messages])
    yield Target("connection-open", partial(_connection, Phase.OPEN), (), [compressed, plain])
    yield Target("connection-bytes", _connection_bytes, (), packets["auth"])


def _auth_packet(own: PrivateKey, packet: bytes) -> None:
    Recipient(own, random.Random(1).randbytes).receive(packet)


def _ack_packet(own: PrivateKey, packet: bytes) -> None:
    Initiator(own, BOB.node_id, random.Random(1).randbytes).receive(packet)


def _auth_content(own: PrivateKey, content: bytes) -> None:
    auth = decode_auth(OpenedPacket(b"", content, False, b""))
    recover_ephemeral_key(auth, own)
    encode_auth(auth)


def _ack_content(content: bytes) -> None:
    decode_ack(OpenedPacket(b"", content, False, b""))


def _inflate(compressed: bytes) -> None:
    inflated = snappy_codec.inflate(compressed, MOST_INFLATED)
    assert snappy_codec.inflate(snappy_codec.deflate(inflated)) == inflated


def _secrets() -> Secrets:
    return Secrets(b"\x11" * 32, b"\x22" * 32, sha3.keccak_256(b"mac"), sha3.keccak_256(b"mac"))


def _written(script: bytes) -> bytes:
    writer = FrameWriter(_secrets())
    return b"".join(writer.encode(code, payload) for code, payload in messages_of(script))


def _frames(received: bytes) -> None:
    """Frames as they come, cut in two; and the same bytes as the content of one true frame."""
    _read_frames(received[: len(received) // 2], received[len(received) // 2 :])
    header_and_mac = 32
    _read_frames(_true_frame(received[header_and_mac:]))


def _true_frame(content: bytes) -> bytes:
    """A frame with any content, its code included."""
    writer = FrameWriter(_secrets())
    header = writer._encrypt(len(content).to_bytes(3) + bytes(13))
    header_mac = writer._mac.header_mac(header)
    encrypted = writer._encrypt(content + bytes(-len(content) % 16))
    writer._mac.absorb(encrypted)
    return header + header_mac + encrypted + writer._mac.content_mac()


def _read_frames(*pieces: bytes) -> None:
    reader = FrameReader(_secrets())
    for piece in pieces:
        reader.feed(piece)
        while reader.next_frame() is not None:
            pass


def _connection(phase: Phase, script: bytes) -> None:
    """True frames with any codes and payloads: the connection stands, or ends once and for a reason."""
    peer = scripted_peer(phase)
    for code, payload in messages_of(script):
        peer.send(code, payload)
    _check_end(peer.target, [event for event in peer.events if isinstance(event, Disconnected)])


def _connection_bytes(received: bytes) -> None:
    connection = Connection(ALICE, None, random.Random(5).randbytes, 0.0)
    events = connection.receive_data(received, 0.0)
    _check_end(connection, [event for event in events if isinstance(event, Disconnected)])


def _check_end(connection: Connection, ends: list[Disconnected]) -> None:
    assert connection.is_closed == bool(ends)
    assert len(ends) <= 1
