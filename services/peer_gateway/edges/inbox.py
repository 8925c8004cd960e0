"""The messages of one peer that wait to be worked on, bounded by not reading its socket."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from services.peer_gateway.core.events import EthMessage

INBOX_BYTES: Final = 1024 * 1024
"""Over this the socket is not read, so what waits is this and one message, of 10 MiB at most."""

MESSAGE_COST: Final = 256
"""What a message weighs beside its payload: a flood of empty ones is bounded too."""


SLICE_BYTES: Final = 64 * 1024
"""Messages, by weight, that are handed out before the rest of the program has its turn: 256 of the smallest,
a few milliseconds' work."""


class Inbox:
    """First in, first out; tells when reading must pause and may go on."""

    def __init__(self, pause: Callable[[], None], resume: Callable[[], None], clock: Callable[[], float]) -> None:
        self._pause, self._resume, self._clock = pause, resume, clock
        self._messages: deque[EthMessage] = deque()
        self._bytes = 0
        self._is_paused = False
        self._paused_at = 0.0
        self._slice = 0
        self._arrived = asyncio.Event()

    def put(self, message: EthMessage) -> None:
        self._messages.append(message)
        self._bytes += len(message.payload) + MESSAGE_COST
        self._arrived.set()
        if self._bytes > INBOX_BYTES and not self._is_paused:
            self._is_paused = True
            self._paused_at = self._clock()
            self._pause()

    def paused_s(self) -> float:
        """For how long the socket has not been read."""
        return self._clock() - self._paused_at if self._is_paused else 0.0

    async def get(self) -> EthMessage:
        if self._slice >= SLICE_BYTES:
            self._slice = 0
            await asyncio.sleep(0)
        while not self._messages:
            self._arrived.clear()
            await self._arrived.wait()
        message = self._messages.popleft()
        weight = len(message.payload) + MESSAGE_COST
        self._bytes -= weight
        self._slice += weight
        if self._is_paused and self._bytes <= INBOX_BYTES // 2:
            self._is_paused = False
            self._resume()
        return message
