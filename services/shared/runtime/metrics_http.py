"""Serves /metrics from the service's own event loop, and measures the process itself."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from services.shared.runtime.faults import StartRefused

REQUEST_TIMEOUT_S: Final = 5.0
"""A scraper that takes longer to ask or to read is cut off."""

REQUEST_LIMIT_BYTES: Final = 8192
"""Longest request head; a scraper's is a few hundred bytes."""

MAX_CONNECTIONS: Final = 16
"""Scrapes at once; more are refused, so that a stuck scraper cannot use up our files."""

LAG_PERIOD_S: Final = 0.25
"""How often the event loop's lag is sampled."""

LAG_BUCKETS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class MetricsServer:
    """One GET of /metrics per connection; anything else is answered with 404."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._server: asyncio.Server | None = None
        self._connections = 0

    async def start(self, host: str, port: int) -> int:
        """Listen on `host:port` (0 is any port); the result is the port."""
        try:
            self._server = await asyncio.start_server(self._answer, host, port, limit=REQUEST_LIMIT_BYTES)
        except OSError as problem:
            reason = os.strerror(problem.errno).lower() if problem.errno else str(problem)
            raise StartRefused(
                f"cannot serve metrics on {host}:{port}: {reason}; choose another --metrics-port"
            ) from problem
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections <= MAX_CONNECTIONS:
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self.response(head))
                    await writer.drain()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            # The scraper's own doing: it left, was too slow, or did not speak HTTP.
            return
        finally:
            self._connections -= 1
            writer.close()

    def response(self, head: bytes) -> bytes:
        """The answer to a request, given its first line and headers."""
        method, _, rest = head.partition(b" ")
        path = rest.split(b" ", 1)[0].split(b"?", 1)[0]
        if method != b"GET" or path != b"/metrics":
            return _http("404 Not Found", "text/plain", b"only GET /metrics is served here\n")
        return _http("200 OK", CONTENT_TYPE_LATEST, generate_latest(self._registry))


def _http(status: str, content_type: str, body: bytes) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


class ProcessMetrics:
    """What every service tells of its own process: private memory, CPU seconds, event-loop lag."""

    def __init__(self, service: str, registry: CollectorRegistry) -> None:
        registry.register(_ProcessCollector(service))
        self._lag = Histogram(
            f"{service}_event_loop_lag_seconds",
            "How late the event loop runs what is due.",
            buckets=LAG_BUCKETS,
            registry=registry,
        )

    async def watch_loop_lag(self) -> None:
        """Run as a task for the life of the service; cancel it to end."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_PERIOD_S
            await asyncio.sleep(LAG_PERIOD_S)
            self._lag.observe(max(0.0, loop.time() - due))


class _ProcessCollector(Collector):
    def __init__(self, service: str) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            f"{self._service}_private_memory_bytes",
            "Private memory in use, without mapped files.",
            value=private_memory_bytes(),
        )
        used = resource.getrusage(resource.RUSAGE_SELF)
        yield CounterMetricFamily(f"{self._service}_cpu_seconds", "CPU time used.", value=used.ru_utime + used.ru_stime)


def private_memory_bytes(pid: int | str = "self") -> int:
    """Anonymous memory of a process. Where /proc is missing, the peak size of this process stands in."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for line in lines:
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0
