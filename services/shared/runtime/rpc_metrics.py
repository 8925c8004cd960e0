"""Counts the calls that a service answers: how many, with what end, for how long."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from services.shared.runtime.metric_catalogue import OTHER, Catalogue, Label

RPC_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

BUILT_IN: Final = (
    health_pb2.DESCRIPTOR.services_by_name["Health"],
    reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"],
)
"""What every server answers besides its own services."""

CODES: Final = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
"""The names of gRPC's status codes."""


class RpcMetrics:
    """Methods are named `Service/Method`; a method that no service has is `other`."""

    def __init__(self, catalogue: Catalogue, services: Iterable[ServiceDescriptor]) -> None:
        described = [*services, *BUILT_IN]
        self._method_of = {
            f"/{service.full_name}/{method.name}": f"{service.name}/{method.name}"
            for service in described
            for method in service.methods
        }
        methods = Label.of("method", [*self._method_of.values(), OTHER])
        name = catalogue.service
        catalogue.group("RPC")
        self.calls = catalogue.counters(
            f"{name}_rpc_calls_total",
            "Calls and streams answered, by method and gRPC status code, counted at their end.",
            methods,
            Label.of("code", CODES),
        )
        self.seconds = catalogue.histograms(
            f"{name}_rpc_seconds",
            "How long calls took, without those that stream: they last as long as the client likes.",
            methods,
            buckets=RPC_BUCKETS,
        )
        self.in_flight = catalogue.gauge(f"{name}_rpc_in_flight", "Calls and streams that are open now.")

    def method(self, path: str) -> str:
        """The label for `/package.Service/Method`; what comes from a client is never a label by itself."""
        return self._method_of.get(path, OTHER)

    def ended(self, method: str, code: str, began: float | None) -> None:
        """`began`, of `time.perf_counter`, for calls that do not stream."""
        self.calls.labels(method, code).inc()
        if began is not None:
            self.seconds.labels(method).observe(time.perf_counter() - began)
