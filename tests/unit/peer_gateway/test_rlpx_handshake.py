from __future__ import annotations

import random

import pytest
from coincurve import PrivateKey

from services.peer_gateway.core.ecies import (
    CannotOpen,
    InvalidPublicKey,
    node_id_of,
    public_key_of,
    seal,
    shared_secret,
)
from services.peer_gateway.core.framing import FrameReader, FrameWriter, Secrets
from services.peer_gateway.core.rlpx_handshake import (
    MIN_PADDING_BYTES,
    PLAIN_ACK_BYTES,
    PLAIN_AUTH_BYTES,
    AckMessage,
    AuthMessage,
    Initiator,
    OpenedPacket,
    PacketReader,
    Recipient,
    Transcript,
    UndecodableHandshake,
    decode_ack,
    decode_auth,
    derive_secrets,
    encode_auth,
    recover_ephemeral_key,
    seal_eip8,
)
from services.shared.ethwire.hashing import keccak256
from tests.support.vectors import from_hex, load_vectors
from tests.support.wire import ALICE, BOB, MALLORY, byte_by_byte

EIP8 = load_vectors("rlpx/eip8-handshake.json")
NODE_A, NODE_B = EIP8["node_a"], EIP8["node_b"]
PACKETS = {vector["name"]: vector for vector in EIP8["packets"]}
AUTHS = [vector for vector in EIP8["packets"] if vector["kind"] == "auth"]
ACKS = [vector for vector in EIP8["packets"] if vector["kind"] == "ack"]


def key(text: str) -> PrivateKey:
    return PrivateKey(from_hex(text))


def read_auth(packet: bytes, own: PrivateKey = BOB.key) -> OpenedPacket | None:
    return PacketReader("auth", own, PLAIN_AUTH_BYTES).receive(packet)


def read_ack(packet: bytes, own: PrivateKey = ALICE.key) -> OpenedPacket | None:
    return PacketReader("ack", own, PLAIN_ACK_BYTES).receive(packet)


@pytest.mark.parametrize("vector", AUTHS, ids=lambda vector: vector["name"])
def test_a_published_auth_decodes(vector):
    opened = read_auth(from_hex(vector["packet"]), key(NODE_B["static_key"]))
    assert opened is not None
    assert opened.is_plain == vector["is_plain"]
    auth = decode_auth(opened)
    assert auth.initiator_id == node_id_of(key(NODE_A["static_key"]).public_key)
    assert (auth.nonce, auth.version) == (from_hex(NODE_A["nonce"]), vector["version"])
    ephemeral = recover_ephemeral_key(auth, key(NODE_B["static_key"]))
    assert ephemeral == key(NODE_A["ephemeral_key"]).public_key


@pytest.mark.parametrize("vector", ACKS, ids=lambda vector: vector["name"])
def test_a_published_ack_decodes(vector):
    opened = read_ack(from_hex(vector["packet"]), key(NODE_A["static_key"]))
    assert opened is not None
    assert opened.is_plain == vector["is_plain"]
    ephemeral_id = node_id_of(key(NODE_B["ephemeral_key"]).public_key)
    assert decode_ack(opened) == AckMessage(ephemeral_id, from_hex(NODE_B["nonce"]), vector["version"])


@pytest.mark.parametrize("vector", EIP8["packets"], ids=lambda vector: vector["name"])
def test_a_published_packet_is_found_when_it_arrives_byte_by_byte_and_more_follows(vector):
    packet = from_hex(vector["packet"])
    is_auth = vector["kind"] == "auth"
    own = key(NODE_B["static_key"] if is_auth else NODE_A["static_key"])
    reader = PacketReader(vector["kind"], own, PLAIN_AUTH_BYTES if is_auth else PLAIN_ACK_BYTES)
    results = [reader.receive(piece) for piece in byte_by_byte(packet)]
    assert results[:-1] == [None] * (len(packet) - 1)
    last = results[-1]
    assert last is not None
    assert last.packet == packet
    more = PacketReader(vector["kind"], own, PLAIN_AUTH_BYTES if is_auth else PLAIN_ACK_BYTES).receive(packet + b"more")
    assert more == last._replace(surplus=b"more")


