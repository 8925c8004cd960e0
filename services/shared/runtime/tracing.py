"""One trace for each block on its way through the services, off unless an endpoint is given.

Nothing but a block's hash crosses between services for it: the trace id is the first half of the hash, so every
service, and every gateway, finds the same one. Spans that others hang theirs under have an id that both sides can
work out: `step_id`. Only a broadcaster's decision, of which there may be several, goes along with what follows from it.

Edges record a span when it is over, behind `is_on`; without an endpoint that is all it costs, and OpenTelemetry is
not loaded.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NewType, Protocol

from services.shared.ethwire.types import BlockHash
from services.shared.runtime.faults import ConfigInvalid
from services.shared.runtime.metric_catalogue import Catalogue, Label
from services.shared.runtime.process_options import ProcessOptions

SpanId = NewType("SpanId", bytes)
"""8 bytes, not all zero."""

SPAN_ID_BYTES: Final = 8


class Step(enum.Enum):
    """What a span stands for; the value is its name in the trace."""

    HEARD = "block heard"
    """Gateway, once for each peer: from reading it whole, or announced, to handing it on."""
    TAKEN = "block taken"
    """Coordinator: from the first word of it to the end of its import."""
    FETCHED = "block fetched"
    """Coordinator: from asking for an announced block to having it whole."""
    HEADER_CHECKED = "header check"
    SEAL_CHECKED = "seal check"
    IMPORTED = "import"
    FAN_OUT = "fan-out decision"
    """Broadcaster: which peers are sent the block."""
    ANNOUNCE = "announce decision"
    """Broadcaster: which peers are told of it."""
    SENT = "sent to peers"
    """Gateway: from the broadcaster's word to the first byte for the last peer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A step that is over. Times are nanoseconds since 1970."""

    step: Step
    block_hash: BlockHash
    started_ns: int
    ended_ns: int
    parent: SpanId | None
    span_id: SpanId | None = None
    """None: nobody hangs anything under it."""
    attributes: Mapping[str, str | int | bool]


class Tracer(Protocol):
    """Where edges leave their spans. `record` never waits and never fails."""

    @property
    def is_on(self) -> bool:
        """Whether it is worth measuring at all."""

    def record(self, span: Span) -> None: ...

    async def close(self) -> None:
        """Give the last spans a moment to get away."""


class NullTracer:
    """Tracing switched off."""

    is_on: Final = False

    def record(self, span: Span) -> None:
        """Forget it."""

    async def close(self) -> None:
        """Nothing waits."""


def step_id(step: Step, block_hash: BlockHash, who: bytes = b"") -> SpanId:
    """The id of a step that there is once for each block, or once for each block and `who`."""
    digest = hashlib.blake2b(block_hash + who, digest_size=SPAN_ID_BYTES, person=step.name.encode()[:16])
    return SpanId(digest.digest())


def span_id_from_proto(value: bytes) -> SpanId | None:
    """A parent as another service named it; None where that does not trace."""
    return SpanId(value) if len(value) == SPAN_ID_BYTES and any(value) else None


class TraceMetrics:
    """What becomes of the spans; nothing, while tracing is off."""

    def __init__(self, catalogue: Catalogue) -> None:
        catalogue.group("Traces")
        self.spans = catalogue.counters(
            f"{catalogue.service}_trace_spans_total",
            "Spans of traces, by outcome: exported; or lost, when the collector was away or too slow.",
            Label.of("outcome", ("exported", "lost")),
        )


def open_tracer(service: str, options: ProcessOptions, metrics: TraceMetrics, instance: str = "") -> Tracer:
    """The tracer of one service; `instance` tells it from its siblings.

    Raises ConfigInvalid when traces are wanted and OpenTelemetry is not installed.
    """
    if options.trace_endpoint is None:
        return NullTracer()
    try:
        from services.shared.runtime.otlp_tracer import OtlpTracer  # noqa: PLC0415 - loaded only when it is wanted
    except ModuleNotFoundError as missing:
        if missing.name is None or not missing.name.startswith("opentelemetry"):
            raise
        raise ConfigInvalid(
            f"--trace-endpoint {options.trace_endpoint} needs OpenTelemetry, which is not installed: "
            "pip install 'trisync[traces]'"
        ) from missing
    return OtlpTracer((service, instance), options.trace_endpoint, options.trace_sample, metrics)
