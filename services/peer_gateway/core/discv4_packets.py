"""The packets of discovery v4 (devp2p `discv4.md`; EIP-8 for what is tolerated, EIP-868 for records).

A datagram is hash (32 bytes) ‖ signature (65) ‖ type (1) ‖ RLP. The hash is Keccak-256 of all that follows it, and the
name by which a reply refers to the packet; the signature is over Keccak-256 of type and RLP, and tells who sent it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from coincurve import PrivateKey, PublicKey

from services.peer_gateway.core.addresses import address_text, packed_address
from services.peer_gateway.core.discv4_faults import (
    DatagramTooLong,
    DatagramTooShort,
    HashMismatch,
    MalformedPacket,
    PacketExpired,
    RecordInvalid,
    SignatureInvalid,
    UnknownPacketType,
)
from services.peer_gateway.core.discv4_types import (
    PACKET_TYPES,
    Endpoint,
    EnrRequest,
    EnrResponse,
    FindNode,
    Neighbors,
    Packet,
    Ping,
    Pong,
)
from services.peer_gateway.core.ecies import node_id_of
from services.peer_gateway.core.enr import decode_record
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.rlp_slices import (
    encode_string,
    encode_uint,
    join_list,
    list_span,
    split_items,
    split_list,
    string_payload,
    uint_payload,
)
from services.shared.ethwire.types import PeerId

MAX_PACKET_BYTES: Final = 1280
"""No packet is longer: every IPv6 link carries this much in one piece."""

NEIGHBORS_PER_PACKET: Final = 12
"""Nodes in one Neighbors packet: 12 with IPv6 addresses make 1,205 bytes, 13 would make 1,296."""

_HASH_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 65
_HEAD_BYTES: Final = _HASH_BYTES + _SIGNATURE_BYTES
_NODE_ID_BYTES: Final = 64
_NUMBER_OF: Final = {kind: number for number, kind in PACKET_TYPES.items()}


class SealedPacket(NamedTuple):
    """A datagram ready to be sent, and the hash by which a reply will name it."""

    datagram: bytes
    packet_hash: bytes


class OpenedPacket(NamedTuple):
    """A packet, who signed it, and its hash."""

    packet: Packet
    node_id: PeerId
    packet_hash: bytes


def seal_packet(key: PrivateKey, packet: Packet) -> SealedPacket:
    """Encode and sign. Caller's duty: a Neighbors packet comes from `split_neighbors`."""
    signed = bytes((_NUMBER_OF[type(packet)],)) + _encode(packet)
    signature = key.sign_recoverable(keccak256(signed), hasher=None)
    packet_hash = keccak256(signature + signed)
    datagram = packet_hash + signature + signed
    assert len(datagram) <= MAX_PACKET_BYTES, "our own packets fit"
    return SealedPacket(datagram, packet_hash)


def open_packet(datagram: bytes) -> OpenedPacket:
    """Check the hash, find the signer, and decode. Whether it has expired is a question for `check_fresh`.

    Raises a DatagramFault.
    """
    if len(datagram) > MAX_PACKET_BYTES:
        raise DatagramTooLong(len(datagram), MAX_PACKET_BYTES)
    if len(datagram) <= _HEAD_BYTES:
        raise DatagramTooShort(len(datagram), _HEAD_BYTES + 1)
    claimed, actual = datagram[:_HASH_BYTES], keccak256(datagram[_HASH_BYTES:])
    if claimed != actual:
        raise HashMismatch(claimed, actual)
    node_id = _signer(datagram[_HASH_BYTES:_HEAD_BYTES], datagram[_HEAD_BYTES:])
    return OpenedPacket(_decode(datagram[_HEAD_BYTES], datagram[_HEAD_BYTES + 1 :]), node_id, actual)


def check_fresh(packet: Packet, unix_now: float) -> None:
    """Raises PacketExpired. An ENRResponse has no date: the hash of its request is proof enough."""
    if not isinstance(packet, EnrResponse) and packet.expiration < unix_now:
        raise PacketExpired(type(packet).__name__, unix_now - packet.expiration)


def split_neighbors(nodes: Sequence[Enode], expiration: int) -> list[Neighbors]:
    """The packets of a whole reply, at least one: an empty reply is one too."""
    starts = range(0, max(1, len(nodes)), NEIGHBORS_PER_PACKET)
    return [Neighbors(tuple(nodes[start : start + NEIGHBORS_PER_PACKET]), expiration) for start in starts]


def _signer(signature: bytes, signed: bytes) -> PeerId:
    try:
        return node_id_of(PublicKey.from_signature_and_message(signature, keccak256(signed), hasher=None))
    except ValueError as problem:
        raise SignatureInvalid(signature) from problem


