"""Errors that cross gRPC, and the one table that gives each its status code."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, NoReturn, cast

import grpc
import grpc.aio

from services.shared.runtime.faults import CannotContinue


class RpcError(Exception):
    """An error its caller hears about by status code and text. Its children are keys of STATUS_OF."""


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


STATUS_OF: Final[Mapping[type[Exception], grpc.StatusCode]] = {
    UnknownPeer: grpc.StatusCode.NOT_FOUND,
    UnknownBlock: grpc.StatusCode.NOT_FOUND,
    InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    NotAllowedNow: grpc.StatusCode.FAILED_PRECONDITION,
    LimitReached: grpc.StatusCode.RESOURCE_EXHAUSTED,
    NotReady: grpc.StatusCode.UNAVAILABLE,
    RequestTimedOut: grpc.StatusCode.DEADLINE_EXCEEDED,
    ReaderTooSlow: grpc.StatusCode.RESOURCE_EXHAUSTED,
    StoreDamaged: grpc.StatusCode.DATA_LOSS,
    CannotContinue: grpc.StatusCode.DATA_LOSS,
    NotIdentified: grpc.StatusCode.UNAUTHENTICATED,
    NotPermitted: grpc.StatusCode.PERMISSION_DENIED,
    LinkReplaced: grpc.StatusCode.ABORTED,
}


def status_of(error: Exception) -> grpc.StatusCode | None:
    """The status code of an error or of its nearest parent in the table; None for a bug."""
    for kind in type(error).__mro__:
        if kind in STATUS_OF:
            return STATUS_OF[kind]
    return None


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Ends a call that raised a key of STATUS_OF with its status; lets bugs through."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        method = cast("Any", await continuation(handler_call_details))
        if method is None:
            return None
        arity = ("stream" if method.request_streaming else "unary") + (
            "_stream" if method.response_streaming else "_unary"
        )
        wrap = _answering_stream if method.response_streaming else _answering_once
        make = getattr(grpc, f"{arity}_rpc_method_handler")
        return make(wrap(getattr(method, arity)), method.request_deserializer, method.response_serializer)


Behaviour = Callable[[Any, Any], Any]


def _answering_once(behaviour: Behaviour) -> Behaviour:
    async def call(request: Any, context: Any) -> Any:
        try:
            return await behaviour(request, context)
        except Exception as error:  # noqa: BLE001 - aborts or raises it again
            await abort_with(context, error)

    return call


def _answering_stream(behaviour: Behaviour) -> Behaviour:
    async def generate(request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            answer = behaviour(request, context)
            if inspect.isawaitable(answer):
                # A servicer that writes to the context itself yields nothing.
                await answer
                return
            async for message in answer:
                yield message
        except Exception as error:  # noqa: BLE001 - aborts or raises it again
            await abort_with(context, error)

    return generate


async def abort_with(context: Any, error: Exception) -> NoReturn:
    """End the call with the status of a key of STATUS_OF; raise a bug again."""
    reason = _reason(error)
    status = status_of(reason)
    if status is None:
        raise error
    await context.abort(status, str(reason))
    raise error


def _reason(error: Exception) -> Exception:
    """The error itself, or the one with a status that a TaskGroup wrapped."""
    if isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            found = _reason(inner)
            if status_of(found) is not None:
                return found
    return error