def published_secrets(*, is_initiator: bool) -> Secrets:
    ours, theirs = (NODE_A, NODE_B) if is_initiator else (NODE_B, NODE_A)
    seen = Transcript(
        from_hex(NODE_A["nonce"]),
        from_hex(NODE_B["nonce"]),
        from_hex(PACKETS[EIP8["secrets"]["auth"]]["packet"]),
        from_hex(PACKETS[EIP8["secrets"]["ack"]]["packet"]),
    )
    secret = shared_secret(key(ours["ephemeral_key"]), key(theirs["ephemeral_key"]).public_key)
    return derive_secrets(secret, seen, is_initiator=is_initiator)


@pytest.mark.parametrize("is_initiator", [True, False])
def test_the_published_secrets_are_derived(is_initiator):
    secrets = published_secrets(is_initiator=is_initiator)
    assert secrets.aes_key == from_hex(EIP8["secrets"]["aes_secret"])
    assert secrets.mac_key == from_hex(EIP8["secrets"]["mac_secret"])
    from_initiator = secrets.egress_mac if is_initiator else secrets.ingress_mac
    from_initiator.update(b"foo")
    assert from_initiator.digest() == from_hex(EIP8["secrets"]["ingress_mac_of_foo"])


def assert_frames_pass(sender: Secrets, receiver: Secrets) -> None:
    reader = FrameReader(receiver)
    reader.feed(FrameWriter(sender).encode(16, b"hello"))
    frame = reader.next_frame()
    assert frame is not None
    assert frame.payload == b"hello"


def test_initiator_and_recipient_agree_in_the_eip8_form():
    random_bytes = random.Random(1).randbytes
    initiator = Initiator(ALICE.key, BOB.node_id, random_bytes)
    answer = Recipient(BOB.key, random_bytes).receive(initiator.auth_packet)
    assert answer is not None
    assert answer.remote_id == ALICE.node_id
    assert len(answer.reply) > PLAIN_ACK_BYTES + MIN_PADDING_BYTES
    result = initiator.receive(answer.reply + b"surplus")
    assert result is not None
    assert (result.remote_id, result.reply, result.surplus) == (BOB.node_id, b"", b"surplus")
    assert_frames_pass(result.secrets, answer.secrets)
    assert_frames_pass(answer.secrets, result.secrets)


def test_eip8_packets_vary_in_size():
    random_bytes = random.Random(1).randbytes
    sizes = {len(Initiator(ALICE.key, BOB.node_id, random_bytes).auth_packet) for _ in range(20)}
    assert len(sizes) > 5
    assert min(sizes) > PLAIN_AUTH_BYTES


def plain_auth(nonce: bytes, ephemeral: PrivateKey, random_bytes) -> bytes:
    """Alice's auth to bob as clients from before EIP-8 sent it."""
    secret = shared_secret(ALICE.key, BOB.key.public_key)
    signed = bytes(one ^ other for one, other in zip(secret, nonce, strict=True))
    signature = ephemeral.sign_recoverable(signed, hasher=None)
    content = signature + keccak256(node_id_of(ephemeral.public_key)) + ALICE.node_id + nonce + b"\0"
    return seal(BOB.key.public_key, content, random_bytes)


def test_a_plain_auth_is_answered_with_a_plain_ack():
    random_bytes = random.Random(1).randbytes
    nonce, ephemeral = random_bytes(32), PrivateKey(random_bytes(32))
    auth_packet = plain_auth(nonce, ephemeral, random_bytes)
    assert len(auth_packet) == PLAIN_AUTH_BYTES
    answer = Recipient(BOB.key, random_bytes).receive(auth_packet)
    assert answer is not None
    assert answer.remote_id == ALICE.node_id
    assert len(answer.reply) == PLAIN_ACK_BYTES
    opened = read_ack(answer.reply)
    assert opened is not None
    assert opened.is_plain
    ack = decode_ack(opened)
    secret = shared_secret(ephemeral, public_key_of(ack.ephemeral_id))
    seen = Transcript(nonce, ack.nonce, auth_packet, answer.reply)
    ours = derive_secrets(secret, seen, is_initiator=True)
    assert_frames_pass(ours, answer.secrets)
    assert_frames_pass(answer.secrets, ours)


