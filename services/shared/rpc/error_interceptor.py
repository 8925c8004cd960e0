"""Ends calls that fail: what a client may hear with status, text and details, a bug with a line for the operator."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, NoReturn, cast

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError

from services.shared.rpc.deadlines import bounded
from services.shared.rpc.error_details import DETAILS_KEY, encode_details
from services.shared.rpc.errors import InvalidRequest, meaning_of, status_of, trailer_of
from services.shared.rpc.wrapped_method import Behaviour, behaviour_of, with_behaviour

BUG_TEXT: Final = "the service has failed on this call, which is a defect of its own; its log tells more"
"""All that a client hears of a bug: what went wrong inside is nobody's business outside."""

BUG_REASON: Final = "INTERNAL"

_log = structlog.get_logger("rpc")


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Gives every error of the table its status, every bug INTERNAL, and every unary call an end in time.

    It is the last interceptor: what the others raise is theirs.
    """

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        method = cast("Any", await continuation(handler_call_details))
        if method is None:
            return None
        wrap = _answering_stream if method.response_streaming else _answering_once
        behaviour, deserialize = behaviour_of(method), method.request_deserializer
        if not method.request_streaming and deserialize is not None:
            behaviour, deserialize = _refusing_unreadable(behaviour), _forgiving(deserialize)
        return with_behaviour(method, wrap(behaviour, handler_call_details.method), deserialize)


class UnreadableRequest:
    """Stands for a request that is no message of its method, until the call is ended for it: gRPC would log it as a
    defect of ours, with a traceback. Whatever field is asked of it is empty."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes

    def __getattr__(self, name: str) -> str:
        return ""

    def refusal(self) -> InvalidRequest:
        return InvalidRequest(
            f"the request cannot be read: its {self._size_bytes} bytes are not the message that this method takes",
            value=f"{self._size_bytes} bytes",
            rule="the request of this method in the contract",
        )


def _forgiving(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def read(raw: bytes) -> Any:
        try:
            return deserialize(raw)
        except DecodeError:
            return UnreadableRequest(len(raw))

    return read


def _refusing_unreadable(behaviour: Behaviour) -> Behaviour:
    def call(request: Any, context: Any) -> Any:
        if isinstance(request, UnreadableRequest):
            raise request.refusal()
        return behaviour(request, context)

    return call


def _answering_once(behaviour: Behaviour, name: str) -> Behaviour:
    async def call(request: Any, context: Any) -> Any:
        try:
            async with bounded(context):
                return await behaviour(request, context)
        except Exception as error:  # noqa: BLE001 - aborts or raises it again
            await abort_with(context, error, name)

    return call


def _answering_stream(behaviour: Behaviour, name: str) -> Behaviour:
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
            await abort_with(context, error, name)

    return generate


async def abort_with(context: Any, error: Exception, name: str) -> NoReturn:
    """End the call as the error says; a bug of the method `name` is logged and told as one."""
    reason = _reason(error)
    if isinstance(reason, grpc.aio.BaseError):
        # gRPC's own: the servicer has ended the call itself, or the client is gone.
        raise reason
    meaning = meaning_of(reason)
    if meaning is not None:
        await context.abort(meaning.status, str(reason), trailer_of(reason, meaning))
    _log.error("call failed", method=name, exc_info=error)
    status = grpc.StatusCode.INTERNAL
    details = encode_details(status, BUG_TEXT, reason=BUG_REASON, facts={})
    await context.abort(status, BUG_TEXT, ((DETAILS_KEY, details),))
    raise error


def _reason(error: Exception) -> Exception:
    """The error itself, or the one with a status that a TaskGroup wrapped."""
    if isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            found = _reason(inner)
            if status_of(found) is not None:
                return found
    return error
