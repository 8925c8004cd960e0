"""One peer's socket: carries a `Connection` over TCP, and owns its timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol, cast

from services.peer_gateway.core.connection import Connection
from services.peer_gateway.core.events import Disconnected, Event
from services.peer_gateway.metrics import GatewayMetrics
from services.shared.ethwire.faults import PeerFault
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import PeerId

WRITE_BUFFER_BYTES: Final = 1024 * 1024
"""Unsent bytes over which a peer counts as slow: nothing is written for it until it has read most of them.
A reply is at most 2 MiB, so a peer holds about 3 MiB of our memory."""

SLOW_PEER_BYTES: Final = 4 * 1024 * 1024
"""Unsent bytes over which even small messages are refused, and nothing more is read, since what is read may
have to be answered: a peer this far behind will be disconnected soon."""

GOODBYE_S: Final = 1.0
"""How long a disconnect reason may take to be sent (SPEC section 1)."""


class SocketOwner(Protocol):
    """Who hears what happens on a socket. `on_event` is called in order; `Disconnected` is the last event."""

    def on_open(self) -> None: ...

    def on_event(self, event: Event) -> None: ...


class PeerSocket(asyncio.Protocol):
    """The asyncio side of one connection.

    It moves bytes and keeps time; every decision is the connection's or the owner's. A peer that reads
    nothing for `write_timeout_s` while our bytes wait is disconnected, so its buffer cannot grow.
    """

    def __init__(
        self,
        connect: Callable[[float], Connection],
        owner: SocketOwner,
        metrics: GatewayMetrics,
        write_timeout_s: float,
    ) -> None:
        self._connect, self._owner = connect, owner
        self._write_timeout_s = write_timeout_s
        self._loop = asyncio.get_running_loop()
        self._connection: Connection
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.Handle | None = None
        self._timer_due = 0.0
        self._stuck: asyncio.TimerHandle | None = None
        self._count_in = metrics.bytes.labels("in").inc
        self._count_out = metrics.bytes.labels("out").inc
        self._is_over = False
        self._owner_pauses = self._writer_pauses = False
        self.closed: asyncio.Future[None] = self._loop.create_future()
        """Done once the socket is closed."""
        self.drained = asyncio.Event()
        """Set while the peer keeps up with what is written to it."""
        self.drained.set()

    @property
    def remote_address(self) -> tuple[str, int]:
        """Host and port of the other side; empty before the socket is open."""
        peer = self._transport.get_extra_info("peername") if self._transport else None
        return (str(peer[0]), int(peer[1])) if peer else ("", 0)

    @property
    def remote_id(self) -> PeerId | None:
        """Whom we dialled, or who has shown its key. Not before the socket is open."""
        return self._connection.remote_id

    @property
    def client_name(self) -> str:
        """As the peer's Hello gives it, also where that was refused; empty before."""
        hello = self._connection.hello
        return "" if hello is None else hello.client_name

    @property
    def unsent_bytes(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport else 0

    @property
    def is_writable(self) -> bool:
        """Whether `send` takes a message."""
        return not self._is_over and self.unsent_bytes <= SLOW_PEER_BYTES

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        # Made here and not before: the handshake's time starts with the socket, not with the dial.
        self._connection = self._connect(self._loop.time())
        self._owner.on_open()
        self._carry([])

    def data_received(self, received: bytes) -> None:
        self._count_in(len(received))
        self._carry(self._connection.receive_data(received, self._loop.time()))

    def eof_received(self) -> bool:
        self._carry(self._connection.receive_eof())
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        for timer in (self._timer, self._stuck):
            if timer is not None:
                timer.cancel()
        self._timer = self._stuck = None
        self._carry(self._connection.receive_eof())
        self.drained.set()
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        self.drained.clear()
        self._stuck = self._loop.call_later(self._write_timeout_s, self._on_stuck)

    def resume_writing(self) -> None:
        self.drained.set()
        self._writer_pauses = False
        self._regulate_reading()
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def send(self, code: int, payload: bytes) -> bool:
        """Write one eth message; False when the peer is gone, or so far behind that nothing more is queued.

        The owner may call this and what follows from `on_open` on.
        """
        if not self.is_writable:
            return False
        self._connection.send_message(code, payload)
        self._flush()
        return True

    def disconnect(self, offence: Offence, detail: str) -> None:
        self._carry(self._connection.disconnect(offence, detail))

    def fail(self, fault: PeerFault) -> None:
        """Disconnect for something the peer did."""
        self._carry(self._connection.fail(fault))

    def abort(self) -> None:
        """Close at once, without a word."""
        if self._transport is not None and not self.closed.done():
            self._transport.abort()

    def pause_reading(self) -> None:
        self._owner_pauses = True
        self._regulate_reading()

    def resume_reading(self) -> None:
        self._owner_pauses = False
        self._regulate_reading()

    def _regulate_reading(self) -> None:
        if self._transport is None or self._is_over:
            return
        wanted = not (self._owner_pauses or self._writer_pauses)
        if wanted and not self._transport.is_reading():
            self._transport.resume_reading()
        elif not wanted and self._transport.is_reading():
            self._transport.pause_reading()

    def _carry(self, events: Sequence[Event]) -> None:
        self._flush()
        for event in events:
            if isinstance(event, Disconnected):
                self._close()
            self._owner.on_event(event)
        self._arm()

    def _flush(self) -> None:
        unsent = self._connection.data_to_send()
        if unsent and self._transport is not None and not self._is_over:
            self._count_out(len(unsent))
            self._transport.write(unsent)
            if not self._writer_pauses and self.unsent_bytes > SLOW_PEER_BYTES:
                self._writer_pauses = True
                self._regulate_reading()

    def _arm(self) -> None:
        """Keep one timer, at or before the connection's next wake-up: deadlines mostly move away."""
        due = None if self._is_over else self._connection.next_wakeup()
        if due is not None and self._timer is not None and self._timer_due <= due:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None:
            # Not asked of the handle: uvloop's for a time in the past does not know it.
            self._timer_due = due
            self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._carry(self._connection.on_wakeup(self._loop.time()))

    def _on_stuck(self) -> None:
        self._stuck = None
        self.disconnect(Offence.WRITE_TIMEOUT, f"it read nothing for {self._write_timeout_s:g} s")

    def _close(self) -> None:
        """Let the last bytes go out for a moment, then close in any case."""
        if self._is_over or self._transport is None:
            return
        self._is_over = True
        self._transport.close()
        self._loop.call_later(GOODBYE_S, self.abort)
