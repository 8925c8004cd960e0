"""Structured logs on stderr, as lines for people or as JSON."""

from __future__ import annotations

import logging
import sys
from typing import cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

Log = FilteringBoundLogger


def configure_logs(service: str, *, level: str, as_json: bool) -> None:
    """Call once, at the start of the process. Lines of libraries that use `logging` come out the same way."""
    render: list[Processor]
    if as_json:
        render = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        render = [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
            )
        ]
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            _name_service(service),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_IntoStructlog(level=max(threshold, logging.WARNING))]


def _name_service(service: str) -> Processor:
    """Not by a context variable, for threads of gRPC, in which some lines are written, have contexts of their own."""

    def name(logger: WrappedLogger, method: str, line: EventDict) -> EventDict:
        del logger, method
        line["service"] = service
        return line

    return name


def get_log(part: str, **fields: object) -> Log:
    """A logger whose lines carry `part` (the module's role) and the given fields."""
    return cast("Log", structlog.get_logger(part=part, **fields))


def log_at(log: Log, level: str, event: str, **fields: object) -> None:
    """Write a line at the level with this name, such as "info"."""
    log.log(logging.getLevelNamesMapping()[level.upper()], event, **fields)


class _IntoStructlog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        get_log(record.name).log(record.levelno, record.getMessage(), exc_info=record.exc_info)
