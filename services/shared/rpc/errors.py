"""Errors that cross gRPC, and the one table that gives each its status code and its reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import grpc

from services.shared.rpc.error_details import DETAILS_KEY, encode_details
from services.shared.runtime.faults import CannotContinue


class RpcError(Exception):
    """An error its caller hears about by status code, text and details. Its children are keys of MEANING_OF.

    `field` names the field of the request that is wrong, `value` and `rule` what stands there and what may.
    `reason` is a narrower one than the table's, in UPPER_SNAKE. `retry_after_s` tells when trying again may help.
    """

    def __init__(self, text: str = "", *, field: str = "", value: str = "", rule: str = "", reason: str = "") -> None:
        super().__init__(text)
        self.field, self.value, self.rule, self.reason = field, value, rule, reason
        self.retry_after_s: float | None = None


class UnknownPeer(RpcError):
    """No such peer is connected."""


class UnknownBlock(RpcError):
    """No such block is stored."""


class InvalidRequest(RpcError):
    """The request breaks the contract: a hash of the wrong length, a missing field."""


class NotAllowedNow(RpcError):
    """Nothing is wrong with the request, but it does not fit the state that the service is in."""


class LimitReached(RpcError):
    """The call would exceed a bound that the service keeps for its own sake."""


class NotReady(RpcError):
    """The service cannot answer yet; asking again later may help."""


class RequestTimedOut(RpcError):
    """What the call waits for did not come in time."""


class ReaderTooSlow(RpcError):
    """The reader of a stream fell so far behind that it is cut off."""


class StoreDamaged(RpcError):
    """What is stored contradicts itself."""


class NotIdentified(RpcError):
    """The caller showed neither a certificate nor a token that says who it is."""


class NotPermitted(RpcError):
    """The caller is known, and this call is not for its role."""


class LinkReplaced(RpcError):
    """A newer stream of the same gateway took this one's place."""


class Meaning(NamedTuple):
    """What a client is told of a kind of error, beside the error's own text."""

    status: grpc.StatusCode
    reason: str
    """In UPPER_SNAKE, for programs: it stays when texts are written anew."""
    retry_after_s: float | None = None
    """Where waiting alone may help: for so long."""


MEANING_OF: Final[Mapping[type[Exception], Meaning]] = {
    UnknownPeer: Meaning(grpc.StatusCode.NOT_FOUND, "UNKNOWN_PEER"),
    UnknownBlock: Meaning(grpc.StatusCode.NOT_FOUND, "UNKNOWN_BLOCK"),
    InvalidRequest: Meaning(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    NotAllowedNow: Meaning(grpc.StatusCode.FAILED_PRECONDITION, "NOT_ALLOWED_NOW"),
    LimitReached: Meaning(grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED", retry_after_s=1.0),
    NotReady: Meaning(grpc.StatusCode.UNAVAILABLE, "NOT_READY", retry_after_s=1.0),
    RequestTimedOut: Meaning(grpc.StatusCode.DEADLINE_EXCEEDED, "REQUEST_TIMED_OUT"),
    ReaderTooSlow: Meaning(grpc.StatusCode.RESOURCE_EXHAUSTED, "READER_TOO_SLOW"),
    StoreDamaged: Meaning(grpc.StatusCode.DATA_LOSS, "STORE_DAMAGED"),
    CannotContinue: Meaning(grpc.StatusCode.DATA_LOSS, "CANNOT_CONTINUE"),
    NotIdentified: Meaning(grpc.StatusCode.UNAUTHENTICATED, "NOT_IDENTIFIED"),
    NotPermitted: Meaning(grpc.StatusCode.PERMISSION_DENIED, "NOT_PERMITTED"),
    LinkReplaced: Meaning(grpc.StatusCode.ABORTED, "LINK_REPLACED"),
}

STATUS_OF: Final[Mapping[type[Exception], grpc.StatusCode]] = {
    kind: meaning.status for kind, meaning in MEANING_OF.items()
}


def meaning_of(error: Exception) -> Meaning | None:
    """What is told of an error, by itself or its nearest parent in the table; None for a bug."""
    for kind in type(error).__mro__:
        if kind in MEANING_OF:
            return MEANING_OF[kind]
    return None


def status_of(error: Exception) -> grpc.StatusCode | None:
    """The status code of an error or of its nearest parent in the table; None for a bug."""
    meaning = meaning_of(error)
    return None if meaning is None else meaning.status


def trailer_of(error: Exception, meaning: Meaning) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata that carries the details of an error."""
    field = value = rule = reason = ""
    retry_after_s = meaning.retry_after_s
    if isinstance(error, RpcError):
        field, value, rule, reason = error.field, error.value, error.rule, error.reason
        retry_after_s = retry_after_s if error.retry_after_s is None else error.retry_after_s
    facts = {"field": field, "value": value, "rule": rule}
    details = encode_details(
        meaning.status,
        str(error),
        reason=reason or meaning.reason,
        facts=facts,
        field=field,
        retry_after_s=retry_after_s,
    )
    return ((DETAILS_KEY, details),)
