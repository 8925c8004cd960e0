"""CPU time and private memory of services and of the worker processes they start, read from /proc."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

SAMPLE_S: Final = 0.1
"""How often memory is looked at: shorter peaks than this are missed."""

SAMPLES_PER_SEARCH: Final = 10
"""Samples between two looks for new workers: those start once and stay, and a look costs some milliseconds."""

PROC: Final = Path("/proc")
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")

WORKERS_SUFFIX: Final = "_workers"


class _Process(NamedTuple):
    pid: int
    parent: int
    cpu_s: float
    """Its own time and that of the children it waited for."""


@dataclass(frozen=True, slots=True)
class Usage:
    """By service name; worker processes of a service count in its CPU time and have a memory entry of their own."""

    cpu_seconds: Mapping[str, float]
    peak_memory_mb: Mapping[str, float]


class ResourceWatch:
    """Samples until cancelled. Workers are whatever descends from a service."""

    def __init__(self, services: Mapping[int, str]) -> None:
        """`services` are names by process id; those of one name are counted together."""
        self._names = services
        self._peaks: dict[str, int] = dict.fromkeys(services.values(), 0)
        self._before = self._cpu_by_name()

    async def run(self) -> None:
        while True:
            family = list(self._family())
            for _ in range(SAMPLES_PER_SEARCH):
                self._sample(family)
                await asyncio.sleep(SAMPLE_S)

    def usage(self) -> Usage:
        """Since this watch was made. Caller's duty: the services still run."""
        self._sample(list(self._family()))
        after = self._cpu_by_name()
        return Usage(
            {name: round(after[name] - self._before[name], 2) for name in self._before},
            {name: round(peak / 1e6, 1) for name, peak in self._peaks.items()},
        )

    def _sample(self, family: Sequence[tuple[_Process, int]]) -> None:
        sizes: dict[str, int] = {}
        for process, service in family:
            name = self._names[service] + ("" if process.pid == service else WORKERS_SUFFIX)
            sizes[name] = sizes.get(name, 0) + _private_bytes(process.pid)
        for name, size in sizes.items():
            self._peaks[name] = max(self._peaks.get(name, 0), size)

    def _cpu_by_name(self) -> dict[str, float]:
        used = dict.fromkeys(self._names.values(), 0.0)
        for process, service in self._family():
            used[self._names[service]] += process.cpu_s
        return used

    def _family(self) -> Iterator[tuple[_Process, int]]:
        """The services and all that descends from them, each with the process id of its service."""
        processes = {process.pid: process for process in _all_processes()}
        for process in processes.values():
            at = process.pid
            while at in processes and at not in self._names:
                at = processes[at].parent
            if at in self._names:
                yield process, at


def _all_processes() -> Iterator[_Process]:
    for entry in PROC.iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            # It ended between the listing and the look.
            continue
        # The command's name, in parentheses, may hold anything; fields are counted after it (proc(5)).
        fields = stat.rpartition(")")[2].split()
        yield _Process(int(entry.name), int(fields[1]), sum(map(int, fields[11:15])) / TICKS_PER_S)


def _private_bytes(pid: int) -> int:
    """Anonymous memory: mapped files, such as the chain store, do not count."""
    try:
        lines = (PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)
