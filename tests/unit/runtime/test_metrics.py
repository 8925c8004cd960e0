from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, generate_latest

from services.shared.runtime.metric_catalogue import Catalogue
from services.shared.runtime.metrics_http import PAGES_AT_ONCE, PAGES_PER_S, MetricsServer
from services.shared.runtime.process_metrics import ProcessMetrics, private_memory_bytes


def registry() -> CollectorRegistry:
    found = CollectorRegistry()
    ProcessMetrics(Catalogue("broadcaster", found))
    return found


def test_process_tells_memory_cpu_and_loop_lag():
    shown = generate_latest(registry()).decode()
    for name in ("private_memory_bytes", "cpu_seconds_total", "event_loop_lag_seconds_bucket"):
        assert f"broadcaster_{name}" in shown


def test_private_memory_is_that_of_a_python_process():
    assert 2**20 < private_memory_bytes() < 2**34


def test_metrics_are_served_at_their_path_only():
    server = MetricsServer(registry())
    assert server.response(b"GET /metrics HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"broadcaster_cpu_seconds_total" in server.response(b"GET /metrics?x=1 HTTP/1.1\r\n\r\n")
    for request in (b"GET / HTTP/1.1\r\n\r\n", b"POST /metrics HTTP/1.1\r\n\r\n", b"\r\n\r\n", b"\xff\r\n\r\n"):
        assert server.response(request).startswith(b"HTTP/1.1 404 ")


def test_page_that_is_asked_for_too_often_is_not_written_anew():
    now, counted = [0.0], CollectorRegistry()
    counter, server = Counter("asked", "Times.", registry=counted), MetricsServer(counted, lambda: now[0])

    def shown() -> int:
        counter.inc()
        page = server.response(b"GET /metrics HTTP/1.1\r\n\r\n").decode()
        return int(float(page.partition("\nasked_total ")[2].partition("\n")[0]))

    assert [shown() for _ in range(PAGES_AT_ONCE)] == list(range(1, PAGES_AT_ONCE + 1))
    assert [shown(), shown()] == [PAGES_AT_ONCE] * 2
    now[0] += 1 / PAGES_PER_S
    assert [shown(), shown()] == [PAGES_AT_ONCE + 3] * 2
