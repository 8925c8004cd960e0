"""Runs one service as a process: configuration, logs, signals, exit codes."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import stat
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import uvloop

from services.shared.runtime.config import read_config
from services.shared.runtime.faults import CannotContinue, ConfigInvalid, StartRefused
from services.shared.runtime.logs import configure_logs, get_log
from services.shared.runtime.memory import settle_memory
from services.shared.runtime.open_files import raise_open_files
from services.shared.runtime.process_options import ProcessOptions
from services.shared.runtime.ready_file import remove_ready, write_ready

STOP_WITHIN_S: Final = 4.0
"""How long a service may take to stop before it is cancelled; supervisors kill at five seconds."""

CANCEL_WITHIN_S: Final = 0.5
"""How long cancelled tasks may take before the process ends regardless."""

PARENT_CHECK_S: Final = 0.5
"""How often a child without a pipe from its parent checks that the parent still lives."""

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130

Ready = Callable[[Mapping[str, object]], None]
"""Called by a service once it can be used, with facts for the ready file; a second call replaces them."""


C = TypeVar("C", bound=ProcessOptions)


@dataclass(frozen=True, slots=True)
class ServiceContext(Generic[C]):
    """What a service is given: it runs until `stop` is set, and calls `ready` once it can be used."""

    config: C
    stop: asyncio.Event
    ready: Ready


def run_service(
    service: str,
    run: Callable[[ServiceContext[C]], Awaitable[None]],
    *,
    config_class: type[C],
    argv: Sequence[str] | None = None,
) -> int:
    """Run until it ends or is told to stop; the result is the exit code."""
    try:
        config = read_config(config_class, sys.argv[1:] if argv is None else argv)
    except ConfigInvalid as problem:
        return _refuse(service, problem, EXIT_USAGE)
    configure_logs(service, level=config.log_level, as_json=config.log_json)
    settle_memory()
    raise_open_files()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_supervise(service, run, config))
    except BaseExceptionGroup as group:
        return _report(service, _expected(group) or group)
    except Exception as problem:  # noqa: BLE001 - the outermost frame of the process
        return _report(service, problem)
    finally:
        if config.run_dir is not None:
            remove_ready(config.run_dir, service)


async def _supervise(service: str, run: Callable[[ServiceContext[C]], Awaitable[None]], config: C) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_on_callback_failed)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _on_signal, stop)
    parent_watch = _watch_parent(stop) if config.stop_with_parent else None
    context = ServiceContext(config, stop, functools.partial(_announce_ready, service, config.run_dir))
    running = asyncio.ensure_future(run(context))
    stopping = asyncio.create_task(stop.wait(), name="stop-signal")
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            await asyncio.wait({running}, timeout=STOP_WITHIN_S)
        if not running.done():
            get_log("runtime").warning("stopping takes too long, cancelling", after_s=STOP_WITHIN_S)
            running.cancel()
            await asyncio.wait({running}, timeout=CANCEL_WITHIN_S)
        if not running.done():
            _end_now(EXIT_FAILED)
        if running.cancelled():
            return EXIT_FAILED
        await running
        return EXIT_DONE
    finally:
        stopping.cancel()
        if parent_watch is not None:
            parent_watch.cancel()


def _on_callback_failed(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A failure of what the service works with is one line, also in a timer; bugs keep their traceback."""
    problem = context.get("exception")
    if isinstance(problem, CannotContinue):
        get_log("runtime").error("cannot continue", why=str(problem))
    else:
        loop.default_exception_handler(context)


def _on_signal(stop: asyncio.Event) -> None:
    if stop.is_set():
        _end_now(EXIT_INTERRUPTED)
    stop.set()


def _end_now(code: int) -> None:
    sys.stderr.flush()
    os._exit(code)


def _announce_ready(service: str, run_dir: Path | None, facts: Mapping[str, Any]) -> None:
    if run_dir is not None:
        write_ready(run_dir, service, **facts)
    get_log("runtime").info("ready", **facts)


def _watch_parent(stop: asyncio.Event) -> asyncio.Task[None] | None:
    """Stop when the parent is gone: its end of our standard input closes, or our parent's id changes."""
    if not stat.S_ISFIFO(os.fstat(0).st_mode):
        return asyncio.create_task(_poll_parent(stop, os.getppid()), name="parent-watch")
    loop = asyncio.get_running_loop()

    def on_input() -> None:
        if not os.read(0, 4096):
            loop.remove_reader(0)
            stop.set()

    loop.add_reader(0, on_input)
    return None


async def _poll_parent(stop: asyncio.Event, parent: int) -> None:
    while os.getppid() == parent:  # noqa: ASYNC110 - the kernel sets no event of ours
        await asyncio.sleep(PARENT_CHECK_S)
    stop.set()


def _expected(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    """The one reason to end that a TaskGroup wrapped, if that is what it is."""
    for problem in group.exceptions:
        inner = _expected(problem) if isinstance(problem, BaseExceptionGroup) else problem
        if isinstance(inner, StartRefused | ConfigInvalid | CannotContinue):
            return inner
    return None


def _report(service: str, problem: BaseException) -> int:
    if isinstance(problem, ConfigInvalid):
        return _refuse(service, problem, EXIT_USAGE)
    if isinstance(problem, StartRefused | CannotContinue):
        return _refuse(service, problem, EXIT_FAILED)
    get_log("runtime").error("service failed", exc_info=problem)
    return EXIT_FAILED


def _refuse(service: str, problem: BaseException, code: int) -> int:
    print(f"{service}: {problem}", file=sys.stderr, flush=True)
    return code
