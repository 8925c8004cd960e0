"""Calls and streams of an event loop: the same as `trisync.client.connection` has for threads."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Generic, Self, TypeVar

import grpc
import grpc.aio

from trisync.block_feed import Step
from trisync.client.calls import Call, StreamCall
from trisync.client.chain_place import ChainPlace
from trisync.client.channels import open_async_channel
from trisync.client.errors import CoordinatorError, FailedCall, error_of, stream_ended
from trisync.credentials import Credentials

R = TypeVar("R")


class AsyncStream(Generic[R]):
    """What a coordinator sends, to be iterated over by one task.

    Ends where the stream ends, after `aclose`, and with the task's cancellation while it waits. Raises
    CoordinatorError when it fails.
    """

    def __init__(self, connection: AsyncConnection, call: StreamCall[R]) -> None:
        self._connection, self._call = connection, call
        self._waiting: deque[R] = deque()
        self._is_closed = False
        self._answers = connection.start(call)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    def __aiter__(self) -> AsyncIterator[R]:
        return self

    async def __anext__(self) -> R:
        while not self._waiting and not self._is_closed:
            answer = await self._next_answer()
            if answer is None:
                if self._call.endless and not self._is_closed:
                    raise stream_ended(self._connection.address)
                raise StopAsyncIteration
            self._waiting.extend(self._call.read(answer))
        if self._is_closed:
            raise StopAsyncIteration
        return self._waiting.popleft()

    async def aclose(self) -> None:
        """End the stream; a task that waits for its next item goes on at once."""
        self._is_closed = True
        self._answers.cancel()

    async def _next_answer(self) -> bytes | None:
        """None at the end."""
        try:
            answer = await self._answers.read()
        except grpc.aio.AioRpcError as error:
            raise self._connection.error_of(error) from error
        except asyncio.CancelledError:
            # gRPC says so both of a call that we ended and of a task that somebody cancels.
            if not self._is_closed:
                self._is_closed = True
                raise
            return None
        return answer if isinstance(answer, bytes) else None


class AsyncConnection:
    """One channel to a coordinator, of one event loop."""

    def __init__(self, address: str, timeout_s: float, credentials: Credentials) -> None:
        """Raises CredentialsBad."""
        self.address = address
        self._timeout_s, self._credentials = timeout_s, credentials
        self._channel = open_async_channel(address, credentials)
        self._is_closed = False

    async def perform(self, call: Call[R]) -> R:
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._open_channel().unary_unary(call.path)
        try:
            answer = await method(call.request, timeout=call.timeout_s or self._timeout_s)
        except grpc.aio.AioRpcError as error:
            if call.absent is not None and error.code() is grpc.StatusCode.NOT_FOUND:
                return call.absent()
            raise self.error_of(error) from error
        return call.read(answer)

    def stream(self, call: StreamCall[R]) -> AsyncStream[R]:
        return AsyncStream(self, call)

    def start(self, call: StreamCall[R]) -> grpc.aio.UnaryStreamCall[bytes, bytes]:
        method: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = self._open_channel().unary_stream(call.path)
        return method(call.request, timeout=call.timeout_s)

    async def close(self) -> None:
        self._is_closed = True
        await self._channel.close()

    def error_of(self, error: FailedCall) -> CoordinatorError:
        """What a failed call on this connection is to the caller."""
        return error_of(self.address, error, self._credentials)

    def _open_channel(self) -> grpc.aio.Channel:
        if self._is_closed:
            raise ValueError(f"the client of {self.address} is closed")
        return self._channel


class AsyncFollowedChain:
    """The steps of the chain without an end, to be iterated over by one task. Ends after `aclose`."""

    def __init__(
        self,
        start: int | str,
        open_at: Callable[[int | str], AsyncStream[Step]],
        *,
        patience_s: float | None,
        on_interruption: Callable[[CoordinatorError], None] | None,
    ) -> None:
        self._place = ChainPlace(start, patience_s, random.Random())
        self._open_at, self._on_interruption = open_at, on_interruption
        self._closed = asyncio.Event()
        self._stream: AsyncStream[Step] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    def __aiter__(self) -> AsyncIterator[Step]:
        return self

    async def __anext__(self) -> Step:
        while not self._closed.is_set():
            try:
                step = await anext(self._opened())
            except CoordinatorError as error:
                await self._pause(error)
            else:
                self._place.took(step.cursor)
                return step
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the iteration; a task that waits for its next step goes on at once."""
        self._closed.set()
        if self._stream is not None:
            await self._stream.aclose()

    def _opened(self) -> AsyncStream[Step]:
        if self._stream is None:
            self._place.opened(time.monotonic())
            self._stream = self._open_at(self._place.start)
        return self._stream

    async def _pause(self, error: CoordinatorError) -> None:
        self._stream = None
        delay_s = self._place.delay_after(error, time.monotonic())
        if delay_s and self._on_interruption is not None:
            self._on_interruption(error)
        try:
            async with asyncio.timeout(delay_s):
                await self._closed.wait()
        except TimeoutError:
            return
