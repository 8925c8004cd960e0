"""What bad input on the wire gets: a documented reason, told to the peer, and one last event."""

from __future__ import annotations

import dataclasses
import random

import pytest
import rlp

from services.peer_gateway.core.devp2p import BaseCode, Capability, encode_disconnect
from services.peer_gateway.core.events import EthMessage, Ready
from services.peer_gateway.core.message_pipe import OPEN_FRAME_LIMIT
from services.peer_gateway.core.phases import NEXT_PHASE, Phase, Received
from services.peer_gateway.core.snappy_codec import deflate
from services.shared.ethwire.faults import DisconnectReason
from services.shared.ethwire.limits import MAX_ETH_MESSAGE_BYTES
from tests.support.wire import ALICE, MALLORY, ScriptedPeer, answering, local_node, only_disconnect, scripted_peer

BREACH = DisconnectReason.BREACH_OF_PROTOCOL
SUBPROTOCOL = DisconnectReason.SUBPROTOCOL_ERROR
ETH_CODE, BEYOND_ETH_63 = 0x10, 0x21
BOMB = b"\xff\xff\xff\x07" + b"\xfe\x01\x00" * 10
"""Declares 16 MiB - 1."""

CODES = {
    Received.HELLO: 0x00,
    Received.DISCONNECT: 0x01,
    Received.PING: 0x02,
    Received.PONG: 0x03,
    Received.RESERVED_CODE: 0x0F,
    Received.ETH_MESSAGE: ETH_CODE,
    Received.UNKNOWN_CODE: BEYOND_ETH_63,
}


def assert_left(peer: ScriptedPeer, reason: DisconnectReason) -> None:
    """Bob left for `reason`, and said so."""
    gone = only_disconnect(peer.events)
    assert (gone.reason, gone.by_us) == (reason, True)
    assert peer.disconnect_reason() is reason
    assert peer.target.is_closed


@pytest.mark.parametrize("phase", [Phase.HELLO, Phase.OPEN])
@pytest.mark.parametrize("received", CODES)
def test_a_message_its_phase_does_not_allow_is_a_breach(phase, received):
    peer = scripted_peer(phase)
    payload = b"\xc0" if phase is Phase.HELLO else deflate(b"\xc0")
    peer.send(CODES[received], payload if received is not Received.HELLO else b"\xc0")
    if (phase, received) not in NEXT_PHASE:
        assert_left(peer, BREACH)
    elif received not in (Received.HELLO, Received.DISCONNECT):
        assert not peer.target.is_closed


@pytest.mark.parametrize("code", [BEYOND_ETH_63, 0x22, 0x7F, 0x80, 2**64 - 1])
def test_a_code_beyond_the_agreed_length_is_a_breach(code):
    peer = scripted_peer(Phase.OPEN)
    peer.send(code, deflate(b"\xc0"))
    assert_left(peer, BREACH)


def test_a_code_of_eth_63_is_a_breach_when_eth_62_is_agreed():
    peer = ScriptedPeer(answering(), me=local_node("mallory", eth_versions=(62,)))
    peer.say_hello()
    assert isinstance(peer.send(0x17, deflate(b"\xc0"))[0], EthMessage)
    peer.send(0x18, deflate(b"\xc0"))
    assert_left(peer, BREACH)


def test_a_ping_is_answered_with_a_pong():
    peer = scripted_peer(Phase.OPEN)
    peer.frames()
    assert peer.send(BaseCode.PING, deflate(b"\xc0")) == []
    assert [frame.code for frame in peer.frames()] == [BaseCode.PONG]


def test_a_flood_of_pings_is_answered_with_one_pong_at_a_time():
    peer = scripted_peer(Phase.OPEN)
    peer.frames()
    for _ in range(2):
        assert peer.send_bytes(b"".join(peer.writer.encode(BaseCode.PING, deflate(b"\xc0")) for _ in range(100))) == []
        assert [frame.code for frame in peer.frames()] == [BaseCode.PONG]


@pytest.mark.parametrize("payload", [b"", b"\xc0", b"\xff" * 40, rlp.encode([5, b"", [], 0])])
def test_garbage_in_place_of_a_hello_is_a_breach(payload):
    peer = scripted_peer(Phase.HELLO)
    peer.send(BaseCode.HELLO, payload)
    assert_left(peer, BREACH)


@pytest.mark.parametrize("node_id", [b"", bytes(64), b"\x01" * 63, b"\x01" * 65])
def test_a_hello_without_a_node_id_has_an_invalid_identity(node_id):
    peer = scripted_peer(Phase.HELLO)
    peer.say_hello(dataclasses.replace(MALLORY.hello(), node_id=node_id))
    assert_left(peer, DisconnectReason.INVALID_IDENTITY)


def test_a_hello_in_anothers_name_has_an_unexpected_identity():
    peer = scripted_peer(Phase.HELLO)
    peer.say_hello(dataclasses.replace(MALLORY.hello(), node_id=ALICE.node_id))
    assert_left(peer, DisconnectReason.UNEXPECTED_IDENTITY)


@pytest.mark.parametrize("capabilities", [(), (Capability("eth", 64),), (Capability("les", 63),)])
def test_a_hello_without_our_capabilities_is_useless(capabilities):
    peer = scripted_peer(Phase.HELLO)
    peer.say_hello(dataclasses.replace(MALLORY.hello(), capabilities=capabilities))
    assert_left(peer, DisconnectReason.USELESS_PEER)


@pytest.mark.parametrize("version", [0, 3, 4, 5, 6, 2**63])
def test_any_p2p_version_is_welcome(version):
    peer = scripted_peer(Phase.HELLO)
    events = peer.say_hello(dataclasses.replace(MALLORY.hello(), version=version))
    assert isinstance(events[0], Ready)
    assert peer.target.is_compressed == (version >= 5)


