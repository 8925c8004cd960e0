"""What every service tells of its own process: private memory, CPU seconds, event-loop lag, its build."""

from __future__ import annotations

import asyncio
import platform
import resource
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final

import grpc

from services.shared.runtime.metric_catalogue import Catalogue, Label

LAG_PERIOD_S: Final = 0.25
"""How often the event loop's lag is sampled."""

LAG_BUCKETS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class ProcessMetrics:
    """The same for each service, under its own name."""

    def __init__(self, catalogue: Catalogue) -> None:
        name = catalogue.service
        catalogue.group("Process")
        memory = catalogue.gauge(
            f"{name}_private_memory_bytes", "Private memory in use, without mapped files and child processes."
        )
        memory.set_function(private_memory_bytes)
        catalogue.kept_counters(f"{name}_cpu_seconds_total", "CPU time used, without child processes.").follow(_cpu)
        self._lag = catalogue.histogram(
            f"{name}_event_loop_lag_seconds", "How late the event loop runs what is due.", LAG_BUCKETS
        )
        build = catalogue.gauges(
            f"{name}_build_info",
            "1: the version of trisync, and of the Python and gRPC that it runs on.",
            Label("version"),
            Label("python"),
            Label("grpc"),
        )
        build.labels(version("trisync"), platform.python_version(), grpc.__version__).set(1)

    async def watch_loop_lag(self) -> None:
        """Run as a task for the life of the service; cancel it to end."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_PERIOD_S
            await asyncio.sleep(LAG_PERIOD_S)
            self._lag.observe(max(0.0, loop.time() - due))


def private_memory_bytes(pid: int | str = "self") -> int:
    """Anonymous memory of a process. Where /proc is missing, the peak size of this process stands in."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for line in lines:
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def _cpu() -> Mapping[tuple[str, ...], float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {(): used.ru_utime + used.ru_stime}
