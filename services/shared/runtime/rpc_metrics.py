"""Counts the calls that a service answers: how many, with what end, for how long."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Any, Final, cast

import grpc
import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor
from grpc_channelz.v1 import channelz_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from services.shared.rpc.wrapped_method import Behaviour, behaviour_of, with_behaviour
from services.shared.runtime.metric_catalogue import OTHER, Catalogue, Label
from services.shared.runtime.reflection import REFLECTION_NAMES

RPC_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

BUILT_IN: Final = (
    channelz_pb2.DESCRIPTOR.services_by_name["Channelz"],
    health_pb2.DESCRIPTOR.services_by_name["Health"],
    reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"],
)
"""What every server answers besides its own services."""


DEADLINE_SLACK_S: Final = 0.1
"""A call that is given up with less time left than this was given up at its deadline: the client's clock, which
started first, may tell us before ours does."""


class RpcMetrics:
    """Methods are named `Service/Method`; a method that no service has is `other`."""

    def __init__(self, catalogue: Catalogue, services: Iterable[ServiceDescriptor]) -> None:
        described = [*services, *BUILT_IN]
        self._method_of = {
            f"/{service.full_name}/{method.name}": f"{service.name}/{method.name}"
            for service in described
            for method in service.methods
        }
        # Tools ask by the newer name first; the messages are the same.
        self._method_of[f"/{REFLECTION_NAMES[1]}/ServerReflectionInfo"] = "ServerReflection/ServerReflectionInfo"
        self._single = {
            f"{service.name}/{method.name}"
            for service in described
            for method in service.methods
            if not method.client_streaming and not method.server_streaming
        }
        methods = Label.of("method", [*dict.fromkeys(self._method_of.values()), OTHER])
        name = catalogue.service
        catalogue.group("RPC")
        self.calls = catalogue.counters(
            f"{name}_rpc_calls_total",
            "Calls and streams answered, by method and gRPC status code, counted at their end.",
            methods,
            Label.of("code", (code.name for code in grpc.StatusCode)),
        )
        self.seconds = catalogue.histograms(
            f"{name}_rpc_seconds",
            "How long calls took, without those that stream: they last as long as the client likes.",
            methods,
            buckets=RPC_BUCKETS,
        )
        for method in self._single:
            # Shown at 0 before the first call, so that a rate over it has an answer.
            self.calls.labels(method, grpc.StatusCode.OK.name)
            self.seconds.labels(method)
        self.in_flight = catalogue.gauge(f"{name}_rpc_in_flight", "Calls and streams that are open now.")

    def method(self, path: str) -> str:
        """The label for `/package.Service/Method`; what comes from a client is never a label by itself."""
        return self._method_of.get(path, OTHER)

    def is_timed(self, method: str) -> bool:
        """By the contract: an interceptor may read the request of a single call as a stream, to refuse it sooner."""
        return method in self._single

    def began(self) -> None:
        self.in_flight.inc()

    def ended(self, method: str, code: grpc.StatusCode, took_s: float | None) -> None:
        """`took_s` is None for what streams."""
        self.in_flight.dec()
        self.calls.labels(method, code.name).inc()
        if took_s is not None:
            self.seconds.labels(method).observe(took_s)


class RpcMetricsInterceptor(grpc.aio.ServerInterceptor):
    """Counts every call. It is the first of a server's interceptors, so that it sees what the others refuse."""

    def __init__(self, metrics: RpcMetrics) -> None:
        self._metrics = metrics

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        found = cast("Any", await continuation(handler_call_details))
        method = self._metrics.method(handler_call_details.method)
        if found is None:
            self._metrics.began()
            self._metrics.ended(method, grpc.StatusCode.UNIMPLEMENTED, None)
            return None
        wrap = self._stream if found.response_streaming else self._once
        return with_behaviour(found, wrap(method, behaviour_of(found)), found.request_deserializer)

    def _once(self, method: str, behaviour: Behaviour) -> Behaviour:
        metrics, is_timed = self._metrics, self._metrics.is_timed(method)

        async def call(request: Any, context: Any) -> Any:
            metrics.began()
            began, error = time.perf_counter(), None
            try:
                return await behaviour(request, context)
            except BaseException as raised:
                error = raised
                raise
            finally:
                took_s = time.perf_counter() - began
                metrics.ended(method, _code(context, error), took_s if is_timed else None)

        return call

    def _stream(self, method: str, behaviour: Behaviour) -> Behaviour:
        metrics = self._metrics

        async def generate(request: Any, context: Any) -> AsyncIterator[Any]:
            metrics.began()
            error: BaseException | None = None
            try:
                answer = behaviour(request, context)
                if inspect.isawaitable(answer):
                    # A servicer that writes to the context itself yields nothing.
                    await answer
                    return
                async with aclosing(answer):
                    async for message in answer:
                        yield message
            except BaseException as raised:
                error = raised
                raise
            finally:
                metrics.ended(method, _code(context, error), None)

        return generate


def _code(context: Any, error: BaseException | None) -> grpc.StatusCode:
    """What the client was told, or would have been told if it had waited."""
    told = context.code()
    if isinstance(told, grpc.StatusCode) and told is not grpc.StatusCode.OK:
        return told
    if error is None:
        return grpc.StatusCode.OK
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        left_s = context.time_remaining()
        is_late = left_s is not None and left_s < DEADLINE_SLACK_S
        return grpc.StatusCode.DEADLINE_EXCEEDED if is_late else grpc.StatusCode.CANCELLED
    return grpc.StatusCode.UNKNOWN
