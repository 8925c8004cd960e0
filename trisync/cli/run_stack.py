"""Runs a stack from its start to its clean end, feeding the view with its status."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trisync.cli.child import ChildFailed
from trisync.cli.data_dir import DataDirLock
from trisync.cli.failures import CommandFailed
from trisync.cli.goal import Goal, GoalWatch
from trisync.cli.plan import StackOptions, plan_stack
from trisync.cli.progress import FailedSyncs, SyncMeter, View
from trisync.cli.stack import Stack
from trisync.cli.waiting import first_of, or_stop
from trisync.client import AsyncCoordinator, CoordinatorError
from trisync.node_status import NodeStatus

TICK_S: Final = 0.25
"""How often goal and view look again while no new status comes."""

RECONNECT_S: Final = 0.3
"""Pause before the status is asked for again after the coordinator went away."""

LOG_CHECK_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Reached:
    """The status with which the goal was reached."""

    status: NodeStatus


NO_PEER_HINT_S: Final = 10.0
"""How long static peers may take to connect before the user is told where the reason stands."""


@contextlib.asynccontextmanager
async def running_stack(options: StackOptions, say: Callable[[str], None], stop: asyncio.Event) -> AsyncIterator[Stack]:
    """Start the services; stop them when the block ends, whatever the reason. Raises CommandFailed or Stopped."""
    options.data_dir.prepare()
    lock = await DataDirLock.acquire(options.data_dir)
    stack = Stack(plan_stack(options), lock.descriptor, say)
    try:
        await or_stop(stack.start(), stop)
        yield stack
    except ChildFailed as failure:
        raise CommandFailed(str(failure), max(1, failure.exit_code)) from failure
    finally:
        await stack.stop()
        options.data_dir.remove_sockets_dir()
        lock.release()


async def sync_until(stack: Stack, goal: Goal | None, view: View, stop: asyncio.Event) -> Reached:
    """Show the sync until the goal is reached; without one, until Stopped. Raises ChildFailed, Stopped."""
    feed = StatusFeed(stack.plan.coordinator_address)

    async def watch() -> Reached:
        meter, failures = SyncMeter(), FailedSyncs()
        goal_watch = GoalWatch(goal) if goal is not None else None
        clock = asyncio.get_running_loop().time
        hint_at: float | None = clock() + NO_PEER_HINT_S if stack.plan.has_static_peers else None
        while True:
            status = await feed.newest(TICK_S)
            if status is None:
                continue
            view.show(meter.on_status(status, clock()), clock())
            if (failure := failures.on_status(status, clock())) is not None:
                view.say(failure)
            if status.peer_count:
                hint_at = None
            elif hint_at is not None and clock() >= hint_at:
                hint_at = None
                view.say(f"no peer is connected yet; {stack.plan.gateways[0].log_path} says why")
            if goal_watch is not None and goal_watch.reached(status, clock()):
                return Reached(status)

    async def supervise() -> Reached:
        await stack.supervise()

    async def follow() -> Reached:
        await feed.run()
        raise AssertionError("the feed runs until cancelled")

    return await or_stop(first_of(watch(), supervise(), follow()), stop)


class StatusFeed:
    """The newest status of a coordinator that may come and go."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._newest: NodeStatus | None = None
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Follow the coordinator until cancelled."""
        while True:
            with contextlib.suppress(CoordinatorError):
                async with AsyncCoordinator(self._address) as client:
                    async for status in client.watch_status():
                        self._newest = status
                        self._changed.set()
            await asyncio.sleep(RECONNECT_S)

    async def newest(self, patience_s: float) -> NodeStatus | None:
        """A new status, or the last one known after `patience_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._changed.wait()
        self._changed.clear()
        return self._newest


@contextlib.asynccontextmanager
async def logs_followed(directory: Path) -> AsyncIterator[None]:
    """Copy what services write to their logs meanwhile to stderr."""
    places = _log_sizes(directory)
    following = asyncio.create_task(_follow_logs(directory, places), name="follow-logs")
    try:
        yield
    finally:
        following.cancel()
        _copy_logs(directory, places)


def _log_sizes(directory: Path) -> dict[Path, int]:
    return {path: path.stat().st_size for path in directory.glob("*.log")}


async def _follow_logs(directory: Path, places: dict[Path, int]) -> None:
    while True:
        _copy_logs(directory, places)
        await asyncio.sleep(LOG_CHECK_S)


def _copy_logs(directory: Path, places: dict[Path, int]) -> None:
    for path in sorted(directory.glob("*.log")):
        size, place = path.stat().st_size, places.get(path, 0)
        if size != place:
            with path.open("rb") as log:
                # A shorter log was put aside and begun anew.
                log.seek(place if size >= place else 0)
                sys.stderr.write(log.read().decode(errors="replace"))
                places[path] = log.tell()
    sys.stderr.flush()
