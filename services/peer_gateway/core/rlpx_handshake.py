"""The RLPx encryption handshake, initiator and recipient, plain and EIP-8 forms.

Auth goes from initiator to recipient, ack back; then both know each other's key and share secrets.
We send the EIP-8 form, except that a plain auth gets a plain ack. Both forms are read.
Spec: devp2p `rlpx.md`, section Initial Handshake; EIP-8.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import sha3
from coincurve import PrivateKey, PublicKey

from services.peer_gateway.core.ecies import (
    ECIES_OVERHEAD_BYTES,
    UNCOMPRESSED_KEY_PREFIX,
    CannotOpen,
    InvalidPublicKey,
    RandomBytes,
    generate_key,
    node_id_of,
    open_sealed,
    public_key_of,
    seal,
    shared_secret,
)
from services.peer_gateway.core.framing import Secrets
from services.shared.ethwire.faults import MalformedRlp, PeerFault
from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.rlp_slices import encode_string, encode_uint, item_span, join_list, list_span, uint_payload
from services.shared.ethwire.types import PeerId

RLPX_VERSION: Final = 4
"""What we say in auth and ack; the other side's number is not looked at (EIP-8)."""

_SIGNATURE_BYTES: Final = 65
_NODE_ID_BYTES: Final = 64
_NONCE_BYTES: Final = 32
_HASH_BYTES: Final = 32
_TOKEN_FLAG: Final = b"\0"
"""Last byte of the plain forms: no session token is known from before. Nobody ever set it."""

PLAIN_AUTH_BYTES: Final = _SIGNATURE_BYTES + _HASH_BYTES + _NODE_ID_BYTES + _NONCE_BYTES + 1 + ECIES_OVERHEAD_BYTES
PLAIN_ACK_BYTES: Final = _NODE_ID_BYTES + _NONCE_BYTES + 1 + ECIES_OVERHEAD_BYTES

_START_BYTES: Final = 3
"""Enough of a packet to see a public key begin: at its first byte, or after the two of its size."""

MIN_PADDING_BYTES: Final = 100
"""Padding that makes an EIP-8 packet longer than a plain one, so that the two can be told apart."""

_PADDING_SPREAD: Final = 201
"""EIP-8 recommends 100 to 300 bytes, varied, so that packets have no typical size."""


class UndecodableHandshake(PeerFault):
    """An auth or ack whose content is not what the handshake asks for."""

    offence = Offence.HANDSHAKE_UNDECODABLE

    def __init__(self, packet: str, problem: str) -> None:
        super().__init__(f"{packet}: {problem}")
        self.packet, self.problem = packet, problem


class AuthMessage(NamedTuple):
    signature: bytes
    initiator_id: PeerId
    nonce: bytes
    version: int


class AckMessage(NamedTuple):
    ephemeral_id: bytes
    nonce: bytes
    version: int


class HandshakeResult(NamedTuple):
    """`reply` must be sent first; `surplus` are bytes that came after the handshake packet."""

    remote_id: PeerId
    secrets: Secrets
    reply: bytes
    surplus: bytes


class OpenedPacket(NamedTuple):
    """One whole handshake packet: the bytes as sent, and what was sealed inside."""

    packet: bytes
    content: bytes
    is_plain: bool
    surplus: bytes


