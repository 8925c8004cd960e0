"""Every message code in every phase of both state machines, both versions, and after the end: all are decided."""

from __future__ import annotations

import random

import pytest

from services.peer_gateway.core.devp2p import BaseCode, encode_disconnect, encode_hello
from services.peer_gateway.core.eth_session import EthSession, NoStatusFirst, SecondStatus
from services.peer_gateway.core.events import EthMessage
from services.peer_gateway.core.phases import NEXT_PHASE, EthPhase, Phase, Received
from services.peer_gateway.core.snappy_codec import deflate
from services.shared.ethwire.disconnect_reason import DisconnectReason
from services.shared.ethwire.eth_messages import ETH_VERSIONS, UnknownMessageCode, decode_message, encode_message
from services.shared.ethwire.faults import PeerFault
from services.shared.ethwire.messages import MessageCode, Status
from services.shared.ethwire.offences import Offence, reason_told
from services.shared.ethwire.types import BlockHash
from tests.fuzz.eth_targets import sample_messages
from tests.support.wire import MALLORY, ScriptedPeer, answering, local_node, only_disconnect

ETH_OFFSET = 0x10
CODES = [*range(0x30), 0x7F, 0x80, 2**64 - 1]
NAMED = {code: Received[code.name] for code in BaseCode}


def peer_in(phase: Phase, version: int) -> ScriptedPeer:
    peer = ScriptedPeer(answering(), me=local_node("mallory", eth_versions=(version,)))
    if phase is Phase.OPEN:
        peer.say_hello()
    assert peer.target.phase is phase
    peer.events.clear()
    return peer


def received_of(code: int, phase: Phase, version: int) -> Received:
    """What the code is, by the protocols' own tables alone."""
    if code < ETH_OFFSET:
        return NAMED.get(code, Received.RESERVED_CODE)  # type: ignore[call-overload, no-any-return]
    is_agreed = phase is Phase.OPEN and code < ETH_OFFSET + ETH_VERSIONS[version].length
    return Received.ETH_MESSAGE if is_agreed else Received.UNKNOWN_CODE


def payload_of(code: int) -> bytes:
    if code == BaseCode.HELLO:
        return encode_hello(MALLORY.hello())
    return encode_disconnect(DisconnectReason.REQUESTED) if code == BaseCode.DISCONNECT else b"\xc0"


@pytest.mark.parametrize("version", ETH_VERSIONS)
@pytest.mark.parametrize("phase", [Phase.HELLO, Phase.OPEN])
@pytest.mark.parametrize("code", CODES)
def test_every_code_is_decided_by_the_table_in_both_encrypted_phases(phase, code, version):
    peer, received = peer_in(phase, version), received_of(code, phase, version)
    payload = payload_of(code)
    peer.send(code, deflate(payload) if phase is Phase.OPEN else payload)
    following = NEXT_PHASE.get((phase, received))
    if following is None:
        gone = only_disconnect(peer.events)
        assert (gone.by_us, gone.reason) == (True, DisconnectReason.BREACH_OF_PROTOCOL)
    else:
        assert peer.target.phase is following
    if received is Received.ETH_MESSAGE:
        assert peer.events == [EthMessage(code - ETH_OFFSET, b"\xc0")]


@pytest.mark.parametrize("begun_in", [Phase.HELLO, Phase.OPEN])
@pytest.mark.parametrize("code", CODES)
def test_no_code_does_anything_once_the_connection_is_over(begun_in, code):
    peer = peer_in(begun_in, 63)
    peer.target.disconnect(Offence.OPERATOR_REQUEST, "")
    peer.frames()
    assert peer.send(code, payload_of(code)) == []
    assert peer.target.on_wakeup(1e9) == peer.target.receive_eof() == []
    assert (peer.target.data_to_send(), peer.target.next_wakeup()) == (b"", None)
    assert peer.target.phase is Phase.CLOSED


@pytest.mark.parametrize("code", range(0x30))
def test_no_frame_is_read_before_the_encryption_handshake(code):
    bob = answering()
    events = bob.receive_data(bytes((code,)) + random.Random(code).randbytes(600), 0.0)
    if events:
        assert only_disconnect(events).reason is DisconnectReason.BREACH_OF_PROTOCOL
    assert bob.phase in (Phase.AUTH, Phase.CLOSED)
    assert bob.data_to_send() == b""


def session_in(phase: EthPhase, version: int) -> EthSession:
    ours = Status(version, 1, 17, BlockHash(bytes(32)), sample_status(version).genesis_hash)
    session = EthSession(version, ours, 0.0)
    if phase is EthPhase.READY:
        session.receive(*encode_message(version, sample_status(version)))
    return session


def sample_status(version: int) -> Status:
    status = sample_messages(version)[0]
    assert isinstance(status, Status)
    return status


@pytest.mark.parametrize("version", ETH_VERSIONS)
@pytest.mark.parametrize("phase", EthPhase)
@pytest.mark.parametrize("code", range(0x14))
def test_every_eth_code_is_decided_in_both_phases_of_the_session(phase, code, version):
    payloads = dict(encode_message(version, message) for message in sample_messages(version))
    session, payload = session_in(phase, version), payloads.get(code, b"\xc0")
    if phase is EthPhase.STATUS and code != MessageCode.STATUS:
        fault: type[PeerFault] | None = NoStatusFirst
    elif phase is EthPhase.READY and code == MessageCode.STATUS:
        fault = SecondStatus
    else:
        fault = None if code in ETH_VERSIONS[version].codecs else UnknownMessageCode
    if fault is None:
        assert session.receive(code, payload) == decode_message(version, code, payload)
        assert session.phase is EthPhase.READY
    else:
        with pytest.raises(fault) as raised:
            session.receive(code, payload)
        assert reason_told(raised.value.offence) is DisconnectReason.SUBPROTOCOL_ERROR
        assert session.phase is phase


def test_each_version_has_exactly_its_messages():
    assert sorted(ETH_VERSIONS[62].codecs) == list(range(8))
    assert sorted(ETH_VERSIONS[63].codecs) == [*range(8), 0x0D, 0x0E, 0x0F, 0x10]
    assert [ETH_VERSIONS[version].length for version in (62, 63)] == [8, 17]