def test_an_initiator_reads_a_plain_ack():
    random_bytes = random.Random(1).randbytes
    initiator = Initiator(ALICE.key, BOB.node_id, random_bytes)
    ephemeral = PrivateKey(random_bytes(32))
    ack = seal(ALICE.key.public_key, node_id_of(ephemeral.public_key) + bytes(32) + b"\0", random_bytes)
    assert len(ack) == PLAIN_ACK_BYTES
    assert initiator.receive(ack) is not None


def test_an_auth_for_somebody_else_does_not_open():
    auth_packet = Initiator(ALICE.key, BOB.node_id, random.Random(1).randbytes).auth_packet
    with pytest.raises(CannotOpen):
        read_auth(auth_packet, MALLORY.key)


def test_a_packet_is_refused_when_it_announces_less_than_the_plain_size():
    with pytest.raises(UndecodableHandshake):
        read_auth((PLAIN_AUTH_BYTES - 1).to_bytes(2) + bytes(PLAIN_AUTH_BYTES))


@pytest.mark.parametrize("start", [b"\x04", b"\x01\x80\x04"], ids=["plain", "eip-8"])
def test_nothing_is_decided_before_the_plain_size_has_come_of_what_starts_well(start):
    assert read_auth(start.ljust(PLAIN_AUTH_BYTES - 1, b"\xff")) is None


@pytest.mark.parametrize("garbage", [b"\0" * 3, b"GET", b"\x16\x03\x01", b"\xff\xff\xff" + bytes(500)])
def test_garbage_is_refused_by_its_first_bytes(garbage):
    with pytest.raises(UndecodableHandshake, match="no public key"):
        read_auth(garbage)


def test_garbage_is_not_refused_before_it_can_be_told():
    assert read_auth(b"GE") is None


@pytest.mark.parametrize("size", range(4))
def test_an_auth_is_refused_when_fields_are_missing(size):
    content = load_short_auth()[:size]
    with pytest.raises(UndecodableHandshake):
        decode_auth(OpenedPacket(b"", join_fields(content), False, b""))


def load_short_auth() -> list[bytes]:
    return [b"\xb8\x41" + bytes(65), b"\xb8\x40" + ALICE.node_id, b"\xa0" + bytes(32), b"\x04"]


def join_fields(fields: list[bytes]) -> bytes:
    payload = b"".join(fields)
    return b"\xf8" + len(payload).to_bytes() + payload if len(payload) > 55 else bytes((0xC0 + len(payload),)) + payload


@pytest.mark.parametrize("index", range(3))
def test_an_auth_is_refused_when_a_field_has_a_wrong_size(index):
    fields = load_short_auth()
    fields[index] = b"\x83abc"
    with pytest.raises(UndecodableHandshake):
        decode_auth(OpenedPacket(b"", join_fields(fields), False, b""))


def test_an_auth_is_refused_when_no_key_can_have_signed_it():
    auth = AuthMessage(bytes(65), ALICE.node_id, bytes(32), 4)
    packet = seal_eip8(encode_auth(auth), BOB.key.public_key, random.Random(1).randbytes)
    with pytest.raises(UndecodableHandshake):
        Recipient(BOB.key, random.Random(1).randbytes).receive(packet)


def test_an_auth_is_refused_when_its_sender_has_no_valid_key():
    auth = AuthMessage(bytes(65), ALICE.node_id, bytes(32), 4)._replace(initiator_id=type(ALICE.node_id)(bytes(64)))
    packet = seal_eip8(encode_auth(auth), BOB.key.public_key, random.Random(1).randbytes)
    with pytest.raises(InvalidPublicKey):
        Recipient(BOB.key, random.Random(1).randbytes).receive(packet)
