"""The services, and `trisync up`, as the processes they are in life; and who started whom."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.deadlines import DEADLINE_S, until
from trisync.cli.chain_choice import ChainChoice
from trisync.cli.data_dir import DataDir, DataDirLock
from trisync.cli.plan import StackOptions, plan_stack
from trisync.cli.stack import Stack

PROC: Final = Path("/proc")


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    exit_code: int
    out: list[str]
    err: list[str]

    @property
    def last_json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out[-1])
        return found


@contextlib.asynccontextmanager
async def running_processes(datadir: Path, chain: ChainChoice, **options: Any) -> AsyncIterator[Stack]:
    """The services of `trisync up` without seal checks, and without `up`: nobody starts them again."""
    data_dir = DataDir(datadir)
    data_dir.prepare()
    lock = await DataDirLock.acquire(data_dir)
    settings = {"host": "127.0.0.1", "port": 0, "nodiscover": True, "seal_check": "none", **options}
    plan = plan_stack(StackOptions(data_dir=data_dir, chain=chain, **settings))
    stack = Stack(plan, lock.descriptor, lambda _: None)
    try:
        await stack.start()
        yield stack
    finally:
        await stack.stop()
        lock.release()


def mainnet_stack(datadir: Path, **options: Any) -> contextlib.AbstractAsyncContextManager[Stack]:
    """The same on mainnet."""
    return running_processes(datadir, ChainChoice("mainnet", None, 1), **options)


@contextlib.asynccontextmanager
async def trisync(*arguments: object) -> AsyncIterator[Process]:
    """A running `trisync` command; killed at the end if it still runs."""
    command = [sys.executable, "-m", "trisync.cli", *map(str, arguments)]
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def outcome_of(process: Process) -> Outcome:
    """Wait until the command ends."""
    async with asyncio.timeout(DEADLINE_S):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Outcome(process.returncode, out.decode().splitlines(), err.decode().splitlines())


async def run_trisync(*arguments: object) -> Outcome:
    async with trisync(*arguments) as process:
        return await outcome_of(process)


async def ready_pid(run_dir: Path, service: str) -> int:
    """The process id of a service that is up."""

    def read() -> int | None:
        try:
            return int(json.loads((run_dir / f"{service}.json").read_text())["pid"])
        except (FileNotFoundError, ValueError):
            return None

    return await until(read, f"{service} to be ready")


def descendants(pid: int) -> set[int]:
    """All processes that `pid` started, and those that they started."""
    parents: dict[int, int] = {}
    for stat in PROC.glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found, parents_found = set[int](), {pid}
    while parents_found:
        parents_found = {child for child, parent in parents.items() if parent in parents_found}
        found |= parents_found
    return found


def has_ended(pid: int) -> bool:
    """Whether the process runs no more, even if nobody waited for it."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def kill(pid: int | None) -> None:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
