from __future__ import annotations

from typing import Any

import pytest

from services.peer_gateway.core.eth_session import (
    EthSession,
    GenesisMismatch,
    NetworkIdMismatch,
    NoStatusFirst,
    ProtocolVersionMismatch,
    SecondStatus,
    StatusRefused,
    StatusTimedOut,
    StatusTooLarge,
)
from services.peer_gateway.core.phases import NEXT_ETH_PHASE, EthPhase, EthReceived
from services.shared.ethwire.eth_messages import MessageTooLarge, UnknownMessageCode, decode_message, encode_message
from services.shared.ethwire.faults import DisconnectReason, MalformedMessage, PeerFault
from services.shared.ethwire.limits import MAX_ETH_MESSAGE_BYTES
from services.shared.ethwire.messages import BlockHeaders, MessageCode, Status
from services.shared.ethwire.types import BlockHash

OURS = Status(63, 1, 17_179_869_184, BlockHash(b"\x0a" * 32), BlockHash(b"\x0b" * 32))
THEIRS = OURS._replace(total_difficulty=2**70, head_hash=BlockHash(b"\x0c" * 32))
NO_HEADERS = encode_message(63, BlockHeaders([]))


def waiting(version: int = 63) -> EthSession:
    return EthSession(version, OURS, now=10.0)


def ready() -> EthSession:
    session = waiting()
    session.receive(*encode_message(63, THEIRS))
    return session


@pytest.mark.parametrize("version", [62, 63])
def test_our_status_is_there_at_once_and_theirs_is_accepted(version):
    session = waiting(version)
    code, payload = session.opening
    assert code == MessageCode.STATUS
    assert decode_message(version, code, payload) == OURS._replace(protocol_version=version)
    theirs = THEIRS._replace(protocol_version=version)
    assert session.receive(*encode_message(version, theirs)) == theirs
    assert session.phase is EthPhase.READY


def test_messages_are_decoded_after_the_handshake():
    assert ready().receive(*NO_HEADERS) == BlockHeaders([])


@pytest.mark.parametrize(
    ("theirs", "fault"),
    [
        (THEIRS._replace(genesis_hash=BlockHash(bytes(32))), GenesisMismatch),
        (THEIRS._replace(network_id=2), NetworkIdMismatch),
        (THEIRS._replace(protocol_version=62), ProtocolVersionMismatch),
        (THEIRS._replace(genesis_hash=BlockHash(bytes(32)), network_id=2, protocol_version=62), GenesisMismatch),
        (THEIRS._replace(network_id=2, protocol_version=62), NetworkIdMismatch),
    ],
)
def test_a_status_of_another_chain_is_refused(theirs, fault: Any):
    session = waiting()
    with pytest.raises(fault) as raised:
        session.receive(*encode_message(63, theirs))
    assert issubclass(fault, StatusRefused)
    assert raised.value.disconnect_reason is DisconnectReason.SUBPROTOCOL_ERROR
    assert raised.value.theirs != raised.value.ours
    assert session.phase is EthPhase.STATUS


@pytest.mark.parametrize("phase", EthPhase)
@pytest.mark.parametrize("received", EthReceived)
def test_every_phase_and_message_pair_is_decided(phase, received):
    session = waiting() if phase is EthPhase.STATUS else ready()
    code, payload = encode_message(63, THEIRS) if received is EthReceived.STATUS else NO_HEADERS
    if (phase, received) in NEXT_ETH_PHASE:
        session.receive(code, payload)
        assert session.phase is NEXT_ETH_PHASE[phase, received]
    else:
        with pytest.raises(NoStatusFirst if phase is EthPhase.STATUS else SecondStatus) as raised:
            session.receive(code, payload)
        assert raised.value.disconnect_reason is DisconnectReason.SUBPROTOCOL_ERROR


def test_a_status_over_the_message_limit_is_refused():
    with pytest.raises(StatusTooLarge) as raised:
        waiting().receive(MessageCode.STATUS, bytes(MAX_ETH_MESSAGE_BYTES + 1))
    assert raised.value.size_bytes == MAX_ETH_MESSAGE_BYTES + 1


@pytest.mark.parametrize(
    ("code", "payload", "fault"),
    [
        (MessageCode.BLOCK_HEADERS, b"\xff", MalformedMessage),
        (0x08, b"\xc0", UnknownMessageCode),
        (MessageCode.BLOCK_BODIES, bytes(MAX_ETH_MESSAGE_BYTES + 1), MessageTooLarge),
    ],
)
def test_a_bad_message_after_the_handshake_is_a_subprotocol_error(code, payload, fault):
    with pytest.raises(fault) as raised:
        ready().receive(code, payload)
    assert raised.value.disconnect_reason is DisconnectReason.SUBPROTOCOL_ERROR


@pytest.mark.parametrize("payload", [b"", b"\xc0", b"\xff" * 10, encode_message(63, THEIRS)[1][:-1]])
def test_a_status_that_does_not_decode_is_refused(payload):
    with pytest.raises(PeerFault) as raised:
        waiting().receive(MessageCode.STATUS, payload)
    assert raised.value.disconnect_reason is DisconnectReason.SUBPROTOCOL_ERROR


def test_the_handshake_times_out_after_5_s():
    session = waiting()
    assert session.next_wakeup() == 15.0
    session.on_wakeup(14.9)
    with pytest.raises(StatusTimedOut) as raised:
        session.on_wakeup(15.0)
    assert raised.value.disconnect_reason is DisconnectReason.READ_TIMEOUT


def test_nothing_times_out_after_the_handshake():
    session = ready()
    assert session.next_wakeup() is None
    session.on_wakeup(1000.0)
