"""One peer connection from first byte to last, without I/O: bytes and time in, events and bytes out.

Spec: devp2p `rlpx.md`. The eth handshake that follows `Ready` is `eth_session`.
"""

from __future__ import annotations

from typing import assert_never

from services.peer_gateway.core.connection_config import ETH, ConnectionConfig, LocalNode
from services.peer_gateway.core.devp2p import (
    EMPTY_LIST,
    SNAPPY_P2P_VERSION,
    SUBPROTOCOL_OFFSET,
    BaseCode,
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
from services.peer_gateway.core.ecies import RandomBytes
from services.peer_gateway.core.events import Disconnected, EthMessage, Event, HandshakeDone, Ready
from services.peer_gateway.core.framing import Frame
from services.peer_gateway.core.message_pipe import MessagePipe
from services.peer_gateway.core.phases import Phase, Received, advance
from services.peer_gateway.core.rlpx_handshake import Initiator, Recipient
from services.shared.ethwire.disconnect_reason import DisconnectReason
from services.shared.ethwire.faults import PeerFault
from services.shared.ethwire.offences import Offence, reason_told
from services.shared.ethwire.types import PeerId

_BASE_MESSAGES = {
    BaseCode.HELLO: Received.HELLO,
    BaseCode.DISCONNECT: Received.DISCONNECT,
    BaseCode.PING: Received.PING,
    BaseCode.PONG: Received.PONG,
}


class InvalidIdentity(PeerFault):
    """A Hello whose node id is none."""

    offence = Offence.INVALID_IDENTITY

    def __init__(self, node_id: bytes) -> None:
        super().__init__(f"Hello gives {len(node_id)} bytes {node_id[:8].hex()}… as its node id")
        self.node_id = node_id


class UnexpectedIdentity(PeerFault):
    """A Hello that names another node than the one whose key did the encryption handshake."""

    offence = Offence.UNEXPECTED_IDENTITY

    def __init__(self, expected: PeerId, actual: bytes) -> None:
        super().__init__(f"Hello is from node {actual[:8].hex()}…, the handshake from {expected[:8].hex()}…")
        self.expected, self.actual = expected, actual


class NoCommonCapability(PeerFault):
    """No version of eth that both sides speak."""

    offence = Offence.NO_COMMON_CAPABILITY

    def __init__(self, theirs: tuple[Capability, ...]) -> None:
        super().__init__(f"no version of eth in common: the peer offers {', '.join(map(str, theirs)) or 'nothing'}")
        self.theirs = theirs


class ReadTimedOut(PeerFault):
    """Nothing complete came in time: no handshake, no Hello, or later no frame."""

    def __init__(self, phase: Phase, timeout_s: float) -> None:
        super().__init__(f"nothing complete came within {timeout_s:g} s in phase {phase.name}")
        self.phase, self.timeout_s = phase, timeout_s
        self.offence = Offence.READ_TIMEOUT if phase is Phase.OPEN else Offence.HANDSHAKE_TIMEOUT


class Connection:
    """The transport of one peer.

    The caller feeds `receive_data`, `receive_eof` and `on_wakeup` (due at `next_wakeup`), carries out the
    events, and after every call writes what `data_to_send` gives. Nothing a peer does escapes as an
    exception: it becomes a Disconnect message and the event `Disconnected`. That event is the last one;
    every call after it does nothing.
    """

    def __init__(
        self,
        local: LocalNode,
        remote_id: PeerId | None,
        random_bytes: RandomBytes,
        now: float,
        config: ConnectionConfig | None = None,
    ) -> None:
        """`remote_id` is whom we dialled, or None where we were dialled.

        Raises InvalidPublicKey when `remote_id` is not a public key.
        """
        self._local, self._config = local, config or ConnectionConfig()
        self._remote_id = remote_id
        self._to_send: list[bytes] = []
        self._handshake: Initiator | Recipient
        if remote_id is None:
            self._handshake, self._phase = Recipient(local.key, random_bytes), Phase.AUTH
        else:
            self._handshake, self._phase = Initiator(local.key, remote_id, random_bytes), Phase.ACK
            self._to_send.append(self._handshake.auth_packet)
        self._pipe: MessagePipe | None = None
        self._eth: SharedCapability | None = None
        self._read_deadline = now + self._config.handshake_timeout_s
        self._next_ping: float | None = None
        self._is_pong_queued = False
        self.hello: Hello | None = None
        """The peer's Hello once it came, also where it was refused."""

    @property
    def phase(self) -> Phase:
        return self._phase

    @property
    def is_closed(self) -> bool:
        """Whether `Disconnected` was given out."""
        return self._phase is Phase.CLOSED

    @property
    def remote_id(self) -> PeerId | None:
        """The peer: whom we dialled, or since `HandshakeDone` who dialled us."""
        return self._remote_id

    @property
    def is_compressed(self) -> bool:
        """Whether snappy is on, as it is once both Hellos said version 5 or more."""
        return self._pipe is not None and self._pipe.is_compressed

    def receive_data(self, received: bytes, now: float) -> list[Event]:
        """Take bytes of the socket, cut anywhere; gives what came of them, in order."""
        events: list[Event] = []
        try:
            if self._phase in (Phase.AUTH, Phase.ACK):
                received = self._receive_handshake(received, events)
            if self._pipe is None or self.is_closed:
                return events
            self._pipe.feed(received)
            while not self.is_closed and (message := self._pipe.next_message()) is not None:
                events += self._on_message(message, now)
        except PeerFault as fault:
            events += self.fail(fault)
        return events

    def receive_eof(self) -> list[Event]:
        """The peer closed its side, or the socket broke."""
        return self._close(
            Disconnected(None, False, f"the connection ended in phase {self._phase.name}", Offence.CONNECTION_LOST)
        )

    def send_message(self, code: int, payload: bytes) -> None:
        """Queue an eth message, `code` counted from the capability's first. Dropped once disconnected.

        Caller's duty: not before `Ready`. Raises ValueError for a code that the agreed version does not
        have, or when the message does not fit 24 bits.
        """
        if self.is_closed:
            return
        assert self._eth is not None, "eth messages wait for Ready"
        if not 0 <= code < self._eth.length:
            raise ValueError(f"eth/{self._eth.version} has no message code {code}")
        self._send(self._eth.offset + code, payload)

    def disconnect(self, offence: Offence, detail: str = "") -> list[Event]:
        """End the connection; the peer is told the offence's reason where the link is encrypted already."""
        reason = reason_told(offence)
        if self._pipe is not None and not self.is_closed:
            self._send(BaseCode.DISCONNECT, encode_disconnect(reason))
        return self._close(Disconnected(reason, True, detail or f"disconnected by us: {offence.name}", offence))

    def fail(self, fault: PeerFault) -> list[Event]:
        """End the connection for what the peer did."""
        return self.disconnect(fault.offence, f"{type(fault).__name__}: {fault}")

    def data_to_send(self) -> bytes:
        """The bytes queued since the last call. The last ones follow the event `Disconnected`."""
        queued = b"".join(self._to_send)
        self._to_send.clear()
        self._is_pong_queued = False
        return queued

    def next_wakeup(self) -> float | None:
        """Earliest time `on_wakeup` has work, or None once disconnected."""
        if self.is_closed:
            return None
        return self._read_deadline if self._next_ping is None else min(self._read_deadline, self._next_ping)

    def on_wakeup(self, now: float) -> list[Event]:
        """Time out, or send the Ping that is due."""
        if self.is_closed:
            return []
        if now >= self._read_deadline:
            is_open = self._phase is Phase.OPEN
            timeout_s = self._config.frame_timeout_s if is_open else self._config.handshake_timeout_s
            return self.fail(ReadTimedOut(self._phase, timeout_s))
        if self._next_ping is not None and now >= self._next_ping:
            self._send(BaseCode.PING, EMPTY_LIST)
            self._next_ping = now + self._config.ping_interval_s
        return []

    def _receive_handshake(self, received: bytes, events: list[Event]) -> bytes:
        """Feed the encryption handshake; gives back the bytes that came after it."""
        result = self._handshake.receive(received)
        if result is None:
            return b""
        self._phase = advance(self._phase, Received.AUTH if self._phase is Phase.AUTH else Received.ACK)
        self._remote_id = result.remote_id
        self._to_send.append(result.reply)
        self._pipe = MessagePipe(result.secrets)
        self._send(BaseCode.HELLO, encode_hello(self._local.hello()))
        events.append(HandshakeDone(result.remote_id))
        return result.surplus

    def _on_message(self, message: Frame, now: float) -> list[Event]:
        received = self._classify(message.code)
        following = advance(self._phase, received, message.code)
        match received:
            case Received.HELLO:
                events = self._on_hello(message.payload)
                self._next_ping = now + self._config.ping_interval_s
            case Received.DISCONNECT:
                return self._on_disconnect(message.payload)
            case Received.PING:
                self._answer_ping()
                events = []
            case Received.PONG | Received.RESERVED_CODE:
                events = []
            case Received.ETH_MESSAGE:
                assert self._eth is not None
                events = [EthMessage(message.code - self._eth.offset, message.payload)]
            case Received.AUTH | Received.ACK | Received.UNKNOWN_CODE:
                raise AssertionError(f"the table lets {received} through in {self._phase}")
            case _:
                assert_never(received)
        self._phase = following
        self._read_deadline = now + self._config.frame_timeout_s
        return events

    def _answer_ping(self) -> None:
        """One Pong answers all Pings until it is taken, so a flood of them does not become one of ours."""
        if not self._is_pong_queued:
            self._send(BaseCode.PONG, EMPTY_LIST)
            self._is_pong_queued = True

    def _classify(self, code: int) -> Received:
        if code < SUBPROTOCOL_OFFSET:
            return Received.RESERVED_CODE if code not in _BASE_MESSAGES else _BASE_MESSAGES[BaseCode(code)]
        if self._eth is not None and 0 <= code - self._eth.offset < self._eth.length:
            return Received.ETH_MESSAGE
        return Received.UNKNOWN_CODE

    def _on_hello(self, payload: bytes) -> list[Event]:
        """Judge the peer's Hello. Snappy comes first, since a Disconnect for what follows is compressed too."""
        hello = self.hello = decode_hello(payload)
        assert self._pipe is not None
        assert self._remote_id is not None
        lower_version = min(hello.version, self._local.p2p_version)
        self._pipe.hellos_exchanged(is_compressed=lower_version >= SNAPPY_P2P_VERSION)
        if len(hello.node_id) != len(self._remote_id) or not any(hello.node_id):
            raise InvalidIdentity(hello.node_id)
        if hello.node_id != self._remote_id:
            raise UnexpectedIdentity(self._remote_id, hello.node_id)
        for shared in negotiate(self._local.capabilities(), hello.capabilities):
            if shared.name == ETH:
                self._eth = shared
                return [Ready(hello, shared.version)]
        raise NoCommonCapability(hello.capabilities)

    def _on_disconnect(self, payload: bytes) -> list[Event]:
        reason = None
        try:
            number = decode_disconnect(payload)
            reason = DisconnectReason(number)
            detail = f"the peer left: {reason.name}"
        except MalformedBaseMessage as fault:
            detail = f"the peer left: {fault}"
        except ValueError:
            detail = f"the peer left with the unknown reason {number}"
        return self._close(Disconnected(reason, False, detail, Offence.LEFT))

    def _send(self, code: int, payload: bytes) -> None:
        assert self._pipe is not None
        self._to_send.append(self._pipe.encode(code, payload))

    def _close(self, end: Disconnected) -> list[Event]:
        if self.is_closed:
            return []
        self._phase = Phase.CLOSED
        return [end]