def _encode(packet: Packet) -> bytes:
    match packet:
        case Ping(sender, recipient, expiration, enr_seq, version):
            items = [encode_uint(version), _encode_endpoint(sender), _encode_endpoint(recipient)]
            return join_list([*items, encode_uint(expiration), *_encode_seq(enr_seq)])
        case Pong(recipient, ping_hash, expiration, enr_seq):
            items = [_encode_endpoint(recipient), encode_string(ping_hash), encode_uint(expiration)]
            return join_list([*items, *_encode_seq(enr_seq)])
        case FindNode(target, expiration):
            return join_list([encode_string(target), encode_uint(expiration)])
        case Neighbors(nodes, expiration):
            return join_list([join_list([_encode_node(node) for node in nodes]), encode_uint(expiration)])
        case EnrRequest(expiration):
            return join_list([encode_uint(expiration)])
        case EnrResponse(request_hash, record):
            return join_list([encode_string(request_hash), record.record_rlp])


def _encode_endpoint(endpoint: Endpoint) -> bytes:
    host = encode_string(packed_address(endpoint.host))
    return join_list([host, encode_uint(endpoint.udp_port), encode_uint(endpoint.tcp_port)])


def _encode_node(node: Enode) -> bytes:
    host = encode_string(packed_address(node.host))
    return join_list([host, encode_uint(node.udp_port), encode_uint(node.tcp_port), encode_string(node.node_id)])


def _encode_seq(enr_seq: int | None) -> Iterable[bytes]:
    return () if enr_seq is None else (encode_uint(enr_seq),)


def _decode(number: int, content: bytes) -> Packet:
    kind = PACKET_TYPES.get(number)
    if kind is None:
        raise UnknownPacketType(number)
    least_items, decode = _DECODERS[kind]
    try:
        # What follows the list, and items after those that are known, belong to later versions (EIP-8).
        start, end = list_span(content, 0, len(content))
        items = split_items(content, start, end)
        if len(items) < least_items:
            raise MalformedPacket(kind.__name__, f"{len(items)} items, {least_items} are needed")
        return decode(items)
    except MalformedRlp as fault:
        raise MalformedPacket(kind.__name__, str(fault)) from fault
    except RecordInvalid as fault:
        raise MalformedPacket(kind.__name__, str(fault)) from fault


def _decode_ping(items: list[bytes]) -> Packet:
    sender, recipient = _decode_endpoint(items[1]), _decode_endpoint(items[2])
    version = uint_payload(items[0], max_bytes=8)
    return Ping(sender, recipient, uint_payload(items[3], max_bytes=8), _decode_seq(items[4:]), version)


def _decode_pong(items: list[bytes]) -> Packet:
    expiration = uint_payload(items[2], max_bytes=8)
    return Pong(_decode_endpoint(items[0]), string_payload(items[1]), expiration, _decode_seq(items[3:]))


def _decode_find_node(items: list[bytes]) -> Packet:
    return FindNode(_decode_node_id(items[0]), uint_payload(items[1], max_bytes=8))


def _decode_neighbors(items: list[bytes]) -> Packet:
    nodes = tuple(_decode_node(item) for item in split_list(items[0]))
    return Neighbors(nodes, uint_payload(items[1], max_bytes=8))


def _decode_enr_request(items: list[bytes]) -> Packet:
    return EnrRequest(uint_payload(items[0], max_bytes=8))


def _decode_enr_response(items: list[bytes]) -> Packet:
    return EnrResponse(string_payload(items[0]), decode_record(items[1]))


_DECODERS: Final[Mapping[type[Packet], tuple[int, Callable[[list[bytes]], Packet]]]] = MappingProxyType(
    {
        Ping: (4, _decode_ping),
        Pong: (3, _decode_pong),
        FindNode: (2, _decode_find_node),
        Neighbors: (2, _decode_neighbors),
        EnrRequest: (1, _decode_enr_request),
        EnrResponse: (2, _decode_enr_response),
    }
)
"""For each packet the number of items it must have, and what reads them."""


def _decode_endpoint(item: bytes) -> Endpoint:
    host, udp_port, tcp_port = _items_of(item, 3)
    address = address_text(string_payload(host))
    return Endpoint(address, uint_payload(udp_port, max_bytes=2), uint_payload(tcp_port, max_bytes=2))


def _decode_node(item: bytes) -> Enode:
    """A node as told; `host` is empty where the bytes were no address. Whether it can be used, the reader judges."""
    host, udp_port, tcp_port, node_id = _items_of(item, 4)
    address = address_text(string_payload(host))
    ports = uint_payload(tcp_port, max_bytes=2), uint_payload(udp_port, max_bytes=2)
    return Enode(_decode_node_id(node_id), address, *ports)


def _decode_node_id(item: bytes) -> PeerId:
    payload = string_payload(item)
    if len(payload) != _NODE_ID_BYTES:
        raise MalformedRlp(f"a node id has {len(payload)} bytes, {_NODE_ID_BYTES} are needed")
    return PeerId(payload)


def _decode_seq(rest: list[bytes]) -> int | None:
    """The record's number; what stood in its place before EIP-868 may be anything."""
    try:
        return uint_payload(rest[0], max_bytes=8) if rest else None
    except MalformedRlp:
        return None


def _items_of(item: bytes, count: int) -> list[bytes]:
    items = split_list(item)
    if len(items) < count:
        raise MalformedRlp(f"a list has {len(items)} items, {count} are needed")
    return items[:count]
