"""Sends spans to an OpenTelemetry collector, by OTLP over gRPC, from a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections import deque
from typing import Final

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

from services.shared.runtime.logs import get_log
from services.shared.runtime.tracing import SPAN_ID_BYTES, Span, SpanId, TraceMetrics

SPANS_WAITING: Final = 2048
"""Spans that may wait for the collector, about 2 MB: those of some hundred blocks. More are lost, and counted."""

SPANS_AT_ONCE: Final = 512
"""Spans in one call."""

SEND_EVERY_S: Final = 1.0
"""How long a span may wait for company."""

EXPORT_TIMEOUT_S: Final = 2.0
"""How long the collector may take for one call, repetitions included."""

CLOSE_WITHIN_S: Final = 1.0
"""How long the end of a service may wait for the last spans."""

TRACE_ID_BYTES: Final = 16

SAMPLE_BYTES: Final = 8
"""So much of the hash decides whether a block is traced: the same blocks in all services."""


class OtlpTracer:
    """Implements `Tracer`. The collector's troubles reach nobody else: one warning, then only the count."""

    is_on: Final = True

    def __init__(
        self,
        identity: tuple[str, str],
        endpoint: str,
        sample: float,
        metrics: TraceMetrics,
        exporter: SpanExporter | None = None,
    ) -> None:
        """`identity` is the service and its name among siblings. `exporter` stands in for the one to `endpoint`."""
        # What it logs for each failed call is counted here instead.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
        service, instance = identity
        named = {"service.namespace": "trisync", "service.name": service}
        self._resource = Resource(named | ({"service.instance.id": instance} if instance else {}))
        self._exporter = exporter or OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_S)
        self._endpoint, self._metrics = endpoint, metrics
        self._sampled_below = int(sample * 2 ** (8 * SAMPLE_BYTES))
        self._rng = random.Random()
        self._waiting: deque[ReadableSpan] = deque()
        self._ending = threading.Event()
        self._has_warned = False
        self._log = get_log("traces")
        self._thread = threading.Thread(target=self._send, name="traces", daemon=True)
        self._thread.start()

    def record(self, span: Span) -> None:
        if int.from_bytes(span.block_hash[-SAMPLE_BYTES:]) >= self._sampled_below:
            return
        if len(self._waiting) >= SPANS_WAITING:
            self._metrics.spans.labels("lost").inc()
            return
        own_id = span.span_id or self._rng.randbytes(SPAN_ID_BYTES)
        self._waiting.append(
            ReadableSpan(
                name=span.step.value,
                context=_context(span, own_id),
                parent=None if span.parent is None else _context(span, span.parent, is_remote=True),
                resource=self._resource,
                attributes={"block.hash": f"0x{span.block_hash.hex()}", **span.attributes},
                kind=SpanKind.INTERNAL,
                start_time=span.started_ns,
                end_time=max(span.started_ns, span.ended_ns),
            )
        )

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.end)

    def end(self) -> None:
        """`close` for a thread: waits a moment for what is left to be sent."""
        self._ending.set()
        self._thread.join(CLOSE_WITHIN_S)

    def _send(self) -> None:
        """The thread: at most one call at a time."""
        while not self._ending.wait(SEND_EVERY_S):
            self._send_waiting()
        self._send_waiting()
        self._exporter.shutdown()

    def _send_waiting(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(SPANS_AT_ONCE, len(self._waiting)))]
            try:
                is_taken = self._exporter.export(batch) is SpanExportResult.SUCCESS
            except Exception as problem:  # noqa: BLE001 - whatever it is, blocks matter more than their traces
                is_taken = False
                self._log.debug("trace exporter failed", why=repr(problem))
            self._metrics.spans.labels("exported" if is_taken else "lost").inc(len(batch))
            if not is_taken and not self._has_warned:
                self._has_warned = True
                self._log.warning("traces are lost, further losses are only counted", collector=self._endpoint)


def _context(span: Span, span_id: SpanId | bytes, *, is_remote: bool = False) -> SpanContext:
    return SpanContext(
        trace_id=int.from_bytes(span.block_hash[:TRACE_ID_BYTES]),
        span_id=int.from_bytes(span_id),
        is_remote=is_remote,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )
