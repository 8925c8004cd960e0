"""Refuses what is too much of the operator API, before the request is read: a refusal costs least that way.

The limits are those of `core.call_limits`. Links of gateways and broadcasters, whose methods are not an operator's,
pass, unless they are refused: then they count as an outsider's. So do methods that nobody serves. Clients on a unix
socket pass: whoever may open that file is no outsider.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from services.shared.rpc.error_interceptor import abort_with
from services.shared.rpc.errors import InvalidRequest, LimitReached, meaning_of, trailer_of
from services.shared.rpc.late_requests import REQUEST_PATIENCE_S, read_request
from services.shared.trust.roles import ACCESS
from services.sync_coordinator.core.call_limits import NAMED, CallClass, CallLimits, Excess
from services.sync_coordinator.edges.operator_methods import UNKNOWN_METHOD, OperatorMethod, operator_methods
from services.sync_coordinator.metrics import CoordinatorMetrics

UNIX_PEER: Final = "unix:"

Details = grpc.HandlerCallDetails
Handler: TypeAlias = Any
Continuation = Callable[[Details], Awaitable[Handler]]
Context = grpc.aio.ServicerContext[Any, Any]


class CallGuard(grpc.aio.ServerInterceptor):
    """The first interceptor, so that nothing is done for a call that is refused.

    `on_excess` hears of each refused call: the client, and its connection. `identify` ends a call of nobody that is
    known, before its request is read.
    """

    def __init__(
        self,
        limits: CallLimits,
        metrics: CoordinatorMetrics,
        on_excess: Callable[[str, str], None] | None = None,
        identify: Callable[[str, Context], Awaitable[None]] | None = None,
    ) -> None:
        self._limits, self._metrics = limits, metrics
        self._methods = operator_methods()
        self._on_excess, self.identify = on_excess, identify

    async def intercept_service(self, continuation: Continuation, handler_call_details: Details) -> Handler:
        method = self._methods.get(handler_call_details.method)
        if method is None:
            if handler_call_details.method.removeprefix("/") in ACCESS:
                return await continuation(handler_call_details)
            method = UNKNOWN_METHOD
        call = _GuardedCall(self, method, continuation, handler_call_details)
        # As if all requests were streams: such a handler is called before anything is read.
        if method.streams_responses:
            return grpc.stream_stream_rpc_method_handler(call.answer_stream)
        return grpc.stream_unary_rpc_method_handler(call.answer_once)

    def admit(self, context: Context, kind: CallClass) -> tuple[str, Excess | None]:
        """The client, and why it is refused if it is; an empty name is not counted."""
        peer = context.peer()
        # Not remembered by the peer: its port may be another client's a moment later.
        client = client_of(peer, context.auth_context())
        if not client:
            return client, None
        excess = self._limits.admit(client, kind, asyncio.get_running_loop().time())
        if excess is not None:
            self.count(kind, excess.reason)
            if self._on_excess is not None:
                self._on_excess(client, peer)
        return client, excess

    def refused(self, path: str, context: Context) -> None:
        """A call was not for its caller. One of an internal link is counted only now."""
        if path in self._methods:
            return
        client, excess = self.admit(context, CallClass.PROBE)
        if excess is None:
            self.done(client, CallClass.PROBE)

    def done(self, client: str, kind: CallClass) -> None:
        if client:
            self._limits.done(client, kind)

    def count(self, kind: CallClass, reason: str) -> None:
        self._metrics.rpc_refused.labels(kind.value, reason.lower()).inc()


class _GuardedCall:
    """One call on its way to its servicer."""

    __slots__ = ("_continuation", "_details", "_guard", "_method")

    def __init__(self, guard: CallGuard, method: OperatorMethod, continuation: Continuation, details: Details) -> None:
        self._guard, self._method = guard, method
        self._continuation, self._details = continuation, details

    async def answer_once(self, requests: AsyncIterator[bytes], context: Context) -> Any:
        kind = self._method.kind
        client, excess = self._guard.admit(context, kind)
        if excess is not None:
            return _refuse(context, excess)
        try:
            handler = await self._handler(context)
            request = await self._request(context)
            return handler.response_serializer(await handler.unary_unary(_read(request, handler), context))
        finally:
            self._guard.done(client, kind)

    async def answer_stream(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[Any]:
        kind = self._method.kind
        client, excess = self._guard.admit(context, kind)
        if excess is not None:
            _refuse(context, excess)
            return
        # Not at the end of this generator: gRPC leaves one whose reader went away to the garbage collector.
        context.add_done_callback(lambda _: self._guard.done(client, kind))  # type: ignore[arg-type] # as in chain_api
        handler = await self._handler(context)
        if handler.request_streaming:
            answers = handler.stream_stream(self._requests(requests, handler, context), context)
        else:
            answers = handler.unary_stream(_read(await self._request(context), handler), context)
        serialize = handler.response_serializer
        async for answer in answers:
            yield serialize(answer)

    async def _handler(self, context: Context) -> Handler:
        handler = await self._continuation(self._details)
        if handler is not None and self._guard.identify is not None:
            await self._guard.identify(self._details.method, context)
        if handler is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{self._details.method} is not served here")
        return handler

    async def _request(self, context: Context) -> bytes:
        """The one request, as bytes, which the next interceptor reads."""
        request = await read_request(context, self._details.method, REQUEST_PATIENCE_S)
        await self._check_size(request, context)
        return request

    async def _requests(self, requests: AsyncIterator[bytes], handler: Handler, context: Context) -> AsyncIterator[Any]:
        async for request in requests:
            await self._check_size(request, context)
            try:
                yield _read(request, handler)
            except DecodeError:
                unreadable = InvalidRequest(f"these {len(request)} bytes are no request of this method")
                await abort_with(context, unreadable, self._details.method)

    async def _check_size(self, request: bytes, context: Context) -> None:
        size, most = len(request), self._method.request_bytes
        if size <= most:
            return
        self._guard.count(self._method.kind, "REQUEST_TOO_LARGE")
        too_large = LimitReached(
            f"the request has {size} bytes, this method takes {most}; send less",
            value=f"{size} bytes",
            rule=f"at most {most} bytes",
            reason="REQUEST_TOO_LARGE",
        )
        await abort_with(context, too_large, self._details.method)


def _read(request: bytes, handler: Handler) -> Any:
    """What the next interceptor takes: most read requests themselves."""
    return request if handler.request_deserializer is None else handler.request_deserializer(request)


def client_of(peer: str, auth: Mapping[str, Any]) -> str:
    """Whom a call is counted for: the name in the client's certificate, else its address, a /64 of IPv6.

    Empty for a unix socket.
    """
    if peer.startswith(UNIX_PEER):
        return ""
    names = auth.get("x509_common_name")
    if names:
        return f"{NAMED}{bytes(names[0]).decode(errors='replace')}"
    family, _, address = peer.replace("%5B", "[").replace("%5D", "]").partition(":")
    host = address.rpartition(":")[0].strip("[]")
    if family == "ipv6" and not host.startswith("::ffff:"):
        return f"ipv6:{':'.join(_first_words(host))}"
    return f"ipv4:{host.removeprefix('::ffff:')}"


def _first_words(host: str) -> list[str]:
    """The first four of the eight words of an IPv6 address."""
    before, _, after = host.partition("::")
    head, tail = before.split(":") if before else [], after.split(":") if after else []
    return [*head, *["0"] * (8 - len(head) - len(tail)), *tail][:4] if "::" in host else head[:4]


def _refuse(context: Context, excess: Excess) -> bytes:
    """End the call without raising, which would cost half as much again."""
    context.set_code(grpc.StatusCode.RESOURCE_EXHAUSTED)
    context.set_details(excess.text)
    context.set_trailing_metadata(_trailer(excess))
    return b""


@functools.lru_cache(maxsize=1024)
def _trailer(excess: Excess) -> tuple[tuple[str, bytes], ...]:
    error = LimitReached(excess.text, value=excess.value, rule=excess.rule, reason=excess.reason)
    error.retry_after_s = excess.retry_after_s
    meaning = meaning_of(error)
    assert meaning is not None
    return trailer_of(error, meaning)