class PacketReader:
    """Collects one auth or ack packet and finds out which form it has.

    The plain form is tried once its size has arrived; if it does not open, the packet is EIP-8 and
    its first two bytes are its size.
    """

    def __init__(self, name: str, own: PrivateKey, plain_bytes: int) -> None:
        self._name, self._own, self._plain_bytes = name, own, plain_bytes
        self._received = bytearray()
        self._may_be_plain = True

    def receive(self, received: bytes) -> OpenedPacket | None:
        """The packet, once it is complete. Raises PeerFault when no form fits."""
        self._received += received
        if len(self._received) < self._plain_bytes:
            self._check_start()
            return None
        if self._may_be_plain:
            opened = self._open_plain()
            if opened is not None:
                return opened
            self._may_be_plain = False
        return self._open_eip8()

    def _check_start(self) -> None:
        """Turn garbage away by its first bytes: it would hold a stranger's place until it is whole, or too late."""
        start = self._received[:_START_BYTES]
        if len(start) == _START_BYTES and UNCOMPRESSED_KEY_PREFIX not in (start[0], start[2]):
            raise UndecodableHandshake(self._name, "neither plain nor EIP-8: no public key is where both have one")

    def _open_plain(self) -> OpenedPacket | None:
        if self._received[0] != UNCOMPRESSED_KEY_PREFIX:
            return None
        packet = bytes(self._received[: self._plain_bytes])
        try:
            content = open_sealed(self._own, packet)
        except (CannotOpen, InvalidPublicKey):
            return None
        return OpenedPacket(packet, content, True, bytes(self._received[self._plain_bytes :]))

    def _open_eip8(self) -> OpenedPacket | None:
        self._check_start()
        size_prefix = bytes(self._received[:2])
        end = 2 + int.from_bytes(size_prefix)
        if end - 2 < self._plain_bytes:
            raise UndecodableHandshake(self._name, f"neither plain nor EIP-8: {end - 2} bytes are announced")
        if len(self._received) < end:
            return None
        packet = bytes(self._received[:end])
        content = open_sealed(self._own, packet[2:], size_prefix)
        return OpenedPacket(packet, content, False, bytes(self._received[end:]))


class Initiator:
    """The dialling side: `auth_packet` is sent first, then `receive` is fed until it gives a result."""

    def __init__(self, own: PrivateKey, remote_id: PeerId, random_bytes: RandomBytes) -> None:
        remote = public_key_of(remote_id)
        self._remote_id = remote_id
        self._nonce = random_bytes(_NONCE_BYTES)
        self._ephemeral = generate_key(random_bytes)
        self._reader = PacketReader("ack", own, PLAIN_ACK_BYTES)
        signature = self._ephemeral.sign_recoverable(_xor(shared_secret(own, remote), self._nonce), hasher=None)
        auth = AuthMessage(signature, node_id_of(own.public_key), self._nonce, RLPX_VERSION)
        self.auth_packet = seal_eip8(encode_auth(auth), remote, random_bytes)

    def receive(self, received: bytes) -> HandshakeResult | None:
        opened = self._reader.receive(received)
        if opened is None:
            return None
        ack = decode_ack(opened)
        secrets = derive_secrets(
            shared_secret(self._ephemeral, public_key_of(ack.ephemeral_id)),
            Transcript(self._nonce, ack.nonce, self.auth_packet, opened.packet),
            is_initiator=True,
        )
        return HandshakeResult(self._remote_id, secrets, b"", opened.surplus)


class Recipient:
    """The listening side: `receive` is fed until it gives a result, whose `reply` is the ack."""

    def __init__(self, own: PrivateKey, random_bytes: RandomBytes) -> None:
        self._own, self._random_bytes = own, random_bytes
        self._reader = PacketReader("auth", own, PLAIN_AUTH_BYTES)

    def receive(self, received: bytes) -> HandshakeResult | None:
        opened = self._reader.receive(received)
        if opened is None:
            return None
        auth = decode_auth(opened)
        remote = public_key_of(auth.initiator_id)
        remote_ephemeral = recover_ephemeral_key(auth, self._own)
        ephemeral = generate_key(self._random_bytes)
        nonce = self._random_bytes(_NONCE_BYTES)
        ack = AckMessage(node_id_of(ephemeral.public_key), nonce, RLPX_VERSION)
        if opened.is_plain:
            ack_packet = seal(remote, ack.ephemeral_id + nonce + _TOKEN_FLAG, self._random_bytes)
        else:
            ack_packet = seal_eip8(encode_ack(ack), remote, self._random_bytes)
        secrets = derive_secrets(
            shared_secret(ephemeral, remote_ephemeral),
            Transcript(auth.nonce, nonce, opened.packet, ack_packet),
            is_initiator=False,
        )
        return HandshakeResult(auth.initiator_id, secrets, ack_packet, opened.surplus)


class Transcript(NamedTuple):
    """What both sides saw; the packets as they crossed the wire."""

    initiator_nonce: bytes
    recipient_nonce: bytes
    auth_packet: bytes
    ack_packet: bytes


