"""Node records: the published example, the limits, and the address rules beside them."""

from __future__ import annotations

import pytest
import rlp
from coincurve import PrivateKey

from services.peer_gateway.core.addresses import kind_of, may_tell_of, subnet_of
from services.peer_gateway.core.discv4_faults import RecordInvalid
from services.peer_gateway.core.enr import (
    MAX_RECORD_BYTES,
    decode_record,
    endpoint_pairs,
    parse_record,
    sign_record,
)
from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.rlp_slices import encode_string
from tests.support.vectors import from_hex, load_vectors
from tests.support.wire import ALICE, BOB

VECTORS = load_vectors("discovery/node-records.json")
EXAMPLE = VECTORS["eip778"]


def test_the_published_record_decodes():
    record = decode_record(from_hex(EXAMPLE["rlp"]))
    assert (record.seq, record.host, record.udp_port, record.tcp_port) == (
        EXAMPLE["seq"],
        EXAMPLE["ip"],
        EXAMPLE["udp"],
        None,
    )
    assert keccak256(record.node_id).hex() == EXAMPLE["nodeId"]
    assert record.text == EXAMPLE["text"]
    assert parse_record(EXAMPLE["text"]) == record


def test_the_published_record_is_what_its_key_signs():
    key = PrivateKey(from_hex(EXAMPLE["key"]))
    record = sign_record(key, EXAMPLE["seq"], endpoint_pairs(EXAMPLE["ip"], EXAMPLE["udp"], 0))
    assert record.record_rlp == from_hex(EXAMPLE["rlp"])


@pytest.mark.parametrize("case", VECTORS["texts"], ids=lambda case: case["text"][:24])
def test_published_texts_are_records_or_not(case):
    if case["is_valid"]:
        assert parse_record(case["text"]).text == case["text"]
        return
    with pytest.raises(RecordInvalid):
        parse_record(case["text"])


def test_a_record_tells_an_ipv6_address_under_its_own_keys():
    record = sign_record(ALICE.key, 1, endpoint_pairs("2001:db8::1", 30303, 30304))
    assert record.host == "2001:db8::1"
    assert set(record.pairs) == {b"id", b"ip6", b"secp256k1", b"tcp6", b"udp6"}


def test_a_record_of_another_key_is_refused():
    items = rlp.decode(sign_record(ALICE.key, 1, {}).record_rlp)
    items[-1] = BOB.key.public_key.format()
    with pytest.raises(RecordInvalid, match="signature is not that of its key"):
        decode_record(rlp.encode(items))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda items: items[:1], "1 items"),
        (lambda items: items[:-1], "5 items"),
        (lambda items: [*items[:2], *items[4:], *items[2:4]], "not in order"),
        (lambda items: [*items[:4], *items[2:4], *items[4:]], "not in order"),
        (lambda items: [*items[:3], b"v5", *items[4:]], "identity scheme"),
        (lambda items: [*items[:5], b"\x02" + b"\xff" * 32], "not a point"),
        (lambda items: [b"\x01" * 63, *items[1:]], "63 bytes"),
        (lambda items: [b"\xff" * 64, *items[1:]], "signature"),
    ],
)
def test_a_damaged_record_says_what_is_wrong(change, problem):
    items = rlp.decode(sign_record(ALICE.key, 1, {}).record_rlp)
    with pytest.raises(RecordInvalid, match=problem):
        decode_record(rlp.encode(change(items)))


def test_a_record_of_300_bytes_is_read_and_a_longer_one_refused():
    room = MAX_RECORD_BYTES - len(sign_record(ALICE.key, 1, {b"z": encode_string(bytes(140))}).record_rlp)
    longest = sign_record(ALICE.key, 1, {b"z": encode_string(bytes(140 + room))})
    assert len(longest.record_rlp) == MAX_RECORD_BYTES
    with pytest.raises(RecordInvalid, match="301 bytes"):
        sign_record(ALICE.key, 1, {b"z": encode_string(bytes(141 + room))})


@pytest.mark.parametrize(
    ("speaker", "host", "may"),
    [
        ("8.8.8.8", "9.9.9.9", True),
        ("8.8.8.8", "192.168.1.7", False),
        ("8.8.8.8", "127.0.0.1", False),
        ("8.8.8.8", "fd00::1", False),
        ("192.168.1.1", "192.168.1.7", True),
        ("192.168.1.1", "127.0.0.1", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "9.9.9.9", True),
        ("8.8.8.8", "0.0.0.0", False),
        ("127.0.0.1", "::", False),
        ("8.8.8.8", "224.0.0.1", False),
        ("8.8.8.8", "255.255.255.255", False),
        ("8.8.8.8", "", False),
    ],
)
def test_strangers_may_tell_of_the_internet_only(speaker, host, may):
    assert may_tell_of(speaker, host) is may


def test_a_neighbourhood_is_a_24_bit_prefix():
    assert subnet_of("203.0.113.7") == subnet_of("203.0.113.250") != subnet_of("203.0.114.7")
    assert kind_of("127.9.9.9").is_lan
    assert not kind_of("203.0.113.7").is_lan
