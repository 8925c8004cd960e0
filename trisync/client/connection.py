"""Calls and streams of threads."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, Self, TypeVar

import grpc

from trisync.block_feed import Step
from trisync.client.calls import Call, StreamCall
from trisync.client.chain_place import ChainPlace
from trisync.client.channels import open_channel
from trisync.client.errors import CoordinatorError, FailedCall, error_of, stream_ended
from trisync.credentials import Credentials

R = TypeVar("R")


class Answers(Protocol):
    """What gRPC gives for a stream that was started."""

    def __next__(self) -> bytes: ...

    def __iter__(self) -> Iterator[bytes]: ...

    def cancel(self) -> bool: ...


class Stream(Generic[R]):
    """What a coordinator sends, to be iterated over by one thread.

    Ends where the stream ends, and after `close`, which any thread may call. Raises CoordinatorError when it fails.
    """

    def __init__(self, connection: Connection, call: StreamCall[R]) -> None:
        self._connection, self._call = connection, call
        self._waiting: deque[R] = deque()
        self._is_closed = False
        self._answers = connection.start(call)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[R]:
        return self

    def __next__(self) -> R:
        while not self._waiting and not self._is_closed:
            try:
                answer = next(self._answers, None)
            except grpc.RpcError as error:
                if self._is_closed:
                    raise StopIteration from None
                raise self._connection.error_of(error) from error
            if answer is None:
                if self._call.endless and not self._is_closed:
                    raise stream_ended(self._connection.address)
                raise StopIteration
            self._waiting.extend(self._call.read(answer))
        if self._is_closed:
            raise StopIteration
        return self._waiting.popleft()

    def close(self) -> None:
        """End the stream; a thread that waits for its next item goes on at once."""
        self._is_closed = True
        self._answers.cancel()


class Connection:
    """One channel to a coordinator, shared by any number of threads."""

    def __init__(self, address: str, timeout_s: float, credentials: Credentials) -> None:
        """Raises CredentialsBad."""
        self.address = address
        self._timeout_s, self._credentials = timeout_s, credentials
        self._channel = open_channel(address, credentials)
        self._is_closed = False

    def perform(self, call: Call[R]) -> R:
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._open_channel().unary_unary(call.path)
        try:
            answer = method(call.request, timeout=call.timeout_s or self._timeout_s)
        except grpc.RpcError as error:
            if call.absent is not None and error.code() is grpc.StatusCode.NOT_FOUND:
                return call.absent()
            raise self.error_of(error) from error
        return call.read(answer)

    def stream(self, call: StreamCall[R]) -> Stream[R]:
        return Stream(self, call)

    def start(self, call: StreamCall[R]) -> Answers:
        method: grpc.UnaryStreamMultiCallable[bytes, bytes] = self._open_channel().unary_stream(call.path)
        return method(call.request, timeout=call.timeout_s)

    def close(self) -> None:
        self._is_closed = True
        self._channel.close()

    def error_of(self, error: FailedCall) -> CoordinatorError:
        """What a failed call on this connection is to the caller."""
        return error_of(self.address, error, self._credentials)

    def _open_channel(self) -> grpc.Channel:
        if self._is_closed:
            raise ValueError(f"the client of {self.address} is closed")
        return self._channel


class FollowedChain:
    """The steps of the chain without an end, to be iterated over by one thread.

    Ends after `close`, which any thread may call.
    """

    def __init__(
        self,
        start: int | str,
        open_at: Callable[[int | str], Stream[Step]],
        *,
        patience_s: float | None,
        on_interruption: Callable[[CoordinatorError], None] | None,
    ) -> None:
        self._place = ChainPlace(start, patience_s, random.Random())
        self._open_at, self._on_interruption = open_at, on_interruption
        self._closed = threading.Event()
        self._stream: Stream[Step] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Step]:
        return self

    def __next__(self) -> Step:
        while not self._closed.is_set():
            try:
                step = next(self._opened())
            except CoordinatorError as error:
                self._pause(error)
            else:
                self._place.took(step.cursor)
                return step
        raise StopIteration

    def close(self) -> None:
        """End the iteration; a thread that waits for its next step goes on at once."""
        self._closed.set()
        if (stream := self._stream) is not None:
            stream.close()

    def _opened(self) -> Stream[Step]:
        if self._stream is None:
            self._place.opened(time.monotonic())
            self._stream = self._open_at(self._place.start)
            if self._closed.is_set():
                self._stream.close()
        return self._stream

    def _pause(self, error: CoordinatorError) -> None:
        self._stream = None
        delay_s = self._place.delay_after(error, time.monotonic())
        if delay_s and self._on_interruption is not None:
            self._on_interruption(error)
        self._closed.wait(delay_s)
