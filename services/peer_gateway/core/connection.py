"""One peer connection from first byte to last, without I/O: bytes and time in, events and bytes out.

Spec: devp2p `rlpx.md`. The eth handshake that follows `Ready` is `eth_session`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, assert_never

from coincurve import PrivateKey

from services.peer_gateway.core import devp2p, snappy_codec
from services.peer_gateway.core.devp2p import BaseCode, Capability, Hello, SharedCapability
from services.peer_gateway.core.ecies import RandomBytes, node_id_of
from services.peer_gateway.core.events import Disconnected, EthMessage, Event, HandshakeDone, Ready
from services.peer_gateway.core.framing import CODE_BYTES, Frame, FrameLimit, FrameReader, FrameWriter
from services.peer_gateway.core.penalties import REASON_OF, Cause
from services.peer_gateway.core.phases import Phase, Received, advance
from services.peer_gateway.core.rlpx_handshake import HandshakeResult, Initiator, Recipient
from services.shared.ethwire.eth_messages import ETH_VERSIONS, MessageTooLarge
from services.shared.ethwire.faults import DisconnectReason, PeerFault
from services.shared.ethwire.limits import MAX_ETH_MESSAGE_BYTES
from services.shared.ethwire.types import PeerId

ETH: Final = "eth"

HELLO_FRAME_LIMIT: Final = FrameLimit(
    CODE_BYTES + devp2p.MAX_BASE_MESSAGE_BYTES, REASON_OF[Cause.BASE_PROTOCOL_BROKEN]
)
"""Before Hello is over only base messages may come, so a stranger cannot make us hold more."""

OPEN_FRAME_LIMIT: Final = FrameLimit(
    CODE_BYTES + MAX_ETH_MESSAGE_BYTES + MAX_ETH_MESSAGE_BYTES // 6 + 32, REASON_OF[Cause.ETH_MESSAGE_OVERSIZED]
)
"""The largest eth message, grown by as much as snappy can make incompressible bytes grow."""


class InvalidIdentity(PeerFault):
    disconnect_reason = REASON_OF[Cause.INVALID_IDENTITY]

    def __init__(self, node_id: bytes) -> None:
        super().__init__(f"Hello gives no node id but {len(node_id)} bytes {node_id[:8].hex()}…")
        self.node_id = node_id


class UnexpectedIdentity(PeerFault):
    """The Hello names another node than the one whose key did the encryption handshake."""

    disconnect_reason = REASON_OF[Cause.UNEXPECTED_IDENTITY]

    def __init__(self, expected: PeerId, actual: bytes) -> None:
        super().__init__(f"Hello is from node {actual[:8].hex()}…, the handshake from {expected[:8].hex()}…")
        self.expected, self.actual = expected, actual


class NoCommonCapability(PeerFault):
    disconnect_reason = REASON_OF[Cause.NO_COMMON_CAPABILITY]

    def __init__(self, theirs: tuple[Capability, ...]) -> None:
        super().__init__(f"no version of eth in common: the peer offers {', '.join(map(str, theirs)) or 'nothing'}")
        self.theirs = theirs


class ReadTimedOut(PeerFault):
    disconnect_reason = REASON_OF[Cause.READ_TIMEOUT]

    def __init__(self, phase: Phase, timeout_s: float) -> None:
        super().__init__(f"nothing complete came within {timeout_s:g} s in phase {phase.name}")
        self.phase, self.timeout_s = phase, timeout_s


class BaseMessageTooLarge(PeerFault):
    disconnect_reason = REASON_OF[Cause.BASE_PROTOCOL_BROKEN]

    def __init__(self, code: int, size_bytes: int) -> None:
        super().__init__(f"base message 0x{code:02x} of {size_bytes} bytes is over {devp2p.MAX_BASE_MESSAGE_BYTES}")
        self.code, self.size_bytes = code, size_bytes


class UndecodableEthMessage(PeerFault):
    """An eth message that is not a snappy block."""

    disconnect_reason = REASON_OF[Cause.ETH_MESSAGE_UNDECODABLE]


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectionConfig:
    """Times of one connection; the defaults are geth's."""

    handshake_timeout_s: float = 5.0
    """For the encryption handshake and Hello together."""

    frame_timeout_s: float = 30.0
    """For each frame to arrive whole. Two pings fit, so a live peer always has something to send."""

    ping_interval_s: float = 15.0
    """How often we ask for a sign of life."""

    def __post_init__(self) -> None:
        if not 0 < self.handshake_timeout_s:
            raise ValueError(f"handshake_timeout_s={self.handshake_timeout_s} is not positive")
        if not 0 < self.ping_interval_s < self.frame_timeout_s:
            raise ValueError(
                f"ping_interval_s={self.ping_interval_s} is not between 0 and frame_timeout_s={self.frame_timeout_s}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalNode:
    """What we are to every peer."""

    key: PrivateKey
    client_name: str
    listen_port: int
    p2p_version: int = devp2p.P2P_VERSION
    eth_versions: tuple[int, ...] = (62, 63)
    """Versions offered; each must be in `ETH_VERSIONS`."""

    def __post_init__(self) -> None:
        if not self.eth_versions or not set(self.eth_versions) <= ETH_VERSIONS.keys():
            raise ValueError(f"eth_versions={self.eth_versions} are not all in {sorted(ETH_VERSIONS)}")
        if len(self.client_name.encode()) > 256:
            raise ValueError("client_name is longer than 256 bytes, which may not fit a Hello")

    @property
    def node_id(self) -> PeerId:
        return node_id_of(self.key.public_key)

    def capabilities(self) -> Mapping[Capability, int]:
        """What we offer, with the number of message codes each takes."""
        return {Capability(ETH, version): ETH_VERSIONS[version].length for version in self.eth_versions}

    def hello(self) -> Hello:
        return Hello(
            self.p2p_version, self.client_name, tuple(self.capabilities()), self.listen_port, self.node_id
        )


class Connection:
    """The transport of one peer.

    The caller feeds `receive_data`, `receive_eof` and `on_wakeup` (due at `next_wakeup`), carries out the
    events, and after every call writes what `data_to_send` gives. Nothing a peer does escapes as an
    exception: it becomes a Disconnect message and the event `Disconnected`, which is the last one; all
    calls after it do nothing.
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
        self.peer_id = remote_id
        self._local, self._config = local, config or ConnectionConfig()
        self._handshake: Initiator | Recipient
        self._to_send: list[bytes] = []
        if remote_id is None:
            self._handshake, self._phase = Recipient(local.key, random_bytes), Phase.AUTH
        else:
            self._handshake, self._phase = Initiator(local.key, remote_id, random_bytes), Phase.ACK
            self._to_send.append(self._handshake.auth_packet)
        self._reader: FrameReader | None = None
        self._writer: FrameWriter | None = None
        self._is_compressed = False
        self._eth: SharedCapability | None = None
        self._read_deadline = now + self._config.handshake_timeout_s
        self._next_ping: float | None = None

    @property
    def phase(self) -> Phase:
        return self._phase

    @property
    def is_compressed(self) -> bool:
        """Whether snappy is on, as it is once both Hellos gave version 5 or more."""
        return self._is_compressed

    def receive_data(self, received: bytes, now: float) -> list[Event]:
        """What came of the next bytes of the socket."""
        events: list[Event] = []
        try:
            if self._phase in (Phase.AUTH, Phase.ACK):
                received = self._receive_handshake(received, events)
            if self._reader is None or not received:
                return events
            self._reader.feed(received)
            while self._phase is not Phase.CLOSED and (frame := self._reader.next_frame()) is not None:
                self._read_deadline = now + self._read_timeout_s()
                events += self._on_frame(frame, now)
        except PeerFault as fault:
            events += self.fail(fault)
        return events

    def receive_eof(self) -> list[Event]:
        """The peer closed its side, or the socket broke."""
        return self._close(None, by_us=False, detail=f"the connection was closed in phase {self._phase.name}")

    def send_message(self, code: int, payload: bytes) -> None:
        """Queue an eth message. Only between `Ready` and `Disconnected`; after that it is dropped.

        Raises ValueError for a code the agreed version does not have and for a message over the 24-bit size.
        """
        if self._phase is Phase.CLOSED:
            return
        assert self._eth is not None, "eth messages wait for Ready"
        if not 0 <= code < self._eth.length:
            raise ValueError(f"eth/{self._eth.version} has no message code {code}")
        if len(payload) > snappy_codec.MAX_MESSAGE_BYTES:
            raise ValueError(f"a message of {len(payload)} bytes does not fit the 24-bit size")
        self._write(self._eth.offset + code, payload)

    def disconnect(self, reason: DisconnectReason, detail: str = "") -> list[Event]:
        """End the connection for `reason`, told to the peer if it can be."""
        if self._phase is not Phase.CLOSED and self._writer is not None:
            self._write(BaseCode.DISCONNECT, devp2p.encode_disconnect(reason))
        return self._close(reason, by_us=True, detail=detail or reason.name.lower().replace("_", " "))

    def fail(self, fault: PeerFault) -> list[Event]:
        """End the connection for something the peer did."""
        return self.disconnect(fault.disconnect_reason, f"{type(fault).__name__}: {fault}")

    def data_to_send(self) -> bytes:
        """All bytes queued since the last call."""
        queued = b"".join(self._to_send)
        self._to_send.clear()
        return queued

    def next_wakeup(self) -> float | None:
        """Earliest time `on_wakeup` has work, or None."""
        if self._phase is Phase.CLOSED:
            return None
        return self._read_deadline if self._next_ping is None else min(self._read_deadline, self._next_ping)

    def on_wakeup(self, now: float) -> list[Event]:
        if self._phase is Phase.CLOSED:
            return []
        if now >= self._read_deadline:
            return self.fail(ReadTimedOut(self._phase, self._read_timeout_s()))
        if self._next_ping is not None and now >= self._next_ping:
            self._write(BaseCode.PING, devp2p.EMPTY_LIST)
            self._next_ping = now + self._config.ping_interval_s
        return []

    def _read_timeout_s(self) -> float:
        return self._config.frame_timeout_s if self._phase is Phase.OPEN else self._config.handshake_timeout_s

    def _receive_handshake(self, received: bytes, events: list[Event]) -> bytes:
        """Feed the encryption handshake; gives back what came after it."""
        result = self._handshake.receive(received)
        if result is None:
            return b""
        self._phase = advance(self._phase, Received.AUTH if self._phase is Phase.AUTH else Received.ACK)
        self._start_frames(result)
        events.append(HandshakeDone(result.remote_id))
        return result.surplus

    def _start_frames(self, result: HandshakeResult) -> None:
        self.peer_id = result.remote_id
        self._to_send.append(result.reply)
        self._reader = FrameReader(result.secrets, HELLO_FRAME_LIMIT)
        self._writer = FrameWriter(result.secrets)
        self._write(BaseCode.HELLO, devp2p.encode_hello(self._local.hello()))

    def _on_frame(self, frame: Frame, now: float) -> Iterator[Event]:
        received = self._classify(frame.code)
        following = advance(self._phase, received, frame.code)
        match received:
            case Received.HELLO:
                yield self._on_hello(devp2p.decode_hello(self._content(frame)), now)
                self._phase = following
            case Received.DISCONNECT:
                yield from self._on_disconnect(frame)
            case Received.PING:
                self._content(frame)
                self._write(BaseCode.PONG, devp2p.EMPTY_LIST)
            case Received.PONG | Received.RESERVED_CODE:
                self._content(frame)
            case Received.ETH_MESSAGE:
                assert self._eth is not None
                yield EthMessage(frame.code - self._eth.offset, self._content(frame))
            case Received.AUTH | Received.ACK | Received.UNKNOWN_CODE:
                raise AssertionError(f"{received} passed the table in {self._phase}")
            case _:
                assert_never(received)
