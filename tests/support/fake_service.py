"""A service that does nothing but live as services do: `python -m tests.support.fake_service --name NAME …`.

`--behaviour` makes it a bad one: refuse to start, end by itself, or not stop when told to.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from services.shared.runtime.faults import StartRefused
from services.shared.runtime.process_options import ProcessOptions
from services.shared.runtime.service import ServiceContext, run_service
from tests.support.deadlines import until


@dataclass(frozen=True, kw_only=True, slots=True)
class FakeConfig(ProcessOptions):
    """A service for tests."""

    behaviour: Literal["serve", "refuse", "fail", "stay", "hang"] = "serve"
    """serve; refuse the start; fail before it; stay when told to stop; hang, deaf to signals."""

    stopped_file: Path | None = None
    """Where a clean stop leaves a line."""

    go_file: Path | None = None
    """Ready only once this file is there."""


async def serve(context: ServiceContext[FakeConfig]) -> None:
    behaviour = context.config.behaviour
    if behaviour == "refuse":
        raise StartRefused("cannot listen on 127.0.0.1:1: address already in use")
    if behaviour == "fail":
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_fail())
    if behaviour == "hang":
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if context.config.go_file is not None:
        await until(context.config.go_file.exists, "the go file")
    context.ready({"enode": "enode://fake"})
    await context.stop.wait()
    if behaviour == "stay":
        await asyncio.Event().wait()
    if context.config.stopped_file is not None:
        with context.config.stopped_file.open("a") as file:
            file.write("stopped\n")


async def _fail() -> None:
    raise RuntimeError("a bug")


if __name__ == "__main__":
    sys.exit(run_service("fake", serve, config_class=FakeConfig))
