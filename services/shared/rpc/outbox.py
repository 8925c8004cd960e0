"""The queue before a stream's one writer, bounded in bytes."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class OutboxClosed(Exception):
    """The outbox is closed and everything in it was taken."""


class Outbox(Generic[T]):
    """Messages waiting for a stream's writer.

    Any number of producers `put`, exactly one consumer takes. When full, `put` refuses: the producer
    decides what to drop and counts it. A message larger than the limit passes alone. After `close`,
    what is queued still comes out, then the iteration ends.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._queue: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._closed = False
        self._arrived = asyncio.Event()
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    def put(self, item: T, size_bytes: int) -> bool:
        """Queue the item, or answer False: the outbox is full or closed."""
        if self._closed or (self._queue and self._bytes + size_bytes > self._limit):
            return False
        self._queue.append((item, size_bytes))
        self._bytes += size_bytes
        self._arrived.set()
        return True

    async def get(self) -> T:
        """The oldest item; waits for one. Raises OutboxClosed once closed and empty."""
        while not self._queue:
            if self._closed:
                raise OutboxClosed
            self._arrived.clear()
            await self._arrived.wait()
        item, size_bytes = self._queue.popleft()
        self._bytes -= size_bytes
        self._wake_waiters()
        return item

    @property
    def is_full(self) -> bool:
        return self._bytes >= self._limit

    @property
    def bytes_queued(self) -> int:
        return self._bytes

    @property
    def is_closed(self) -> bool:
        return self._closed

    async def wait_below(self, limit_bytes: int) -> None:
        """Return once fewer than `limit_bytes` are queued, or the outbox is closed."""
        while self._bytes >= limit_bytes and not self._closed:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append((limit_bytes, waiter))
            await waiter

    def close(self) -> None:
        self._closed = True
        self._arrived.set()
        self._wake_waiters()

    def __aiter__(self) -> Outbox[T]:
        return self

    async def __anext__(self) -> T:
        try:
            return await self.get()
        except OutboxClosed:
            raise StopAsyncIteration from None

    def _wake_waiters(self) -> None:
        waiting: list[tuple[int, asyncio.Future[None]]] = []
        for limit_bytes, waiter in self._waiters:
            if waiter.done():
                continue
            if self._closed or self._bytes < limit_bytes:
                waiter.set_result(None)
            else:
                waiting.append((limit_bytes, waiter))
        self._waiters = waiting
