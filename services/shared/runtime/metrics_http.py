"""Serves /metrics from the service's own event loop."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from services.shared.runtime.faults import StartRefused

REQUEST_TIMEOUT_S: Final = 5.0
"""A scraper that takes longer to ask or to read is cut off."""

REQUEST_LIMIT_BYTES: Final = 8192
"""Longest request head; a scraper's is a few hundred bytes."""

PAGES_AT_ONCE: Final = 100

PAGES_PER_S: Final = 10.0
"""A page takes the event loop some 10 ms to write. Whoever asks more often is given the last one again."""

MAX_CONNECTIONS: Final = 16
"""Scrapes at once; more are refused, so that a stuck scraper cannot use up our files."""


class MetricsServer:
    """One GET of /metrics per connection; anything else is answered with 404."""

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry, self._clock = registry, clock
        self._page, self._pages_left, self._filled_at = b"", float(PAGES_AT_ONCE), clock()
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
        """From now on nothing is read for a scrape any more: what it would read is about to be closed."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections <= MAX_CONNECTIONS:
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    if self._server is not None:
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
        return _http("200 OK", CONTENT_TYPE_LATEST, self._newest_page())

    def _newest_page(self) -> bytes:
        now = self._clock()
        grown = self._pages_left + (now - self._filled_at) * PAGES_PER_S
        self._pages_left, self._filled_at = min(float(PAGES_AT_ONCE), grown), now
        if self._pages_left >= 1:
            self._pages_left -= 1
            self._page = generate_latest(self._registry)
        return self._page


def _http(status: str, content_type: str, body: bytes) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body
