"""What waits to be written to one peer: the most urgent first, bounded in messages and in bytes.

A message is encrypted when it leaves the queue, because the frames of a link are encrypted in the order
they are sent; so what is urgent passes everything that still waits here, and nothing that left already.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from services.peer_gateway.core.snappy_codec import Payload
from services.shared.ethwire.faults import PeerFault
from services.shared.ethwire.offences import Offence


class Urgency(enum.IntEnum):
    """The class of a message; lower numbers are written first. Base messages (Ping, Pong) wait in no class."""

    OWN = 0
    """Our Status and our questions: a sync waits for the answers."""
    BLOCK = 1
    ANNOUNCE = 2
    TRANSACTIONS = 3
    REPLY = 4
    """Answers to the peer's questions."""


class Limit(NamedTuple):
    """What may wait in one class. A message over `size_bytes` may still wait alone."""

    messages: int
    size_bytes: int


LIMITS: Final[Mapping[Urgency, Limit]] = MappingProxyType(
    {
        Urgency.OWN: Limit(257, 1024 * 1024),
        Urgency.BLOCK: Limit(4, 4 * 1024 * 1024),
        Urgency.ANNOUNCE: Limit(4, 256 * 1024),
        Urgency.TRANSACTIONS: Limit(128, 4 * 1024 * 1024),
        Urgency.REPLY: Limit(1, 0),
    }
)
"""Blocks, announces and transactions as in geth (`maxQueuedProps`, `maxQueuedAnns`, `maxQueuedTxs`). Our own:
Status, and as many questions of all four kinds as may be outstanding. One reply: the next is read from the
chain once this one is being written."""

TOTAL_BYTES: Final = 8 * 1024 * 1024
"""All classes but replies together: the whole queue of a busy peer, and what 50 stuck peers may cost is 400 MiB
less what their broadcasts share."""


class Outgoing(NamedTuple):
    """One eth message for one peer; `payload` may be shared with others."""

    code: int
    payload: Payload
    on_written: Callable[[], None] | None = None
    """For whoever writes: to be called when its first byte has left. Nobody calls it for what is never written."""


class PeerStuck(PeerFault):
    """A peer that leaves our bytes unread. It costs memory and can be told nothing."""

    offence = Offence.WRITE_TIMEOUT

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"it read nothing for {timeout_s:g} s")
        self.timeout_s = timeout_s


class SendQueue:
    """The messages that wait for one peer, oldest first within a class.

    A full class refuses the new message and keeps what it has: that is marked as known to the peer already,
    the refused one is not, so a refused block can still be announced. What refusal means is the caller's:
    blocks, announces and transactions are dropped and counted, a question is reported lost, and no reply is
    made without room for it, so the peer's own questions wait and in the end its socket is not read.

    Memory: at most `TOTAL_BYTES` or one message, whichever is more, beside one reply. Broadcasts count in
    full for each peer though peers share their bytes. The edge adds its write buffer and the message that
    filled it.
    """

    def __init__(
        self,
        stuck_after_s: float,
        limits: Mapping[Urgency, Limit] = LIMITS,
        total_bytes: int = TOTAL_BYTES,
    ) -> None:
        self._stuck_after_s, self._limits, self._total_bytes = stuck_after_s, limits, total_bytes
        self._waiting: dict[Urgency, deque[Outgoing]] = {urgency: deque() for urgency in sorted(Urgency)}
        self._bytes = dict.fromkeys(Urgency, 0)
        self._stuck_at: float | None = None

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    @property
    def bytes_queued(self) -> int:
        return sum(self._bytes.values())

    @property
    def is_blocked(self) -> bool:
        """Whether the peer has yet to read what was written to it: nothing is taken until it has."""
        return self._stuck_at is not None

    def has_room(self, urgency: Urgency, size_bytes: int = 0) -> bool:
        """Whether `put` takes a message of this class and size."""
        waiting, limit = self._waiting[urgency], self._limits[urgency]
        if len(waiting) >= limit.messages or (waiting and self._bytes[urgency] + size_bytes > limit.size_bytes):
            return False
        if urgency is Urgency.REPLY:
            return True
        total = self.bytes_queued - self._bytes[Urgency.REPLY]
        return total == 0 or total + size_bytes <= self._total_bytes

    def put(self, urgency: Urgency, message: Outgoing) -> bool:
        """Queue a message; False when its class, or the peer's whole queue, is full."""
        size = len(message.payload)
        if not self.has_room(urgency, size):
            return False
        self._waiting[urgency].append(message)
        self._bytes[urgency] += size
        return True

    def take(self) -> Outgoing | None:
        """The next message to write; None when nothing waits or the peer must read first."""
        if self.is_blocked:
            return None
        for urgency, waiting in self._waiting.items():
            if waiting:
                message = waiting.popleft()
                self._bytes[urgency] -= len(message.payload)
                return message
        return None

    def clear(self) -> None:
        """Forget everything: the peer is gone."""
        for urgency, waiting in self._waiting.items():
            waiting.clear()
            self._bytes[urgency] = 0
        self._stuck_at = None

    def on_blocked(self, now: float) -> None:
        """The write buffer is over its mark: the peer has `stuck_after_s` to read most of it."""
        if self._stuck_at is None:
            self._stuck_at = now + self._stuck_after_s

    def on_drained(self) -> None:
        """The peer has read most of what was written."""
        self._stuck_at = None

    def next_wakeup(self) -> float | None:
        """When the peer counts as stuck, or None while it reads."""
        return self._stuck_at

    def on_wakeup(self, now: float) -> None:
        """Raises PeerStuck when the peer has left our bytes unread for too long."""
        if self._stuck_at is not None and now >= self._stuck_at:
            raise PeerStuck(self._stuck_after_s)
