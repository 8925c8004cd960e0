from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from services.peer_gateway.core.connection import Connection
from services.peer_gateway.core.devp2p import BaseCode
from services.peer_gateway.core.eth_session import EthSession
from services.peer_gateway.core.events import Disconnected, Event
from services.peer_gateway.core.events import EthMessage as Arrived
from services.peer_gateway.core.phases import Phase
from services.peer_gateway.core.snappy_codec import deflate
from services.shared.ethwire.eth_messages import encode_message
from services.shared.ethwire.faults import DisconnectReason, PeerFault
from services.shared.ethwire.messages import EthMessage, Status
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import BlockHash
from tests.fuzz.eth_targets import sample_messages
from tests.support.wire import ALICE, BOB, Cut, Pair, answering, local_node, random_cut, scripted_peer, whole

MESSAGES = st.lists(
    st.tuples(st.sampled_from(["alice", "bob"]), st.integers(0, 7), st.binary(max_size=400)), max_size=6
)
VERSIONS = st.sampled_from([4, 5])
OURS = Status(63, 1, 17, BlockHash(b"\x0a" * 32), BlockHash(b"\x0b" * 32))
REASONS_FOR_GARBAGE = {
    DisconnectReason.BREACH_OF_PROTOCOL,
    DisconnectReason.SUBPROTOCOL_ERROR,
    DisconnectReason.INVALID_IDENTITY,
    DisconnectReason.UNEXPECTED_IDENTITY,
    DisconnectReason.USELESS_PEER,
}


def conversation(cut: Cut, alice_version: int, bob_version: int, messages) -> tuple[list[Event], list[Event]]:
    """What both sides see of the same messages, sent over a link that cuts its bytes with `cut`."""
    alice, bob = local_node("alice", p2p_version=alice_version), local_node("bob", p2p_version=bob_version)
    pair = Pair(alice, bob, cut=cut).settle()
    for sender, code, payload in messages:
        (pair.alice if sender == "alice" else pair.bob).send_message(code, payload)
    pair.settle()
    pair.alice.disconnect(Offence.SHUTDOWN)
    pair.settle()
    return pair.alice_events, pair.bob_events


@settings(max_examples=40, deadline=None)
@given(st.integers(), st.integers(1, 300), VERSIONS, VERSIONS, MESSAGES)
def test_any_cut_gives_the_same_events(seed, most, alice_version, bob_version, messages):
    expected = conversation(whole, alice_version, bob_version, messages)
    assert conversation(random_cut(seed, most), alice_version, bob_version, messages) == expected


def assert_documented(connection: Connection, events: list[Event]) -> None:
    """Accepted, or ended once with a documented reason."""
    ends = [event for event in events if isinstance(event, Disconnected)]
    assert connection.is_closed == bool(ends)
    if ends:
        assert events[-1:] == ends
        assert not ends[0].by_us or ends[0].reason in REASONS_FOR_GARBAGE


@settings(max_examples=150, deadline=None)
@given(st.binary(min_size=300, max_size=900), st.booleans(), st.integers())
def test_any_bytes_in_place_of_the_handshake_are_documented(garbage, is_initiator, seed):
    remote_id = BOB.node_id if is_initiator else None
    connection = Connection(ALICE, remote_id, random.Random(seed).randbytes, 0.0)
    events: list[Event] = []
    for piece in random_cut(seed)(garbage):
        events += connection.receive_data(piece, 0.0)
    assert_documented(connection, events)


@settings(max_examples=60, deadline=None)
@given(st.integers(), st.data())
def test_a_changed_handshake_packet_is_documented(seed, choose):
    initiator = Connection(ALICE, BOB.node_id, random.Random(seed).randbytes, 0.0)
    packet = bytearray(initiator.data_to_send())
    packet[choose.draw(st.integers(0, len(packet) - 1))] ^= choose.draw(st.integers(1, 255))
    bob = answering()
    assert_documented(bob, bob.receive_data(bytes(packet), 0.0))
    assert bob.phase in (Phase.AUTH, Phase.CLOSED)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from([Phase.HELLO, Phase.OPEN]), st.binary(max_size=300))
def test_any_bytes_on_an_encrypted_link_are_documented(phase, garbage):
    peer = scripted_peer(phase)
    peer.send_bytes(garbage)
    assert_documented(peer.target, peer.events)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([Phase.HELLO, Phase.OPEN]), st.integers(0, 300), st.binary(max_size=200), st.booleans())
def test_any_message_is_documented(phase, code, payload, is_compressed):
    peer = scripted_peer(phase)
    peer.send(code, deflate(payload) if is_compressed else payload)
    assert_documented(peer.target, peer.events)


@given(st.lists(st.tuples(st.integers(0, 20), st.binary(max_size=200)), max_size=5), st.booleans())
def test_any_eth_messages_decode_or_are_a_documented_fault(messages, is_ready):
    session = EthSession(63, OURS, 0.0)
    if is_ready:
        session.receive(*encode_message(63, OURS))
    reasons = set()
    for code, payload in messages:
        try:
            session.receive(code, payload)
        except PeerFault as fault:
            reasons.add(fault.disconnect_reason)
    assert reasons <= {DisconnectReason.SUBPROTOCOL_ERROR}


CODES = st.lists(st.tuples(st.sampled_from(["alice", "bob"]), st.integers(0, 10)), max_size=12)


@settings(max_examples=40, deadline=None)
@given(st.integers(), st.integers(1, 300), VERSIONS, st.sampled_from([62, 63]), CODES)
def test_any_order_of_messages_reaches_both_sessions_as_it_was_sent(seed, most, p2p_version, version, order):
    sides = {
        name: local_node(name, p2p_version=p2p_version, eth_versions=(62, version) if name == "alice" else (version,))
        for name in ("alice", "bob")
    }
    pair = Pair(sides["alice"], sides["bob"], cut=random_cut(seed, most)).settle()
    status, *messages = sample_messages(version)
    assert isinstance(status, Status)
    sent: dict[str, list[EthMessage]] = {"alice": [status], "bob": [status]}
    for sender in sent:
        (pair.alice if sender == "alice" else pair.bob).send_message(*encode_message(version, status))
    for sender, number in order:
        message = messages[number % len(messages)]
        (pair.alice if sender == "alice" else pair.bob).send_message(*encode_message(version, message))
        sent[sender].append(message)
    pair.settle()
    for sender, events in (("alice", pair.bob_events), ("bob", pair.alice_events)):
        session = EthSession(version, status, 0.0)
        arrived = [session.receive(event.code, event.payload) for event in events if isinstance(event, Arrived)]
        assert arrived == sent[sender]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 40), st.sampled_from(["pause", "resume", "ping", "wake"])), max_size=12))
def test_a_peer_has_its_whole_time_however_often_we_stop_reading(steps):
    peer = scripted_peer(Phase.OPEN)
    now = heard_for = 0.0
    is_paused = False
    for seconds, step in steps:
        now += seconds
        heard_for += 0.0 if is_paused else seconds
        if step == "pause":
            peer.target.on_reading_paused(now)
            is_paused = True
        elif step == "resume":
            peer.target.on_reading_resumed(now)
            is_paused = False
        elif step == "ping" and not peer.target.is_closed and not is_paused:
            peer.send(BaseCode.PING, deflate(b"\xc0"), now)
            heard_for = 0.0
        elif not is_paused:
            was_closed = peer.target.is_closed
            peer.target.on_wakeup(now)
            if not was_closed and abs(heard_for - 30.0) > 1e-6:
                assert peer.target.is_closed == (heard_for > 30.0)
