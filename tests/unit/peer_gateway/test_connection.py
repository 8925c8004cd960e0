from __future__ import annotations

import random

import pytest

from services.peer_gateway.core.connection import MESSAGES_AT_ONCE, Connection
from services.peer_gateway.core.connection_config import ConnectionConfig, LocalNode
from services.peer_gateway.core.devp2p import Capability
from services.peer_gateway.core.ecies import InvalidPublicKey, public_key_of
from services.peer_gateway.core.events import Disconnected, EthMessage, HandshakeDone, Ready
from services.peer_gateway.core.phases import Phase
from services.peer_gateway.core.rlpx_handshake import AckMessage, encode_ack, seal_eip8
from services.peer_gateway.core.snappy_codec import Payload, deflate
from services.shared.ethwire.faults import DisconnectReason
from services.shared.ethwire.offences import CONSEQUENCES, Offence
from services.shared.ethwire.types import PeerId
from tests.support.wire import (
    ALICE,
    BOB,
    MALLORY,
    Pair,
    answering,
    byte_by_byte,
    local_node,
    only_disconnect,
    random_cut,
    scripted_peer,
    whole,
)


def open_pair() -> Pair:
    """Alice and bob, connected, with nothing left to carry."""
    pair = Pair().settle()
    pair.alice_events.clear()
    pair.bob_events.clear()
    return pair


@pytest.mark.parametrize("cut", [whole, byte_by_byte, random_cut(1), random_cut(2, most=20)])
def test_two_nodes_become_ready_whatever_way_their_bytes_are_cut(cut):
    pair = Pair(cut=cut).settle()
    assert pair.alice_events == [HandshakeDone(BOB.node_id), Ready(BOB.hello(), 63)]
    assert pair.bob_events == [HandshakeDone(ALICE.node_id), Ready(ALICE.hello(), 63)]
    assert pair.alice.remote_id == BOB.node_id
    assert pair.bob.remote_id == ALICE.node_id


@pytest.mark.parametrize("cut", [whole, byte_by_byte, random_cut(1)])
def test_eth_messages_arrive_in_order_both_ways(cut):
    pair = Pair(cut=cut).settle()
    for code, payload in [(0, b"\xc0"), (16, bytes(500)), (4, b"")]:
        pair.alice.send_message(code, payload)
        pair.bob.send_message(code, payload + b"!")
    pair.settle()
    assert pair.bob_events[2:] == [EthMessage(0, b"\xc0"), EthMessage(16, bytes(500)), EthMessage(4, b"")]
    assert pair.alice_events[2:] == [EthMessage(0, b"\xc0!"), EthMessage(16, bytes(500) + b"!"), EthMessage(4, b"!")]


def test_a_peer_has_shown_its_key_once_a_frame_of_its_own_is_here():
    pair = Pair()
    assert not pair.alice.is_proven
    pair.settle()
    assert pair.alice.is_proven
    assert pair.bob.is_proven


def test_an_ack_that_anybody_can_make_does_not_show_the_key_of_who_was_dialled():
    numbers = random.Random(1).randbytes
    alice = Connection(ALICE, BOB.node_id, numbers, now=0.0)
    forged = encode_ack(AckMessage(MALLORY.node_id, bytes(32), 4))
    packet = seal_eip8(forged, public_key_of(ALICE.node_id), numbers)
    done, end = alice.receive_data(packet + bytes(64), now=0.0)
    assert done == HandshakeDone(BOB.node_id)
    assert isinstance(end, Disconnected)
    assert end.offence is Offence.FRAME_CORRUPT
    assert not alice.is_proven


def test_a_large_message_arrives():
    pair, payload = open_pair(), random.Random(3).randbytes(2 * 1024 * 1024)
    pair.alice.send_message(6, payload)
    assert pair.settle().bob_events == [EthMessage(6, payload)]


