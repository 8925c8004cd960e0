"""The codec of discovery packets: published vectors, limits, and what each damage is called."""

from __future__ import annotations

from typing import Any

import pytest
import rlp
from coincurve import PrivateKey

from services.peer_gateway.core import discv4_faults as faults
from services.peer_gateway.core.discv4_packets import (
    MAX_PACKET_BYTES,
    NEIGHBORS_PER_PACKET,
    check_fresh,
    open_packet,
    seal_packet,
    split_neighbors,
)
from services.peer_gateway.core.discv4_types import (
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
from services.peer_gateway.core.enr import endpoint_pairs, sign_record
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.types import PeerId
from tests.support.vectors import from_hex, load_vectors
from tests.support.wire import ALICE, BOB

EIP8 = load_vectors("discovery/eip8-packets.json")
KEY = ALICE.key
HOME = Endpoint("10.0.0.1", 30303, 30303)
AWAY = Endpoint("2001:db8::7", 30304, 0)
RECORD = sign_record(KEY, 3, endpoint_pairs("10.0.0.1", 30303, 30303))

PACKETS: list[Packet] = [
    Ping(HOME, AWAY, 1_700_000_000),
    Ping(HOME, AWAY, 1_700_000_000, enr_seq=0, version=5),
    Pong(AWAY, b"\x01" * 32, 1_700_000_000),
    Pong(Endpoint("", 0, 0), b"\x01" * 32, 1_700_000_000, enr_seq=2**40),
    FindNode(BOB.node_id, 1_700_000_000),
    Neighbors((), 1_700_000_000),
    Neighbors((Enode(BOB.node_id, "10.0.0.2", 1, 2), Enode(ALICE.node_id, "2001:db8::8", 3, 4)), 1_700_000_000),
    EnrRequest(1_700_000_000),
    EnrResponse(b"\x02" * 32, RECORD),
]


def endpoint(told: Any) -> Endpoint:
    return Endpoint(told["host"], told["udp"], told["tcp"])


def packet_of(holds: Any) -> Packet:
    """The packet that a vector describes."""
    match holds["type"]:
        case "Ping":
            ends = endpoint(holds["from"]), endpoint(holds["to"])
            return Ping(*ends, holds["expiration"], holds.get("enr_seq"), holds["version"])
        case "Pong":
            return Pong(endpoint(holds["to"]), from_hex(holds["ping_hash"]), holds["expiration"])
        case "FindNode":
            return FindNode(PeerId(from_hex(holds["target"])), holds["expiration"])
        case _:
            nodes = [
                Enode(PeerId(from_hex(node["id"])), node["host"], node["tcp"], node["udp"]) for node in holds["nodes"]
            ]
            return Neighbors(tuple(nodes), holds["expiration"])


def sealed(content: bytes, number: int = 1) -> bytes:
    """A datagram of any content with a right hash and signature."""
    signed = bytes((number,)) + content
    signature = KEY.sign_recoverable(keccak256(signed), hasher=None)
    return keccak256(signature + signed) + signature + signed


@pytest.mark.parametrize("vector", EIP8["packets"], ids=lambda vector: vector["name"])
def test_the_published_packets_with_further_items_decode(vector):
    opened = open_packet(from_hex(vector["datagram"]))
    assert opened.packet == packet_of(vector["holds"])
    assert opened.node_id == node_id_of(PrivateKey(from_hex(EIP8["key"])).public_key)
    assert opened.packet_hash == from_hex(vector["datagram"])[:32]


@pytest.mark.parametrize("packet", PACKETS, ids=lambda packet: type(packet).__name__)
def test_a_packet_comes_back_as_it_was_sealed(packet):
    datagram, packet_hash = seal_packet(KEY, packet)
    assert open_packet(datagram) == (packet, ALICE.node_id, packet_hash)


def test_a_ping_is_what_the_rlp_package_makes_of_it():
    datagram, _ = seal_packet(KEY, Ping(HOME, AWAY, 77, enr_seq=9))
    home = [bytes((10, 0, 0, 1)), 30303, 30303]
    away = [bytes.fromhex("20010db8000000000000000000000007"), 30304, 0]
    assert datagram[97:] == b"\x01" + rlp.encode([4, home, away, 77, 9])


def test_an_ipv4_address_wrapped_in_ipv6_reads_as_ipv4():
    wrapped = [bytes(10) + b"\xff\xff" + bytes((192, 0, 2, 7)), 1, 2]
    opened = open_packet(sealed(rlp.encode([4, wrapped, wrapped, 77])))
    assert opened.packet == Ping(Endpoint("192.0.2.7", 1, 2), Endpoint("192.0.2.7", 1, 2), 77)


def test_whatever_stood_in_the_place_of_the_record_number_is_tolerated():
    opened = open_packet(sealed(rlp.encode([4, [b"", 0, 0], [b"", 0, 0], 77, [b"not", b"a number"]])))
    assert isinstance(opened.packet, Ping)
    assert opened.packet.enr_seq is None


def test_a_datagram_of_1280_bytes_is_read_and_one_more_is_too_long():
    content = rlp.encode([4, [b"", 0, 0], [b"", 0, 0], 77])
    padding = bytes(MAX_PACKET_BYTES - 98 - len(content))
    assert isinstance(open_packet(sealed(content + padding)).packet, Ping)
    with pytest.raises(faults.DatagramTooLong) as caught:
        open_packet(sealed(content + padding + b"\0"))
    assert caught.value.size_bytes == MAX_PACKET_BYTES + 1


def test_a_datagram_without_content_is_too_short():
    with pytest.raises(faults.DatagramTooShort):
        open_packet(bytes(97))


def test_a_changed_byte_breaks_the_hash():
    datagram = bytearray(seal_packet(KEY, PACKETS[0]).datagram)
    datagram[-1] ^= 1
    with pytest.raises(faults.HashMismatch) as caught:
        open_packet(bytes(datagram))
    assert caught.value.claimed == datagram[:32]


def test_a_signature_that_no_key_made_is_refused():
    signature = b"\xff" * 64 + b"\0"
    signed = b"\x01" + rlp.encode([])
    with pytest.raises(faults.SignatureInvalid):
        open_packet(keccak256(signature + signed) + signature + signed)


@pytest.mark.parametrize("number", [0, 7, 255])
def test_an_unknown_type_is_named(number):
    with pytest.raises(faults.UnknownPacketType) as caught:
        open_packet(sealed(rlp.encode([1]), number))
    assert caught.value.number == number


@pytest.mark.parametrize(
    ("number", "content"),
    [
        (1, b""),
        (1, rlp.encode([4, [b"", 0, 0], [b"", 0, 0]])),
        (1, rlp.encode([4, [b"", 0], [b"", 0, 0], 77])),
        (1, rlp.encode([4, [b"", 2**16, 0], [b"", 0, 0], 77])),
        (1, rlp.encode(b"a string")),
        (2, rlp.encode([[b"", 0, 0], b"hash"])),
        (3, rlp.encode([b"\x01" * 63, 77])),
        (4, rlp.encode([[[b"", 1, 1]], 77])),
        (4, rlp.encode([[[b"", 1, 1, b"short"]], 77])),
        (5, rlp.encode([2**64])),
        (6, rlp.encode([b"hash", [b"sig", 1]])),
    ],
)
def test_content_of_another_shape_is_malformed(number, content):
    with pytest.raises(faults.MalformedPacket):
        open_packet(sealed(content, number))


@pytest.mark.parametrize("packet", PACKETS, ids=lambda packet: type(packet).__name__)
def test_a_packet_is_refused_once_its_expiration_has_passed(packet):
    check_fresh(packet, 1_700_000_000)
    if isinstance(packet, EnrResponse):
        check_fresh(packet, 2**40)
        return
    with pytest.raises(faults.PacketExpired) as caught:
        check_fresh(packet, 1_700_000_003)
    assert caught.value.expired_s == 3
    assert caught.value.cause is faults.DropCause.EXPIRED


@pytest.mark.parametrize("count", [0, 1, NEIGHBORS_PER_PACKET, NEIGHBORS_PER_PACKET + 1, 16, 40])
def test_neighbours_are_split_so_that_every_packet_fits(count):
    nodes = [Enode(PeerId(bytes((number,)) * 64), f"2001:db8::{number:x}", 65535, 65535) for number in range(count)]
    packets = split_neighbors(nodes, 2**63)
    assert [node for packet in packets for node in packet.nodes] == nodes
    assert len(packets) == max(1, -(-count // NEIGHBORS_PER_PACKET))
    assert all(len(seal_packet(KEY, packet).datagram) <= MAX_PACKET_BYTES for packet in packets)


def test_one_neighbour_more_in_a_packet_would_not_fit():
    node = Enode(PeerId(b"\x01" * 64), "2001:db8::1", 65535, 65535)
    full = seal_packet(KEY, Neighbors((node,) * NEIGHBORS_PER_PACKET, 2**63)).datagram
    one = seal_packet(KEY, Neighbors((node,) * (NEIGHBORS_PER_PACKET - 1), 2**63)).datagram
    assert len(full) + (len(full) - len(one)) > MAX_PACKET_BYTES
