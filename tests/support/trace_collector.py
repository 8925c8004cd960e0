"""An OpenTelemetry collector on loopback that keeps what it is sent."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as wire
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc


@dataclass(frozen=True)
class KeptSpan:
    """A span as a trace viewer would show it; ids are hexadecimal, without parent empty."""

    service: str
    instance: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    started_ns: int
    ended_ns: int
    attributes: dict[str, str | int | bool]


@dataclass
class TraceCollector(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes OTLP over gRPC."""

    endpoint: str = ""
    spans: list[KeptSpan] = field(default_factory=list)

    async def Export(self, request: wire.ExportTraceServiceRequest, context: Any) -> wire.ExportTraceServiceResponse:
        for group in request.resource_spans:
            resource = _attributes(group.resource.attributes)
            service, instance = str(resource["service.name"]), str(resource.get("service.instance.id", ""))
            for scope in group.scope_spans:
                self.spans += [_kept(service, instance, span) for span in scope.spans]
        return wire.ExportTraceServiceResponse()


@contextlib.asynccontextmanager
async def running_collector() -> AsyncIterator[TraceCollector]:
    server, collector = grpc.aio.server(), TraceCollector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield collector
    finally:
        await server.stop(0)


def _kept(service: str, instance: str, span: Any) -> KeptSpan:
    return KeptSpan(
        service,
        instance,
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _attributes(span.attributes),
    )


def _attributes(pairs: Any) -> dict[str, str | int | bool]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
