from __future__ import annotations

import pytest
import rlp

from services.peer_gateway.core.devp2p import (
    Capability,
    Hello,
    MalformedBaseMessage,
    SharedCapability,
    decode_disconnect,
    decode_hello,
    encode_disconnect,
    encode_hello,
    negotiate,
)
from services.shared.ethwire.faults import DisconnectReason
from tests.support.vectors import from_hex, load_vectors
from tests.support.wire import ALICE

HELLO_VECTORS = [load_vectors("rlpx/eip8-hello.json")]
FIELDS = [5, b"client", [[b"eth", 63]], 30303, bytes(ALICE.node_id)]


@pytest.mark.parametrize("vector", HELLO_VECTORS)
def test_the_published_hello_with_further_items_decodes(vector):
    hello = decode_hello(from_hex(vector["hello"]))
    assert hello.version == vector["version"]
    assert hello.capabilities == tuple(Capability(name, version) for name, version in vector["capabilities"])
    assert len(hello.node_id) == 64


def test_a_hello_is_what_the_rlp_package_makes_of_it():
    hello = Hello(5, "client", (Capability("eth", 63),), 30303, ALICE.node_id)
    assert encode_hello(hello) == rlp.encode(FIELDS)
    assert decode_hello(rlp.encode(FIELDS)) == hello


def test_a_hello_lists_its_capabilities_in_order():
    hello = Hello(5, "", (Capability("les", 1), Capability("eth", 63), Capability("eth", 62)), 0, b"")
    assert decode_hello(encode_hello(hello)).capabilities == tuple(sorted(hello.capabilities))


def test_bytes_after_a_hello_are_ignored():
    assert decode_hello(rlp.encode(FIELDS) + b"\x01") == decode_hello(rlp.encode(FIELDS))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x80",
        b"\xc0",
        rlp.encode(FIELDS)[:-1],
        rlp.encode(FIELDS[:4]),
        rlp.encode([[5], *FIELDS[1:]]),
        rlp.encode([b"\0\5", *FIELDS[1:]]),
        rlp.encode([*FIELDS[:2], b"eth", *FIELDS[3:]]),
        rlp.encode([*FIELDS[:2], [[b"eth"]], *FIELDS[3:]]),
        rlp.encode([*FIELDS[:2], [[b"eth", 63, 1]], *FIELDS[3:]]),
        rlp.encode([*FIELDS[:3], 2**64, FIELDS[4]]),
    ],
)
def test_a_malformed_hello_is_refused(payload):
    with pytest.raises(MalformedBaseMessage):
        decode_hello(payload)


@pytest.mark.parametrize("reason", DisconnectReason)
def test_a_disconnect_reason_is_read_in_every_form(reason):
    assert decode_disconnect(encode_disconnect(reason)) == reason
    assert decode_disconnect(rlp.encode([int(reason)])) == reason
    assert decode_disconnect(rlp.encode(int(reason))) == reason
    assert decode_disconnect(bytes((reason,))) == reason
    assert decode_disconnect(rlp.encode([int(reason), b"more"])) == reason


@pytest.mark.parametrize("payload", [b"", b"\xc0"])
def test_a_disconnect_without_reason_counts_as_requested(payload):
    assert decode_disconnect(payload) == DisconnectReason.REQUESTED


@pytest.mark.parametrize("payload", [b"\xc1", b"\xc2\x81\x04", b"\xf8", b"\xc1\xc0"])
def test_a_malformed_disconnect_is_refused(payload):
    with pytest.raises(MalformedBaseMessage):
        decode_disconnect(payload)


ETH62, ETH63, LES1, BZZ = Capability("eth", 62), Capability("eth", 63), Capability("les", 1), Capability("bzz", 0)


@pytest.mark.parametrize(
    ("ours", "theirs", "shared"),
    [
        ({ETH62: 8, ETH63: 17}, [ETH62, ETH63], [SharedCapability("eth", 63, 0x10, 17)]),
        ({ETH62: 8, ETH63: 17}, [ETH63, ETH62, Capability("eth", 64)], [SharedCapability("eth", 63, 0x10, 17)]),
        ({ETH62: 8, ETH63: 17}, [ETH62], [SharedCapability("eth", 62, 0x10, 8)]),
        ({ETH62: 8}, [ETH63], []),
        ({ETH62: 8}, [], []),
        ({ETH62: 8}, [Capability("ETH", 62), LES1], []),
        (
            {LES1: 20, ETH62: 8, ETH63: 17, BZZ: 2},
            [LES1, ETH62, ETH63, BZZ, ETH63],
            [
                SharedCapability("bzz", 0, 0x10, 2),
                SharedCapability("eth", 63, 0x12, 17),
                SharedCapability("les", 1, 0x23, 20),
            ],
        ),
    ],
)
def test_the_highest_common_version_of_each_name_is_shared(ours, theirs, shared):
    assert negotiate(ours, theirs) == shared
