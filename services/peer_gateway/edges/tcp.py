"""One peer's socket: carries a `Connection` over TCP, owns its timer, and writes no more than the peer reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, cast

from services.peer_gateway.core.connection import Connection
from services.peer_gateway.core.events import Disconnected, EthMessage, Event
from services.peer_gateway.core.send_queue import Outgoing, PeerStuck, SendQueue, Urgency
from services.peer_gateway.edges.read_turns import BIG_READ_BYTES, ReadTurns
from services.peer_gateway.edges.write_turns import WriteTurns
from services.peer_gateway.metrics import GatewayMetrics
from services.shared.ethwire.faults import PeerFault
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import PeerId

WRITE_BUFFER_BYTES: Final = 256 * 1024
"""Unsent bytes over which nothing more is written until the peer has read most of them. Small, since a block
waits behind them: it passes everything that is still in the queue, and nothing that is here."""

GOODBYE_S: Final = 1.0
"""How long a disconnect reason may take to be sent."""


class SocketOwner(Protocol):
    """Who hears what happens on a socket. `on_event` is called in order; `Disconnected` is the last event."""

    def on_open(self) -> None: ...

    def on_event(self, event: Event) -> None: ...


@dataclass(frozen=True, slots=True)
class Sharing:
    """How sockets share the event loop, and how long a peer may leave our bytes unread."""

    writes: WriteTurns
    reads: ReadTurns
    write_timeout_s: float


def share_loop(loop: asyncio.AbstractEventLoop, write_timeout_s: float) -> Sharing:
    """The turns of all sockets of a loop."""
    return Sharing(WriteTurns(loop.call_soon), ReadTurns(loop.call_soon), write_timeout_s)


class PeerSocket(asyncio.Protocol):
    """The asyncio side of one connection.

    It moves bytes and keeps time; every decision is the connection's, the send queue's or the owner's.

    What it holds for a peer that does not read is bounded: the send queue (see there), the write buffer of
    `WRITE_BUFFER_BYTES` and the one message that filled it, one Pong, and the Pings of `timeout_s`; then the
    peer is disconnected.
    """

    def __init__(
        self, connect: Callable[[float], Connection], owner: SocketOwner, metrics: GatewayMetrics, sharing: Sharing
    ) -> None:
        self._connect, self._owner, self._turns = connect, owner, sharing.writes
        self._reads, self._received = sharing.reads, list[bytes]()
        self._queue = SendQueue(sharing.write_timeout_s)
        self._loop = asyncio.get_running_loop()
        self._connection: Connection
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.Handle | None = None
        self._timer_due = 0.0
        self._count_in = metrics.bytes.labels("in").inc
        self._count_out = metrics.bytes.labels("out").inc
        self._count_read, self._count_queued = metrics.count_read, metrics.count_queued
        self._is_over = False
        self._owner_pauses = self._is_catching_up = False
        self._replied = asyncio.Event()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        """Done once the socket is closed."""

    @property
    def remote_address(self) -> tuple[str, int]:
        """Host and port of the other side; empty before the socket is open."""
        peer = self._transport.get_extra_info("peername") if self._transport else None
        return (str(peer[0]), int(peer[1])) if peer else ("", 0)

    @property
    def remote_id(self) -> PeerId | None:
        """Whom we dialled, or who dialled us as far as it says. Not before the socket is open."""
        return self._connection.remote_id

    @property
    def is_proven(self) -> bool:
        """Whether the peer has shown that the key of `remote_id` is its own. Not before the socket is open."""
        return self._connection.is_proven

    @property
    def client_name(self) -> str:
        """As the peer's Hello gives it, also where that was refused; empty before."""
        hello = self._connection.hello
        return "" if hello is None else hello.client_name

    @property
    def unsent_bytes(self) -> int:
        """What waits for the peer here, in the queue and in the write buffer."""
        return self._queue.bytes_queued + (self._transport.get_write_buffer_size() if self._transport else 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        # Made here and not before: the handshake's time starts with the socket, not with the dial.
        self._connection = self._connect(self._loop.time())
        self._owner.on_open()
        self._carry([])

    def data_received(self, received: bytes) -> None:
        self._count_in(len(received))
        if len(received) < BIG_READ_BYTES and not self._received:
            self._receive(received)
            return
        if not self._received:
            self._reads.join(self)
        self._received.append(received)
        self._regulate_reading()

    def read_next(self) -> int:
        received = b"".join(self._received)
        self._received.clear()
        if received:
            self._receive(received)
            self._regulate_reading()
        return len(received)

    def eof_received(self) -> bool:
        self.read_next()
        self._carry(self._connection.receive_eof())
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.read_next()
        self._carry(self._connection.receive_eof())
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        self._queue.on_blocked(self._loop.time())
        self._arm()

    def resume_writing(self) -> None:
        self._queue.on_drained()
        self._flush()
        if self.wants_to_write:
            self._turns.join(self)

    def has_room(self, urgency: Urgency) -> bool:
        """Whether `send` takes a small message of this class."""
        return not self._is_over and self._queue.has_room(urgency)

    async def room_for_reply(self) -> None:
        """Return once the reply before is being written. Caller's duty: to be the only one who replies."""
        while not self._is_over and not self._queue.has_room(Urgency.REPLY):
            self._replied.clear()
            await self._replied.wait()

    def send(self, urgency: Urgency, message: Outgoing) -> bool:
        """Have one eth message written when its turn comes; False when the peer is gone or its queue is full.

        The owner may call this and what follows from `on_open` on.
        """
        if self._is_over or not self._queue.put(urgency, message):
            return False
        self._count_queued(message.code, len(message.payload))
        if urgency is Urgency.OWN:
            self.write_next()
        elif self.wants_to_write:
            self._turns.join(self)
        return True

    @property
    def wants_to_write(self) -> bool:
        return len(self._queue) > 0 and not self._queue.is_blocked

    def write_next(self) -> int:
        message = self._queue.take()
        if message is None:
            return 0
        self._connection.send_message(message.code, message.payload)
        self._flush()
        if message.on_written is not None:
            message.on_written()
        self._replied.set()
        return len(message.payload)

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
        wanted = not (self._owner_pauses or self._is_catching_up or self._received)
        if wanted and not self._transport.is_reading():
            self._transport.resume_reading()
            self._connection.on_reading_resumed(self._loop.time())
            self._arm()
        elif not wanted and self._transport.is_reading():
            self._transport.pause_reading()
            self._connection.on_reading_paused(self._loop.time())

    def _receive(self, received: bytes) -> None:
        self._carry(self._connection.receive_data(received, self._loop.time()))
        if self._connection.has_unread != self._is_catching_up:
            self._is_catching_up = not self._is_catching_up
            self._regulate_reading()
        if self._is_catching_up:
            # More messages than fit one slice of the loop: the others have their turn first.
            self._loop.call_soon(self._receive, b"")

    def _carry(self, events: Sequence[Event]) -> None:
        if any(isinstance(event, Disconnected) for event in events):
            self._queue.clear()
        self._flush()
        for event in events:
            if isinstance(event, EthMessage):
                self._count_read(event.code, len(event.payload))
            elif isinstance(event, Disconnected):
                self._close()
            self._owner.on_event(event)
        self._arm()

    def _flush(self) -> None:
        """Write what the connection has to say; a peer that must read first gets no Pong for more Pings."""
        if self._queue.is_blocked:
            return
        unsent = self._connection.data_to_send()
        if unsent and self._transport is not None and not self._is_over:
            self._count_out(len(unsent))
            self._transport.write(unsent)

    def _arm(self) -> None:
        """Keep one timer, at or before the next wake-up: deadlines mostly move away."""
        due = None
        if not self._is_over:
            times = (self._connection.next_wakeup(), self._queue.next_wakeup())
            due = min((at for at in times if at is not None), default=None)
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
        now = self._loop.time()
        try:
            self._queue.on_wakeup(now)
        except PeerStuck as fault:
            self.fail(fault)
        self._carry(self._connection.on_wakeup(now))

    def _close(self) -> None:
        """Let the last bytes go out for a moment, then close in any case."""
        self._replied.set()
        if self._is_over or self._transport is None:
            return
        self._is_over = True
        self._transport.close()
        self._loop.call_later(GOODBYE_S, self.abort)
