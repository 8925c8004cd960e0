"""Decoders of discovery: packets as they come, their content under true signatures, node records."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from coincurve import PrivateKey

from services.peer_gateway.core.discv4_faults import DatagramFault
from services.peer_gateway.core.discv4_packets import check_fresh, open_packet
from services.peer_gateway.core.enr import decode_record, parse_record
from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.rlp_slices import encode_string, join_list, split_list
from tests.fuzz.target import Target
from tests.support.vectors import from_hex, load_vectors

_HEAD_BYTES = 32 + 65
_SIGNATURE_BYTES = 64


def discovery_targets() -> Iterator[Target]:
    vectors = load_vectors("discovery/eip8-packets.json")
    key = PrivateKey(from_hex(vectors["key"]))
    datagrams = [from_hex(row["datagram"]) for row in vectors["packets"]]
    record = from_hex(load_vectors("discovery/node-records.json")["eip778"]["rlp"])
    text = load_vectors("discovery/node-records.json")["eip778"]["text"]
    yield Target("discv4-datagram", _datagram, (DatagramFault,), datagrams)
    contents = [datagram[_HEAD_BYTES:] for datagram in datagrams]
    response = b"\x06" + join_list([b"\xa0" + bytes(32), record])
    yield Target("discv4-content", partial(_content, key), (DatagramFault,), [*contents, response])
    yield Target("enr-record", partial(_record, key), (DatagramFault,), [record])
    yield Target("enr-text", _text, (DatagramFault,), [text.encode()])


def _datagram(received: bytes) -> None:
    check_fresh(open_packet(received).packet, 0.0)


def _content(key: PrivateKey, content: bytes) -> None:
    """Signed and hashed anew, so that it is read."""
    signed = key.sign_recoverable(keccak256(content), hasher=None) + content
    open_packet(keccak256(signed) + signed)


def _record(key: PrivateKey, encoded: bytes) -> None:
    """As it is, and signed anew where it has the shape of a record: then what it tells is read."""
    try:
        decode_record(_signed_anew(key, encoded))
    finally:
        decode_record(encoded)


def _signed_anew(key: PrivateKey, encoded: bytes) -> bytes:
    try:
        content = split_list(encoded)[1:]
    except MalformedRlp:
        return encoded
    signature = key.sign_recoverable(keccak256(join_list(content)), hasher=None)[:_SIGNATURE_BYTES]
    return join_list([encode_string(signature), *content])


def _text(text: bytes) -> None:
    record = parse_record(text.decode(errors="replace"))
    assert parse_record(record.text) == record
