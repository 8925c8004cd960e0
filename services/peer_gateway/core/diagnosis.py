"""One dial of one peer, told step by step: what `trisync doctor` does, without I/O.

It goes the way of every peer (`connection`, then `eth_session`), and further: a Ping, the header of the
peer's head, and that of the DAO fork block where the chain has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, assert_never

from services.peer_gateway.core.chain_names import ExpectedChain
from services.peer_gateway.core.connection import Connection
from services.peer_gateway.core.connection_config import ConnectionConfig, LocalNode
from services.peer_gateway.core.connection_faults import InvalidIdentity, UnexpectedIdentity
from services.peer_gateway.core.ecies import RandomBytes
from services.peer_gateway.core.events import Disconnected, EthMessage, Event, HandshakeDone, Ready
from services.peer_gateway.core.findings import (
    Chains,
    Finding,
    Garbage,
    listed,
    of_disconnect,
    of_fault,
    of_hangup,
    of_unreachable,
)
from services.peer_gateway.core.interview import DoctorLimits, Interview
from services.peer_gateway.core.narration import Narration
from services.peer_gateway.core.shown_text import shown
from services.peer_gateway.core.verdicts import SHOWN_CHARACTERS, Report, Step, StepName, Unreachable, Verdict
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.faults import PeerFault
from services.shared.ethwire.offences import Offence

QUOTED_BYTES: Final = 40
"""As much as is kept of what came instead of a handshake."""

NEVER_S: Final = 1e9
"""For the connection's own later deadlines: each step has one here that is sooner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial:
    """Whom to dial, as whom, and what to expect there."""

    local: LocalNode
    node: Enode
    expected: ExpectedChain | None = None
    """None: whatever chain the peer is on."""
    limits: DoctorLimits = field(default_factory=DoctorLimits)