@pytest.mark.parametrize("ours", [4, 5])
@pytest.mark.parametrize("theirs", [4, 5, 6])
def test_snappy_is_on_when_both_sides_have_p2p_version_5(ours, theirs):
    pair = Pair(local_node("alice", p2p_version=ours), local_node("bob", p2p_version=theirs)).settle()
    assert pair.alice.is_compressed == pair.bob.is_compressed == (ours >= 5 and theirs >= 5)
    pair.alice.send_message(2, bytes(10_000))
    is_small = len(sent := pair.alice.data_to_send()) < 1000
    assert is_small == pair.alice.is_compressed
    assert pair.bob.receive_data(sent, 0.0) == [EthMessage(2, bytes(10_000))]
    assert only_disconnect(pair.bob.disconnect(Offence.SHUTDOWN)).by_us
    assert only_disconnect(pair.settle().alice_events).reason is DisconnectReason.CLIENT_QUITTING


@pytest.mark.parametrize(
    ("ours", "theirs", "agreed"), [((62, 63), (62, 63), 63), ((62, 63), (62,), 62), ((63,), (62, 63), 63)]
)
def test_the_highest_common_eth_version_is_agreed(ours, theirs, agreed):
    pair = Pair(local_node("alice", eth_versions=ours), local_node("bob", eth_versions=theirs)).settle()
    assert [event.eth_version for event in pair.alice_events + pair.bob_events if isinstance(event, Ready)] == [
        agreed,
        agreed,
    ]


def test_both_sides_leave_as_useless_when_they_share_no_eth_version():
    pair = Pair(local_node("alice", eth_versions=(62,)), local_node("bob", eth_versions=(63,))).settle()
    assert only_disconnect(pair.alice_events).reason is DisconnectReason.USELESS_PEER
    assert only_disconnect(pair.bob_events).reason is DisconnectReason.USELESS_PEER


def test_the_capabilities_offered_are_those_of_the_hello():
    assert BOB.hello().capabilities == (Capability("eth", 62), Capability("eth", 63))


def test_a_message_of_a_version_not_agreed_on_cannot_be_sent():
    pair = Pair(bob=local_node("bob", eth_versions=(62,))).settle()
    with pytest.raises(ValueError, match="eth/62"):
        pair.alice.send_message(8, b"")


@pytest.mark.parametrize("offence", [offence for offence, row in CONSEQUENCES.items() if row.reason is not None])
def test_the_reason_for_an_offence_reaches_the_other_side(offence):
    pair = open_pair()
    reason = CONSEQUENCES[offence].reason
    assert pair.alice.disconnect(offence, "why") == [Disconnected(reason, True, "why", offence)]
    arrived = only_disconnect(pair.settle().bob_events)
    assert (arrived.reason, arrived.by_us, arrived.offence) == (reason, False, Offence.LEFT)
    assert pair.alice.is_closed
    assert pair.bob.is_closed


def test_events_before_a_disconnect_are_not_lost():
    pair = open_pair()
    pair.alice.send_message(1, b"\xc0")
    pair.alice.disconnect(Offence.OPERATOR_REQUEST)
    events = pair.settle().bob_events
    assert events[0] == EthMessage(1, b"\xc0")
    assert only_disconnect(events).reason is DisconnectReason.REQUESTED


def test_a_disconnected_connection_does_nothing_more():
    pair = open_pair()
    pair.bob.send_message(1, b"\xc0")
    late = pair.bob.data_to_send()
    pair.alice.disconnect(Offence.TOO_MANY_PEERS)
    assert pair.alice.data_to_send()
    pair.alice.send_message(1, b"\xc0")
    assert pair.alice.receive_data(late, 1.0) == []
    assert pair.alice.receive_eof() == []
    assert pair.alice.on_wakeup(1000.0) == []
    assert pair.alice.disconnect(Offence.OPERATOR_REQUEST) == []
    assert pair.alice.next_wakeup() is None
    assert pair.alice.data_to_send() == b""


