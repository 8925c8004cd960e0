"""One peer connection from first byte to last, without I/O: bytes and time in, events and bytes out.

Spec: devp2p `rlpx.md`. The eth handshake that follows `Ready` is `eth_session`.
"""

from __future__ import annotations

from typing import Final, assert_never

from services.peer_gateway.core.connection_config import ETH, ConnectionConfig, LocalNode
from services.peer_gateway.core.connection_faults import (
    InvalidIdentity,
    NoCommonCapability,
    ReadTimedOut,
    UnexpectedIdentity,
)
from services.peer_gateway.core.devp2p import (
    EMPTY_LIST,
    SNAPPY_P2P_VERSION,
    SUBPROTOCOL_OFFSET,
    BaseCode,
    Hello,
    SharedCapability,
    decode_hello,
    encode_disconnect,
    encode_hello,
    negotiate,
    read_goodbye,
)
from services.peer_gateway.core.ecies import RandomBytes
from services.peer_gateway.core.events import Disconnected, EthMessage, Event, HandshakeDone, Ready
from services.peer_gateway.core.framing import Frame
from services.peer_gateway.core.link_timers import LinkTimers
from services.peer_gateway.core.message_pipe import MessagePipe
from services.peer_gateway.core.phases import Phase, Received, advance
from services.peer_gateway.core.rlpx_handshake import Initiator, Recipient
from services.peer_gateway.core.snappy_codec import Payload
from services.shared.ethwire.faults import PeerFault
from services.shared.ethwire.offences import Offence, reason_told
from services.shared.ethwire.types import PeerId

_BASE_MESSAGES = {
    BaseCode.HELLO: Received.HELLO,
    BaseCode.DISCONNECT: Received.DISCONNECT,
    BaseCode.PING: Received.PING,
    BaseCode.PONG: Received.PONG,
}


MESSAGES_AT_ONCE: Final = 256
"""Messages worked on in one call, about 3 ms of the smallest: a flood of thousands in one read is cut up."""


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
        self._timers = LinkTimers(self._config, now)
        self._is_pong_queued = False
        self._has_unread = False
        self.hello: Hello | None = None
        self.fault: PeerFault | None = None
        """The peer's Hello once it came, also where it was refused; and what it did, where that was the end."""
        self.pongs = 0

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
    def is_proven(self) -> bool:
        """Whether the peer has the key of `remote_id`. Not at `HandshakeDone` yet: anybody can send an auth or an
        ack in another's name, and only lacks what its frames need."""
        return self._pipe is not None and self._pipe.is_proven

    @property
    def is_compressed(self) -> bool:
        """Whether snappy is on, as it is once both Hellos said version 5 or more."""
        return self._pipe is not None and self._pipe.is_compressed

    @property
    def has_unread(self) -> bool:
        """Whether bytes were taken that may hold more messages: the caller goes on with `receive_data(b"", now)`."""
        return self._has_unread and not self.is_closed

    def receive_data(self, received: bytes, now: float) -> list[Event]:
        """Take bytes of the socket, cut anywhere; gives what came of them, in order.

        At most `MESSAGES_AT_ONCE` messages are worked on, see `has_unread`.
        """
        events: list[Event] = []
        self._has_unread = False
        try:
            if self._phase in (Phase.AUTH, Phase.ACK):
                received = self._receive_handshake(received, events)
            if self._pipe is None or self.is_closed:
                return events
            self._pipe.feed(received)
            for _ in range(MESSAGES_AT_ONCE):
                if self.is_closed or (message := self._pipe.next_message()) is None:
                    break
                events += self._on_message(message, now)
            else:
                self._has_unread = True
        except PeerFault as fault:
            events += self.fail(fault)
        return events

    def receive_eof(self) -> list[Event]:
        """The peer closed its side, or the socket broke."""
        return self._close(
            Disconnected(
                None, False, f"the connection ended {self._phase.words}, without a goodbye", Offence.CONNECTION_LOST
            )
        )

    def send_message(self, code: int, payload: bytes | Payload) -> None:
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

    def send_ping(self) -> None:
        """Ask for a Pong; `pongs` counts them. Caller's duty: not before `Ready`, nor once disconnected."""
        self._send(BaseCode.PING, EMPTY_LIST)

    def disconnect(self, offence: Offence, detail: str = "") -> list[Event]:
        """End the connection; the peer is told the offence's reason where the link is encrypted already."""
        reason = reason_told(offence)
        if self._pipe is not None and not self.is_closed:
            self._send(BaseCode.DISCONNECT, encode_disconnect(reason))
        return self._close(Disconnected(reason, True, detail or f"disconnected by us: {offence.name}", offence))

    def fail(self, fault: PeerFault) -> list[Event]:
        """End the connection for what the peer did."""
        if not self.is_closed:
            self.fault = fault
        return self.disconnect(fault.offence, f"{type(fault).__name__}: {fault}")

    def data_to_send(self) -> bytes:
        """The bytes queued since the last call. The last ones follow the event `Disconnected`."""
        queued = b"".join(self._to_send)
        self._to_send.clear()
        self._is_pong_queued = False
        return queued

    def on_reading_paused(self, now: float) -> None:
        """From here on the caller does not read the socket: the peer's time stands still."""
        self._timers.on_paused(now)

    def on_reading_resumed(self, now: float) -> None:
        """The caller reads again: the time in which it did not is not the peer's."""
        self._timers.on_resumed(now)

    def next_wakeup(self) -> float | None:
        """Earliest time `on_wakeup` has work; None once disconnected, or when there is nothing to wait for."""
        return None if self.is_closed else self._timers.next_wakeup()

    def on_wakeup(self, now: float) -> list[Event]:
        """Time out, or send the Ping that is due."""
        if self.is_closed:
            return []
        if self._timers.is_silent(now):
            is_open = self._phase is Phase.OPEN
            timeout_s = self._config.frame_timeout_s if is_open else self._config.handshake_timeout_s
            return self.fail(ReadTimedOut(self._phase, timeout_s))
        if self._timers.take_ping(now):
            self._send(BaseCode.PING, EMPTY_LIST)
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
                self._timers.start_pings(now)
            case Received.DISCONNECT:
                return self._on_disconnect(message.payload)
            case Received.PING:
                self._answer_ping()
                events = []
            case Received.PONG:
                self.pongs += 1
                events = []
            case Received.RESERVED_CODE:
                events = []
            case Received.ETH_MESSAGE:
                assert self._eth is not None
                events = [EthMessage(message.code - self._eth.offset, message.payload)]
            case Received.AUTH | Received.ACK | Received.UNKNOWN_CODE:
                raise AssertionError(f"the table lets {received} through in {self._phase}")
            case _:
                assert_never(received)
        self._phase = following
        self._timers.on_frame(now)
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
        reason, detail = read_goodbye(payload)
        return self._close(Disconnected(reason, False, detail, Offence.LEFT))

    def _send(self, code: int, payload: bytes | Payload) -> None:
        assert self._pipe is not None
        self._to_send.append(self._pipe.encode(code, payload))

    def _close(self, end: Disconnected) -> list[Event]:
        if self.is_closed:
            return []
        self._phase = Phase.CLOSED
        return [end]
