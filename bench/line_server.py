"""A helper process of a measurement: a JSON object a line in, one a line out; it ends with its input."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import uvloop

Command = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]

ANSWER_BYTES: Final = 1024 * 1024
"""Longest line of an answer."""

STOP_S: Final = 5.0


def serve_lines(start: Callable[[], Awaitable[Mapping[str, Command]]]) -> None:
    """Run as a helper: `start` gives the commands by name, in a running loop."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard), hard))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(start))


async def _serve(start: Callable[[], Awaitable[Mapping[str, Command]]]) -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), os.fdopen(0, "rb"))
    commands = await start()
    while line := await lines.readline():
        asked = json.loads(line)
        answer = dict(await commands[asked["do"]](asked))
        print(json.dumps({**answer, "cpu_s": time.process_time()}), flush=True)


class LineProcess:
    """A helper, from the measurement's side."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, module: str) -> LineProcess:
        """Its stderr is ours: a helper that fails says why."""
        command = (sys.executable, "-m", module)
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=ANSWER_BYTES)
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, command: str, **arguments: object) -> Mapping[str, Any]:
        """Do one thing and wait for it. Raises RuntimeError where the helper ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": command, **arguments}).encode() + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a helper ended while it was asked to {command}")
        answer: Mapping[str, Any] = json.loads(line)
        return answer

    async def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(STOP_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
