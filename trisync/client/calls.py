"""Calls as values: what is sent where, and what the answer means. Both clients perform them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

A = TypeVar("A", bound=Message)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Call(Generic[R]):
    """One question with one answer."""

    path: str
    request: bytes
    read: Callable[[bytes], R]
    """Makes the result of the encoded answer."""
    timeout_s: float | None = None
    """How long the answer may take, where that is not what the caller says for all calls."""
    absent: Callable[[], R] | None = None
    """The result when the server answers NOT_FOUND, where that is an answer."""


@dataclass(frozen=True, slots=True)
class StreamCall(Generic[R]):
    """One question with many answers, each of which has some items."""

    path: str
    request: bytes
    read: Callable[[bytes], Iterable[R]]
    timeout_s: float | None
    """How long the stream may last in all; None is as long as it is read."""
    endless: bool
    """It has no end of its own, so that an end means that the server goes."""


@dataclass(frozen=True, slots=True)
class Service:
    """A gRPC service whose calls are made here."""

    full_name: str

    def call(
        self, method: str, request: Message, answer: type[A], read: Callable[[A], R], *, timeout_s: float | None = None
    ) -> Call[R]:
        return Call(self._path(method), request.SerializeToString(), _reader(answer, read), timeout_s)

    def lookup(self, method: str, request: Message, answer: type[A], read: Callable[[A], R]) -> Call[R | None]:
        """A call whose result is None when the server does not have what is asked for."""
        return Call(self._path(method), request.SerializeToString(), _reader(answer, read), absent=lambda: None)

    def stream(
        self, method: str, request: Message, answer: type[A], read: Callable[[A], Iterable[R]], lasting: Lasting
    ) -> StreamCall[R]:
        read_answer = _reader(answer, read)
        return StreamCall(
            self._path(method), request.SerializeToString(), read_answer, lasting.timeout_s, lasting.endless
        )

    def _path(self, method: str) -> str:
        return f"/{self.full_name}/{method}"


@dataclass(frozen=True, slots=True)
class Lasting:
    """How long a stream goes on."""

    timeout_s: float | None
    endless: bool = True


def _reader(answer: type[A], read: Callable[[A], R]) -> Callable[[bytes], R]:
    return lambda encoded: read(answer.FromString(encoded))
