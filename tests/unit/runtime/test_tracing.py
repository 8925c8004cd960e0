"""Tracing switched off, asked for without its packages, and what is kept of a block."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from services.shared.ethwire.types import BlockHash
from services.shared.runtime import otlp_tracer
from services.shared.runtime.faults import ConfigInvalid
from services.shared.runtime.metric_catalogue import Catalogue
from services.shared.runtime.otlp_tracer import SPANS_WAITING, OtlpTracer
from services.shared.runtime.process_options import ProcessOptions
from services.shared.runtime.tracing import Span, Step, TraceMetrics, open_tracer, span_id_from_proto, step_id

ENDPOINT = "http://127.0.0.1:4317"

IMPORTS_OF_A_RUN = """
import sys
from prometheus_client import CollectorRegistry
import services.broadcaster.__main__, services.peer_gateway.__main__, services.sync_coordinator.__main__
from services.shared.runtime.process_options import ProcessOptions
from services.shared.runtime.metric_catalogue import Catalogue
from services.shared.runtime.tracing import TraceMetrics, open_tracer
metrics = TraceMetrics(Catalogue("test", CollectorRegistry()))
assert not open_tracer("test", ProcessOptions(), metrics).is_on
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""


def trace_metrics() -> TraceMetrics:
    return TraceMetrics(Catalogue("test", CollectorRegistry()))


def hash_ending(last: int) -> BlockHash:
    return BlockHash(bytes(24) + last.to_bytes(8))


def span_of(block_hash: BlockHash) -> Span:
    return Span(
        step=Step.IMPORTED,
        block_hash=block_hash,
        started_ns=10,
        ended_ns=20,
        parent=step_id(Step.TAKEN, block_hash),
        attributes={"block.number": 7},
    )


def outcomes(registry: CollectorRegistry) -> dict[str, float | None]:
    names = ("exported", "lost")
    return {name: registry.get_sample_value("test_trace_spans_total", {"outcome": name}) for name in names}


def test_services_load_no_opentelemetry_when_nothing_is_traced():
    project = Path(__file__).resolve().parents[3]
    subprocess.run([sys.executable, "-c", IMPORTS_OF_A_RUN], check=True, cwd=project, timeout=60)


def test_start_is_refused_with_the_name_of_the_extra_when_it_is_not_installed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "services.shared.runtime.otlp_tracer")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    with pytest.raises(ConfigInvalid, match=r"not installed: pip install 'trisync\[traces\]'"):
        open_tracer(
            "test", ProcessOptions(trace_endpoint=ENDPOINT), TraceMetrics(Catalogue("test", CollectorRegistry()))
        )


@pytest.mark.parametrize(
    "endpoint", ["127.0.0.1:4317", "http://host", "ftp://host:1", "http://host:x", "http://h:1/v1"]
)
def test_endpoint_that_is_no_address_of_a_collector_is_refused(endpoint: str):
    with pytest.raises(ValueError, match="--trace-endpoint"):
        ProcessOptions(trace_endpoint=endpoint)


@pytest.mark.parametrize("sample", [-0.1, 1.1])
def test_sample_that_is_no_part_is_refused(sample: float):
    with pytest.raises(ValueError, match="--trace-sample"):
        ProcessOptions(trace_sample=sample)


def test_sampling_goes_by_the_hash_so_that_all_services_agree():
    registry, kept = CollectorRegistry(), InMemorySpanExporter()
    tracer = OtlpTracer(("test", ""), ENDPOINT, 0.25, TraceMetrics(Catalogue("test", registry)), kept)
    hashes = [hash_ending(part << 61) for part in range(8)]
    for block_hash in hashes:
        tracer.record(span_of(block_hash))
    tracer.end()
    attributes = [span.attributes or {} for span in kept.get_finished_spans()]
    assert [found["block.hash"] for found in attributes] == [f"0x{block_hash.hex()}" for block_hash in hashes[:2]]
    assert outcomes(registry) == {"exported": 2, "lost": 0}


def test_spans_over_the_limit_are_lost_and_counted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(otlp_tracer, "SEND_EVERY_S", 60)
    registry, kept = CollectorRegistry(), InMemorySpanExporter()
    tracer = OtlpTracer(("test", ""), ENDPOINT, 1.0, TraceMetrics(Catalogue("test", registry)), kept)
    for number in range(SPANS_WAITING + 3):
        tracer.record(span_of(hash_ending(number)))
    tracer.end()
    assert outcomes(registry) == {"exported": SPANS_WAITING, "lost": 3}


def test_span_ids_differ_by_step_block_and_peer():
    one, other = hash_ending(1), hash_ending(2)
    ids = {
        step_id(Step.TAKEN, one),
        step_id(Step.TAKEN, other),
        step_id(Step.HEARD, one),
        step_id(Step.HEARD, one, b"alice"),
        step_id(Step.HEARD, one, b"bob"),
    }
    assert len(ids) == 5
    assert {len(span_id) for span_id in ids} == {8}


@pytest.mark.parametrize("value", [b"", bytes(8), b"short", b"far too long"])
def test_parent_that_is_no_span_id_is_none(value: bytes):
    assert span_id_from_proto(value) is None