def test_a_disconnect_before_the_link_is_encrypted_sends_nothing():
    bob = answering()
    assert only_disconnect(bob.disconnect(Offence.SHUTDOWN)).by_us
    assert bob.data_to_send() == b""


@pytest.mark.parametrize("phase", [Phase.AUTH, Phase.ACK, Phase.HELLO, Phase.OPEN])
def test_the_end_of_the_socket_is_the_end_of_the_connection(phase):
    pair = Pair()
    if phase is Phase.HELLO:
        pair.bob.receive_data(pair.alice.data_to_send(), 0.0)
    elif phase is Phase.OPEN:
        pair.settle()
    connection = pair.alice if phase is Phase.ACK else pair.bob
    assert connection.phase is phase
    gone = only_disconnect(connection.receive_eof())
    assert (gone.reason, gone.by_us) == (None, False)
    assert phase.words in gone.detail


@pytest.mark.parametrize("phase", [Phase.AUTH, Phase.ACK, Phase.HELLO])
def test_the_handshake_times_out_after_5_s_in_all(phase):
    pair = Pair()
    if phase is Phase.HELLO:
        pair.bob.receive_data(pair.alice.data_to_send(), 4.0)
    connection = pair.alice if phase is Phase.ACK else pair.bob
    assert connection.phase is phase
    assert connection.next_wakeup() == 5.0
    assert connection.on_wakeup(4.99) == []
    gone = only_disconnect(connection.on_wakeup(5.0))
    assert (gone.reason, gone.by_us) == (DisconnectReason.READ_TIMEOUT, True)


def test_a_silent_peer_is_pinged_and_then_left():
    pair = open_pair()
    assert pair.alice.next_wakeup() == 15.0
    assert pair.alice.on_wakeup(14.9) == []
    assert pair.alice.data_to_send() == b""
    assert pair.alice.on_wakeup(15.0) == []
    assert pair.alice.data_to_send()
    assert pair.alice.next_wakeup() == 30.0
    gone = only_disconnect(pair.alice.on_wakeup(30.0))
    assert (gone.reason, gone.by_us) == (DisconnectReason.READ_TIMEOUT, True)
    assert pair.alice.data_to_send()


def test_a_pong_keeps_an_idle_peer():
    pair = open_pair()
    for _ in range(10):
        pair.now += 15.0
        assert pair.alice.on_wakeup(pair.now) == []
        pair.settle()
    assert pair.alice_events == pair.bob_events == []
    assert pair.alice.next_wakeup() == pair.now + 15.0


def test_part_of_a_frame_does_not_count_as_one():
    pair = open_pair()
    pair.bob.send_message(1, bytes(100))
    sent = pair.bob.data_to_send()
    for index, byte in enumerate(byte_by_byte(sent[:-1])):
        pair.alice.receive_data(byte, index / 10)
    assert only_disconnect(pair.alice.on_wakeup(30.0)).reason is DisconnectReason.READ_TIMEOUT


def test_times_are_those_of_the_config():
    config = ConnectionConfig(handshake_timeout_s=0.5, frame_timeout_s=0.3, ping_interval_s=0.1)
    pair = Pair(config=config)
    assert pair.bob.next_wakeup() == 0.5
    assert pair.settle().bob.next_wakeup() == 0.1
    assert only_disconnect(pair.bob.on_wakeup(0.3)).reason is DisconnectReason.READ_TIMEOUT


@pytest.mark.parametrize(
    "times",
    [{"handshake_timeout_s": 0}, {"ping_interval_s": 0}, {"ping_interval_s": 30.0}, {"frame_timeout_s": 10.0}],
)
def test_times_that_make_no_sense_are_refused(times):
    with pytest.raises(ValueError, match="_s="):
        ConnectionConfig(**times)


@pytest.mark.parametrize("changes", [{"eth_versions": ()}, {"eth_versions": (61, 63)}, {"client_name": "x" * 257}])
def test_a_local_node_that_cannot_introduce_itself_is_refused(changes):
    with pytest.raises(ValueError, match=r"eth_versions|client_name"):
        LocalNode(**{"key": ALICE.key, "client_name": "", "listen_port": 0, **changes})


