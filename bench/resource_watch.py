"""CPU time and private memory of services and of the worker processes they start, read from /proc."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

SAMPLE_S: Final = 0.1
"""How often memory is looked at: shorter peaks than this are missed."""

PROC: Final = Path("/proc")
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")

WORKERS_SUFFIX: Final = "_workers"


class _Task(NamedTuple):
    pid: int
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Usage:
    """By service name; worker processes of a service count in its CPU time and have a memory entry of their own."""

    cpu_seconds: Mapping[str, float]
    peak_memory_mb: Mapping[str, float]


class ResourceWatch:
    """Samples until cancelled. Each service leads a session, and its workers are the session's other members."""

    def __init__(self, leaders: Mapping[str, int]) -> None:
        """`leaders` are the process ids of the services by name."""
        self._names = {pid: name for name, pid in leaders.items()}
        self._peaks: dict[str, int] = dict.fromkeys(leaders, 0)
        self._before = self._cpu_by_name()

    async def run(self) -> None:
        while True:
            self._sample()
            await asyncio.sleep(SAMPLE_S)

    def usage(self) -> Usage:
        """Since this watch was made. Caller's duty: the services still run."""
        self._sample()
        after = self._cpu_by_name()
        return Usage(
            {name: round(after[name] - self._before[name], 2) for name in self._before},
            {name: round(peak / 1e6, 1) for name, peak in self._peaks.items()},
        )

    def _sample(self) -> None:
        sizes: dict[str, int] = {}
        for leader, tasks in self._sessions().items():
            for task in tasks:
                name = self._names[leader] + ("" if task.pid == leader else WORKERS_SUFFIX)
                sizes[name] = sizes.get(name, 0) + _private_bytes(task.pid)
        for name, size in sizes.items():
            self._peaks[name] = max(self._peaks.get(name, 0), size)

    def _cpu_by_name(self) -> dict[str, float]:
        sessions = self._sessions()
        return {name: sum(task.cpu_s for task in sessions[leader]) for leader, name in self._names.items()}

    def _sessions(self) -> dict[int, list[_Task]]:
        """The processes of each leader's session."""
        sessions: dict[int, list[_Task]] = {leader: [] for leader in self._names}
        for entry in os.scandir(PROC):
            if not entry.name.isdecimal():
                continue
            try:
                stat = (PROC / entry.name / "stat").read_text()
            except OSError:
                # It ended between the listing and the look.
                continue
            # The command's name, in parentheses, may hold anything; fields are counted after it (proc(5)).
            fields = stat.rpartition(")")[2].split()
            session = int(fields[3])
            if session in sessions:
                ticks = sum(int(field) for field in fields[11:15])
                sessions[session].append(_Task(int(entry.name), ticks / TICKS_PER_S))
        return sessions


def _private_bytes(pid: int) -> int:
    """Anonymous memory: mapped files, such as the chain store, do not count."""
    try:
        lines = (PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)
