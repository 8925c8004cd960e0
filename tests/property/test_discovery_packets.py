"""Any bytes are a packet or a documented fault, and a packet survives its own encoding."""

from __future__ import annotations

import contextlib

import pytest
import rlp
from hypothesis import given
from hypothesis import strategies as st

from services.peer_gateway.core.discv4_faults import DatagramFault, DropCause, RecordInvalid
from services.peer_gateway.core.discv4_packets import open_packet, seal_packet
from services.peer_gateway.core.discv4_types import Endpoint, EnrRequest, FindNode, Neighbors, Ping, Pong
from services.peer_gateway.core.enr import decode_record, parse_record, sign_record
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.rlp_slices import encode_string
from services.shared.ethwire.types import PeerId
from tests.support.wire import ALICE

ports = st.integers(0, 2**16 - 1)
times = st.integers(0, 2**64 - 1)
node_ids = st.binary(min_size=64, max_size=64).map(PeerId)
hosts = st.ip_addresses().map(str).filter(lambda host: not host.startswith("::ffff:"))
endpoints = st.builds(Endpoint, hosts | st.just(""), ports, ports)
nodes = st.builds(Enode, node_ids, hosts | st.just(""), ports, ports)
packets = st.one_of(
    st.builds(Ping, endpoints, endpoints, times, st.none() | times, times),
    st.builds(Pong, endpoints, st.binary(max_size=32), times, st.none() | times),
    st.builds(FindNode, node_ids, times),
    st.builds(Neighbors, st.lists(nodes, max_size=12).map(tuple), times),
    st.builds(EnrRequest, times),
)
shapes = st.recursive(st.binary(max_size=70), lambda items: st.lists(items, max_size=5), max_leaves=20)


def sealed(number: int, content: bytes) -> bytes:
    signed = bytes((number,)) + content
    signature = ALICE.key.sign_recoverable(keccak256(signed), hasher=None)
    return keccak256(signature + signed) + signature + signed


@given(packets)
def test_a_packet_comes_back_as_it_was_sealed(packet):
    datagram, packet_hash = seal_packet(ALICE.key, packet)
    assert open_packet(datagram) == (packet, ALICE.node_id, packet_hash)


@given(packets, st.lists(st.binary(max_size=8), max_size=3), st.binary(max_size=20))
def test_further_items_and_trailing_bytes_change_nothing(packet, items, trailing):
    datagram, _ = seal_packet(ALICE.key, packet)
    known = rlp.decode(datagram[98:])
    if isinstance(packet, Ping | Pong) and packet.enr_seq is None:
        items = []
    opened = open_packet(sealed(datagram[97], rlp.encode([*known, *items]) + trailing))
    assert opened.packet == packet


@given(st.binary(max_size=1400))
def test_any_datagram_is_a_documented_fault(datagram):
    # None of these has a right hash: what comes from anywhere never reaches the decoder.
    with pytest.raises(DatagramFault) as caught:
        open_packet(datagram)
    assert caught.value.cause in DropCause


@given(st.integers(0, 8), st.binary(max_size=400) | shapes.map(rlp.encode))
def test_any_signed_content_is_a_packet_or_a_documented_fault(number, content):
    with contextlib.suppress(DatagramFault):
        assert open_packet(sealed(number, content)).node_id == ALICE.node_id


@given(st.binary(min_size=65, max_size=65), st.binary(max_size=100))
def test_any_signature_is_read_or_refused(signature, signed):
    with contextlib.suppress(DatagramFault):
        open_packet(keccak256(signature + signed) + signature + signed)


@given(st.binary(max_size=320) | shapes.map(rlp.encode))
def test_any_bytes_are_a_record_or_refused(record_rlp):
    with contextlib.suppress(RecordInvalid):
        assert decode_record(record_rlp).record_rlp == record_rlp


@given(st.text(max_size=80) | st.text(max_size=80).map("enr:".__add__))
def test_any_text_is_a_record_or_refused(text):
    with contextlib.suppress(RecordInvalid):
        parse_record(text)


@given(st.integers(0, 2**64 - 1), st.dictionaries(st.binary(max_size=8), st.binary(max_size=16), max_size=5))
def test_a_record_comes_back_as_it_was_signed(seq, told):
    pairs = {key: encode_string(value) for key, value in told.items()}
    record = sign_record(ALICE.key, seq, pairs)
    assert parse_record(record.text) == record == decode_record(record.record_rlp)
    assert record.node_id == ALICE.node_id
    assert {**pairs, b"id": record.pairs[b"id"], b"secp256k1": record.pairs[b"secp256k1"]} == record.pairs


@given(packets, st.integers(0), st.integers(1, 255))
def test_no_changed_byte_goes_unnoticed(packet, place, change):
    datagram = bytearray(seal_packet(ALICE.key, packet).datagram)
    datagram[place % len(datagram)] ^= change
    with pytest.raises(DatagramFault):
        open_packet(bytes(datagram))