def test_a_large_frame_before_hello_is_a_breach_from_its_header_on():
    peer = scripted_peer(Phase.HELLO)
    peer.send_bytes(peer.writer.encode(BaseCode.HELLO, bytes(3000))[:32])
    assert_left(peer, BREACH)


@pytest.mark.parametrize("p2p_version", [4, 5])
def test_an_oversized_frame_is_refused_from_its_header_on(p2p_version):
    peer = ScriptedPeer(answering(), me=local_node("mallory", p2p_version=p2p_version))
    peer.say_hello()
    peer.send_bytes(peer.writer.encode(ETH_CODE, bytes(OPEN_FRAME_LIMIT.size_bytes))[:32])
    assert_left(peer, SUBPROTOCOL)


def test_an_uncompressed_eth_message_over_10_mib_is_refused():
    peer = ScriptedPeer(answering(), me=local_node("mallory", p2p_version=4))
    peer.say_hello()
    assert peer.send(ETH_CODE + 6, bytes(MAX_ETH_MESSAGE_BYTES)) == [EthMessage(6, bytes(MAX_ETH_MESSAGE_BYTES))]
    peer.send(ETH_CODE + 6, bytes(MAX_ETH_MESSAGE_BYTES + 1))
    assert_left(peer, SUBPROTOCOL)


def test_a_compressed_eth_message_over_10_mib_is_refused():
    peer = scripted_peer(Phase.OPEN)
    assert peer.send(ETH_CODE + 6, deflate(bytes(MAX_ETH_MESSAGE_BYTES))) == [
        EthMessage(6, bytes(MAX_ETH_MESSAGE_BYTES))
    ]
    peer.send(ETH_CODE + 6, deflate(bytes(MAX_ETH_MESSAGE_BYTES + 1)))
    assert_left(peer, SUBPROTOCOL)


def test_a_snappy_bomb_is_refused():
    peer = scripted_peer(Phase.OPEN)
    peer.send(ETH_CODE + 4, BOMB)
    assert_left(peer, SUBPROTOCOL)


@pytest.mark.parametrize("payload", [b"", b"\xff" * 30, b"\x05\x00"])
def test_an_eth_message_that_is_no_snappy_block_is_refused(payload):
    peer = scripted_peer(Phase.OPEN)
    peer.send(ETH_CODE + 4, payload)
    assert_left(peer, SUBPROTOCOL)


@pytest.mark.parametrize("payload", [deflate(bytes(2049)), BOMB, b"\xff" * 30])
@pytest.mark.parametrize("code", [BaseCode.PING, BaseCode.PONG, 0x0F])
def test_a_base_message_too_large_or_corrupt_is_a_breach(code, payload):
    peer = scripted_peer(Phase.OPEN)
    peer.send(code, payload)
    assert_left(peer, BREACH)


@pytest.mark.parametrize(("phase", "is_compressed"), [(Phase.HELLO, False), (Phase.OPEN, False), (Phase.OPEN, True)])
@pytest.mark.parametrize("reason", DisconnectReason)
def test_a_disconnect_is_read_plain_and_after_hello_also_compressed(phase, is_compressed, reason):
    for payload in (encode_disconnect(reason), rlp.encode(int(reason))):
        peer = scripted_peer(phase)
        gone = only_disconnect(peer.send(BaseCode.DISCONNECT, deflate(payload) if is_compressed else payload))
        assert (gone.reason, gone.by_us) == (reason, False)
        assert peer.disconnect_reason() is None


@pytest.mark.parametrize("payload", [b"\xc1\x0c", b"\x63", b"\xf8", b"\xc1\xc0"])
def test_a_disconnect_without_a_known_reason_is_one_all_the_same(payload):
    gone = only_disconnect(scripted_peer(Phase.OPEN).send(BaseCode.DISCONNECT, payload))
    assert (gone.reason, gone.by_us) == (None, False)


@pytest.mark.parametrize("phase", [Phase.HELLO, Phase.OPEN])
@pytest.mark.parametrize("position", [0, 20, 40, -1])
def test_a_frame_changed_on_its_way_is_a_breach(phase, position):
    peer = scripted_peer(phase)
    sent = bytearray(peer.writer.encode(BaseCode.PING, b"\xc0"))
    sent[position] ^= 0xFF
    peer.send_bytes(bytes(sent))
    assert_left(peer, BREACH)


@pytest.mark.parametrize("phase", [Phase.HELLO, Phase.OPEN])
def test_garbage_on_an_encrypted_link_is_a_breach(phase):
    peer = scripted_peer(phase)
    peer.send_bytes(random.Random(1).randbytes(500))
    assert_left(peer, BREACH)


@pytest.mark.parametrize("garbage", [bytes(600), b"\x04" * 600, b"GET / HTTP/1.1\r\n" * 40])
def test_garbage_in_place_of_an_auth_ends_without_a_word(garbage):
    bob = answering()
    events = bob.receive_data(garbage, 0.0)
    if not events:
        events = bob.on_wakeup(5.0)
    gone = only_disconnect(events)
    assert gone.by_us
    assert gone.reason in (BREACH, DisconnectReason.READ_TIMEOUT)
    assert bob.data_to_send() == b""


def test_messages_before_a_fault_in_the_same_bytes_are_not_lost():
    peer = scripted_peer(Phase.OPEN)
    sent = peer.writer.encode(ETH_CODE, deflate(b"\xc0")) + bytes(64)
    events = peer.send_bytes(sent)
    assert events[0] == EthMessage(0, b"\xc0")
    assert only_disconnect(events).reason is BREACH