def derive_secrets(ephemeral_secret: bytes, seen: Transcript, *, is_initiator: bool) -> Secrets:
    """Keys of the frames and the MACs primed with nonces and packets (`rlpx.md`, section Initial Handshake)."""
    nonce_hash = keccak256(seen.recipient_nonce + seen.initiator_nonce)
    aes_key = keccak256(ephemeral_secret + keccak256(ephemeral_secret + nonce_hash))
    mac_key = keccak256(ephemeral_secret + aes_key)
    initiator_mac = sha3.keccak_256(_xor(mac_key, seen.recipient_nonce) + seen.auth_packet)
    recipient_mac = sha3.keccak_256(_xor(mac_key, seen.initiator_nonce) + seen.ack_packet)
    if is_initiator:
        return Secrets(aes_key, mac_key, egress_mac=initiator_mac, ingress_mac=recipient_mac)
    return Secrets(aes_key, mac_key, egress_mac=recipient_mac, ingress_mac=initiator_mac)


def recover_ephemeral_key(auth: AuthMessage, own: PrivateKey) -> PublicKey:
    """The initiator's ephemeral key: the one that signed static secret xor nonce."""
    signed = _xor(shared_secret(own, public_key_of(auth.initiator_id)), auth.nonce)
    try:
        return PublicKey.from_signature_and_message(auth.signature, signed, hasher=None)
    except ValueError as error:
        raise UndecodableHandshake("auth", "no key can have made its signature") from error


def seal_eip8(content: bytes, recipient: PublicKey, random_bytes: RandomBytes) -> bytes:
    """Pad, seal and prefix with the size, which the tag covers."""
    padding = random_bytes(MIN_PADDING_BYTES + int.from_bytes(random_bytes(2)) % _PADDING_SPREAD)
    size_prefix = (len(content) + len(padding) + ECIES_OVERHEAD_BYTES).to_bytes(2)
    return size_prefix + seal(recipient, content + padding, random_bytes, size_prefix)


def encode_auth(auth: AuthMessage) -> bytes:
    strings = [encode_string(value) for value in (auth.signature, auth.initiator_id, auth.nonce)]
    return join_list([*strings, encode_uint(auth.version)])


def encode_ack(ack: AckMessage) -> bytes:
    return join_list([encode_string(ack.ephemeral_id), encode_string(ack.nonce), encode_uint(ack.version)])


def decode_auth(opened: OpenedPacket) -> AuthMessage:
    """Read an auth of either form. Raises UndecodableHandshake."""
    content = opened.content
    if opened.is_plain:
        node_id_start = _SIGNATURE_BYTES + _HASH_BYTES
        nonce_start = node_id_start + _NODE_ID_BYTES
        return AuthMessage(
            content[:_SIGNATURE_BYTES],
            PeerId(content[node_id_start:nonce_start]),
            content[nonce_start : nonce_start + _NONCE_BYTES],
            RLPX_VERSION,
        )
    fields, version = _split_content("auth", content, (_SIGNATURE_BYTES, _NODE_ID_BYTES, _NONCE_BYTES))
    return AuthMessage(fields[0], PeerId(fields[1]), fields[2], version)


def decode_ack(opened: OpenedPacket) -> AckMessage:
    """Read an ack of either form. Raises UndecodableHandshake."""
    content = opened.content
    if opened.is_plain:
        nonce_end = _NODE_ID_BYTES + _NONCE_BYTES
        return AckMessage(content[:_NODE_ID_BYTES], content[_NODE_ID_BYTES:nonce_end], RLPX_VERSION)
    fields, version = _split_content("ack", content, (_NODE_ID_BYTES, _NONCE_BYTES))
    return AckMessage(fields[0], fields[1], version)


def _split_content(packet: str, content: bytes, sizes: tuple[int, ...]) -> tuple[list[bytes], int]:
    """Strings of the given sizes, then the version; further items and trailing bytes are ignored (EIP-8)."""
    fields = []
    try:
        offset, end = list_span(content, 0, len(content))
        for size in sizes:
            start, offset, is_list = item_span(content, offset, end)
            if is_list or offset - start != size:
                raise UndecodableHandshake(packet, f"a field is not a string of {size} bytes")
            fields.append(content[start:offset])
        _, version_end, _ = item_span(content, offset, end)
        return fields, uint_payload(content[offset:version_end])
    except MalformedRlp as fault:
        raise UndecodableHandshake(packet, str(fault)) from fault


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one) ^ int.from_bytes(other)).to_bytes(len(one))