class Diagnosis:
    """Time and bytes in; the caller takes `take_steps` and `data_to_send` after each call.

    Order of calls: `start`; `resolved` where a name had to be; then `unreachable`, or `connected` and what
    happens on the socket, `on_wakeup` being due at `next_wakeup`. Once there is a `report` it is over: what
    is left is sent, and the socket closed. Nothing a peer does escapes as an exception.
    """

    def __init__(self, dial: Dial, random_bytes: RandomBytes) -> None:
        self._dial, self._random_bytes = dial, random_bytes
        self._connection: Connection | None = None
        self._interview: Interview | None = None
        self._garbage = Garbage(b"", 0)
        self._tell = Narration()

    @property
    def report(self) -> Report | None:
        """Set once it is over."""
        return self._tell.report

    def take_steps(self) -> Sequence[Step]:
        """The steps that ended since the last call."""
        return self._tell.take_steps()

    def start(self, now: float) -> None:
        self._tell.began = now

    def resolved(self, addresses: Sequence[str], now: float) -> None:
        """These are the addresses of the host's name."""
        self._tell.done(f"{self._dial.node.host} is {', '.join(addresses)}", now, then=StepName.TCP)

    def unreachable(self, problem: Unreachable, where: str, detail: str, now: float) -> None:
        """There is no TCP connection to `where`; `detail` is the system's word for it."""
        self._tell.stage = StepName.RESOLVE if problem is Unreachable.NOT_RESOLVED else StepName.TCP
        self._tell.end(of_unreachable(problem, where, detail, self._dial.limits.dial_s), now)

    def connected(self, address: str, now: float) -> None:
        """The socket is open."""
        tell, handshake_s = self._tell, self._dial.limits.handshake_s
        tell.stage, tell.facts = StepName.TCP, replace(tell.facts, address=address)
        tell.done(f"connected to {address}", now, then=StepName.RLPX)
        config = ConnectionConfig(handshake_timeout_s=handshake_s, frame_timeout_s=2 * NEVER_S, ping_interval_s=NEVER_S)
        self._connection = Connection(self._dial.local, self._dial.node.node_id, self._random_bytes, now, config)

    def receive_data(self, received: bytes, now: float) -> None:
        if self._connection is None or self.report is not None:
            return
        if self._tell.stage is StepName.RLPX:
            start = (self._garbage.first_bytes + received)[:QUOTED_BYTES]
            self._garbage = Garbage(start, self._garbage.size_bytes + len(received))
        self._carry(self._connection, self._connection.receive_data(received, now), now)
        while self._connection.has_unread and self.report is None:
            self._carry(self._connection, self._connection.receive_data(b"", now), now)

    def receive_eof(self, now: float) -> None:
        """The peer closed its side, or the socket broke."""
        if self._connection is not None and self.report is None:
            self._connection.receive_eof()
            self._tell.end(of_hangup(self._tell.stage, self._garbage), now)

    def interrupt(self, now: float) -> None:
        """Whoever asked does not want to wait any longer."""
        if self.report is None:
            if self._connection is not None:
                self._connection.disconnect(Offence.SHUTDOWN)
            self._tell.end(Finding(Verdict.INTERRUPTED, f"interrupted in the step {self._tell.stage}"), now)

    def data_to_send(self) -> bytes:
        return b"" if self._connection is None else self._connection.data_to_send()

    def next_wakeup(self) -> float | None:
        """Earliest time `on_wakeup` has work, or None; the time for the TCP connection is the caller's to keep."""
        if self.report is not None or self._connection is None:
            return None
        return self._connection.next_wakeup() if self._interview is None else self._interview.deadline

    def on_wakeup(self, now: float) -> None:
        """Give up what took too long."""
        if self._connection is None or self.report is not None:
            return
        if self._interview is None:
            self._carry(self._connection, self._connection.on_wakeup(now), now)
        elif now >= self._interview.deadline:
            try:
                self._interview.on_late(now)
            except PeerFault as fault:
                self._fail(self._connection, fault, now)

    def _carry(self, connection: Connection, events: Sequence[Event], now: float) -> None:
        for event in events:
            if self.report is not None:
                return
            match event:
                case HandshakeDone():
                    self._tell.done("the link is encrypted; the node has the key of the URL", now, then=StepName.HELLO)
                case Ready():
                    self._on_ready(connection, event, now)
                case EthMessage(code, payload):
                    self._on_eth(connection, code, payload, now)
                case Disconnected():
                    self._on_disconnected(connection, event, now)
                case _:
                    assert_never(event)
        if self._interview is not None and connection.pongs and self.report is None:
            self._interview.receive_pong(now)

    def _on_ready(self, connection: Connection, ready: Ready, now: float) -> None:
        self._note_hello(connection, now)
        tell, dial = self._tell, self._dial
        tell.facts = replace(tell.facts, eth_version=ready.eth_version)
        theirs, ours = listed(ready.hello.capabilities), listed(dial.local.capabilities())
        text = f"it offers {theirs}; we offer {ours}; agreed is eth/{ready.eth_version}"
        tell.done(text, now, then=StepName.STATUS)
        self._interview = Interview(connection, tell, dial.expected, dial.limits)

    def _note_hello(self, connection: Connection, now: float) -> None:
        """Tell of the Hello, also where it is what ended the connection."""
        hello, tell = connection.hello, self._tell
        if hello is None or tell.stage is not StepName.HELLO:
            return
        tell.facts = replace(
            tell.facts,
            client_name=shown(hello.client_name, SHOWN_CHARACTERS),
            p2p_version=hello.version,
            snappy=connection.is_compressed,
            capabilities=tuple(shown(str(capability), SHOWN_CHARACTERS) for capability in hello.capabilities),
        )
        if not isinstance(connection.fault, UnexpectedIdentity | InvalidIdentity):
            snappy = "on" if connection.is_compressed else "off"
            text = (
                f"client {shown(hello.client_name, SHOWN_CHARACTERS)!r}, p2p version {hello.version}, snappy {snappy}"
            )
            tell.done(text, now, then=StepName.CAPABILITIES)

    def _on_eth(self, connection: Connection, code: int, payload: bytes, now: float) -> None:
        assert self._interview is not None, "eth messages come after Ready"
        try:
            self._interview.receive(code, payload, now)
        except PeerFault as fault:
            self._fail(connection, fault, now)

    def _fail(self, connection: Connection, fault: PeerFault, now: float) -> None:
        connection.fail(fault)
        self._end_for(fault, now)

    def _on_disconnected(self, connection: Connection, event: Disconnected, now: float) -> None:
        self._note_hello(connection, now)
        if event.by_us:
            assert connection.fault is not None, "whatever else we end is over already"
            self._end_for(connection.fault, now)
            return
        tell, reason = self._tell, None if event.reason is None else event.reason.name.lower()
        tell.facts = replace(tell.facts, disconnect_reason=reason or shown(event.detail, SHOWN_CHARACTERS))
        tell.end(of_disconnect(event.reason, event.detail, tell.stage), now)

    def _end_for(self, fault: PeerFault, now: float) -> None:
        status = None if self._interview is None else self._interview.status
        self._tell.end(of_fault(fault, self._tell.stage, self._garbage, Chains(status, self._dial.expected)), now)
