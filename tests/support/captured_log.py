"""What the services of a test log, instead of to stderr."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger


@dataclass
class CapturedLog:
    """Every log line of the services, and every error that asyncio found in no task's hands."""

    lines: list[EventDict] = field(default_factory=list)
    unhandled: list[Mapping[str, Any]] = field(default_factory=list)

    def capture(self, logger: WrappedLogger, method: str, line: EventDict) -> EventDict:
        del logger, method
        self.lines.append(line)
        raise structlog.DropEvent

    def about(self, peer: str, **fields: object) -> list[EventDict]:
        """Lines that name a peer by the start of its node id, with these fields."""
        short = peer[:16]
        named = [line for line in self.lines if short in (line.get("node"), line.get("peer"))]
        return [line for line in named if fields.items() <= line.items()]

    def check_no_traceback(self) -> None:
        """No bug of ours showed itself, in whatever the test did to us."""
        assert [line for line in self.lines if line.get("exc_info") or line["level"] in ("error", "critical")] == []
        assert self.unhandled == []


@contextlib.contextmanager
def captured_logs() -> Iterator[CapturedLog]:
    """Log lines go into the result instead of to stderr."""
    log = CapturedLog()
    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, log.capture],
        cache_logger_on_first_use=False,
    )
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: log.unhandled.append(context))
    try:
        yield log
    finally:
        loop.set_exception_handler(None)
        structlog.configure(**before)
