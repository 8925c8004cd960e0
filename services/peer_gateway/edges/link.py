"""What the links to the coordinator and the broadcaster have in common: queues, failure, back-off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, Generic, TypeVar

import grpc.aio

from services.peer_gateway.metrics import GatewayMetrics
from services.shared.rpc.channel import Backoff, why_failed
from services.shared.rpc.outbox import Outbox
from services.shared.runtime.logs import get_log

M = TypeVar("M")

CUT_AFTER_S: Final = 5.0
"""How long a queue that must not lose anything may stay full before its link is cut."""


class LinkLost(Exception):
    """The link ended, and why; it is opened anew."""


class CriticalOutbox(Generic[M]):
    """A stream's queue whose messages must not be dropped: rather than that, the link is cut.

    The next session of the link begins with a snapshot, so nothing is missing then. The queue may pass
    its limit for `CUT_AFTER_S`, up to twice the limit.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.outbox: Outbox[M] = Outbox(2 * limit_bytes)
        self._limit_bytes = limit_bytes
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._cut: asyncio.Future[str] = self._loop.create_future()

    def put(self, message: M, size_bytes: int) -> None:
        if not self.outbox.put(message, size_bytes):
            self._set_cut(f"a message of {size_bytes} bytes did not fit the queue")
        elif self._timer is None and self.outbox.bytes_queued > self._limit_bytes:
            self._timer = self._loop.call_later(CUT_AFTER_S, self._on_timer)

    async def fail_when_cut(self) -> None:
        """Run beside the stream; raises LinkLost."""
        raise LinkLost(await self._cut)

    def close(self) -> None:
        self.outbox.close()
        if self._timer is not None:
            self._timer.cancel()

    def _on_timer(self) -> None:
        self._timer = None
        if self.outbox.bytes_queued > self._limit_bytes:
            self._set_cut(f"its queue was full for {CUT_AFTER_S:g} s")

    def _set_cut(self, why: str) -> None:
        if not self._cut.done():
            self._cut.set_result(why)


async def responses(call: grpc.aio.StreamStreamCall[Any, M]) -> AsyncIterator[M]:
    """What comes back on a stream; its end, of whatever kind, is a LinkLost."""
    try:
        async for message in call:
            yield message
    except grpc.aio.AioRpcError as problem:
        raise LinkLost(why_failed(problem)) from problem
    raise LinkLost("the other side ended the stream")


class LinkKeeper:
    """Opens a link again and again, with back-off, and logs when it comes and goes."""

    def __init__(self, service: str, backoff: Backoff, metrics: GatewayMetrics) -> None:
        self._service, self._backoff = service, backoff
        self._is_up = False
        self._told = False
        self._sessions = metrics.link_sessions.labels(service)
        self._up_gauge = metrics.link_up.labels(service)
        self._log = get_log("link", to=service)

    def came_up(self) -> None:
        """The session calls this once it works."""
        self._is_up = True
        self._told = False
        self._backoff.reset()
        self._sessions.inc()
        self._up_gauge.set(1)
        self._log.info("link up")

    async def keep_open(self, session: Callable[[], Awaitable[None]]) -> None:
        """Run sessions until cancelled. A session ends by raising LinkLost."""
        while True:
            try:
                await _in_its_own_task(session)
            except* LinkLost as group:
                self._went_down(group.exceptions[0])
            await asyncio.sleep(self._backoff.next_delay_s())

    def _went_down(self, why: BaseException) -> None:
        self._is_up = False
        self._up_gauge.set(0)
        if not self._told:
            # Once per outage, not once per attempt.
            self._told = True
            self._log.warning("link down, trying again", why=str(why))


async def _in_its_own_task(session: Callable[[], Awaitable[None]]) -> None:
    """Run a session so that its end and our cancellation cannot be mixed up.

    A TaskGroup that is cancelled while a child of it fails raises the failure alone: awaited directly, a
    session that fails at that moment would swallow our cancellation, and the link would be kept open for ever.
    """
    running = asyncio.ensure_future(session())
    try:
        await asyncio.wait({running})
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    await running
