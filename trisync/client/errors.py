"""What a call that failed raises."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

import grpc

from trisync.credentials import Credentials
from trisync.error_reason import reason_of


class FailedCall(Protocol):
    """What gRPC tells of a call that failed, in a thread and in an event loop alike."""

    def code(self) -> grpc.StatusCode: ...

    def details(self) -> str | None: ...

    def trailing_metadata(self) -> Iterable[object] | None: ...


class CoordinatorError(Exception):
    """A call failed; the text says why, in one line, and what to do.

    `retryable` says whether the same call may succeed later: the coordinator is away, stops, or has too much to do.
    `code` is gRPC's name for the kind of failure, `reason` the server's for programs, such as `ENODE_INVALID`; it is
    empty where no server answered.
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool,
        code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE,
        reason: str = "",
    ) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.code = code
        self.reason = reason


UNREACHABLE: Final = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
)
"""The coordinator is not there, does not answer in time, or stops."""

EXPLAINED: Final = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
    }
)
"""The text names the value, the rule and what to do; the code would add nothing for a person."""


def error_of(address: str, call: FailedCall, credentials: Credentials) -> CoordinatorError:
    code = call.code()
    problem = credentials.problem_of(address, call.details()) if code in UNREACHABLE else None
    if problem is not None:
        return CoordinatorError(f"no connection to the coordinator at {address}: {problem}", retryable=True, code=code)
    text = _explanation(address, code, call.details())
    retryable = code in UNREACHABLE or code is grpc.StatusCode.RESOURCE_EXHAUSTED
    return CoordinatorError(text, retryable=retryable, code=code, reason=reason_of(call.trailing_metadata()))


def _explanation(address: str, code: grpc.StatusCode, details: str | None) -> str:
    if code in EXPLAINED:
        return str(details)
    if code in UNREACHABLE:
        return f"the coordinator at {address} does not answer; see that it runs there, or ask another one"
    return f"{code.name}: {details}"


def stream_ended(address: str) -> CoordinatorError:
    """A stream without an end of its own is over: the coordinator goes."""
    return CoordinatorError(f"the coordinator at {address} ended the stream", retryable=True)