def test_another_node_at_the_address_dialled_cannot_answer():
    alice = Connection(ALICE, BOB.node_id, random.Random(1).randbytes, 0.0)
    mallory = Connection(MALLORY, None, random.Random(2).randbytes, 0.0)
    assert only_disconnect(mallory.receive_data(alice.data_to_send(), 0.0)).by_us
    assert mallory.data_to_send() == b""
    assert only_disconnect(alice.receive_eof()).reason is None


def test_garbage_in_place_of_an_ack_ends_the_dial():
    alice = Connection(ALICE, BOB.node_id, random.Random(1).randbytes, 0.0)
    assert alice.data_to_send()
    gone = only_disconnect(alice.receive_data(bytes(600), 0.0))
    assert (gone.reason, gone.by_us) == (DisconnectReason.BREACH_OF_PROTOCOL, True)
    assert alice.data_to_send() == b""


def test_a_node_id_that_is_no_key_cannot_be_dialled():
    with pytest.raises(InvalidPublicKey):
        Connection(ALICE, PeerId(bytes(64)), random.Random(1).randbytes, 0.0)


def test_a_message_over_24_bits_cannot_be_sent():
    with pytest.raises(ValueError, match="24-bit"):
        open_pair().alice.send_message(1, bytes(2**24))


def test_time_in_which_the_socket_is_not_read_is_not_held_against_the_peer():
    bob = scripted_peer(Phase.OPEN).target
    bob.on_reading_paused(10.0)
    for now in (15.0, 30.0, 45.0, 70.0, 300.0):
        assert bob.on_wakeup(now) == []
        bob.data_to_send()
    bob.on_reading_resumed(300.0)
    assert bob.on_wakeup(319.9) == [], "10 s of 30 were over when reading paused"
    gone = only_disconnect(bob.on_wakeup(320.0))
    assert gone.reason is DisconnectReason.READ_TIMEOUT


def test_a_peer_is_pinged_while_its_socket_is_not_read():
    bob = scripted_peer(Phase.OPEN).target
    bob.data_to_send()
    bob.on_reading_paused(1.0)
    assert bob.next_wakeup() == 15.0
    bob.on_wakeup(15.0)
    assert bob.data_to_send() != b""


def test_a_pause_begun_twice_counts_from_the_first_and_a_resume_without_one_is_nothing():
    bob = scripted_peer(Phase.OPEN).target
    bob.on_reading_resumed(5.0)
    bob.on_reading_paused(10.0)
    bob.on_reading_paused(20.0)
    bob.on_reading_resumed(30.0)
    bob.on_reading_resumed(40.0)
    bob.on_wakeup(49.9)
    assert not bob.is_closed
    bob.on_wakeup(50.0)
    assert bob.is_closed


def test_a_flood_of_messages_in_one_read_is_worked_on_in_slices():
    peer = scripted_peer(Phase.OPEN)
    flood = b"".join(peer.writer.encode(0x10, deflate(b"\xc0")) for _ in range(2 * MESSAGES_AT_ONCE + 5))
    bob = peer.target
    assert len(bob.receive_data(flood, 0.0)) == MESSAGES_AT_ONCE
    assert bob.has_unread
    assert len(bob.receive_data(b"", 0.0)) == MESSAGES_AT_ONCE
    assert len(bob.receive_data(peer.writer.encode(0x10, deflate(b"\xc0")), 0.0)) == 6
    assert not bob.has_unread


def test_a_payload_for_many_peers_is_the_same_bytes_to_each():
    payload = Payload(b"\xc0" * 300)
    for settings in ({}, {"p2p_version": 4}):
        pair = Pair(local_node("alice", **settings)).settle()
        pair.bob.send_message(2, payload)
        pair.settle()
        assert pair.alice_events[-1] == EthMessage(2, b"\xc0" * 300)
