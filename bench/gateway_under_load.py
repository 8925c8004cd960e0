"""A gateway process with a scripted coordinator and load generators around it, and what it says of itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.line_server import LineProcess
from bench.resource_watch import ResourceWatch
from trisync.cli.child import Child
from trisync.cli.plan import ServicePlan

GENERATOR: Final = "bench.load_generator"
SINK: Final = "bench.sink_coordinator"

_BUCKET: Final = re.compile(r'event_loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)')


@dataclass(frozen=True, slots=True)
class MetricsPage:
    """One look at a service's /metrics."""

    text: str

    @classmethod
    async def read(cls, address: str) -> MetricsPage:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        page = (await reader.read()).decode()
        writer.close()
        return cls(page)

    def lag_buckets(self) -> Mapping[float, float]:
        return {float(bound): float(count) for bound, count in _BUCKET.findall(self.text)}


def lag_p99_ms(before: MetricsPage, after: MetricsPage) -> float:
    """The 99th percentile of the event loop's lag between two looks, within its bucket as if spread evenly."""
    earlier, later = before.lag_buckets(), after.lag_buckets()
    counts = {bound: later[bound] - earlier.get(bound, 0.0) for bound in sorted(later)}
    wanted = 0.99 * max(counts.values(), default=0.0)
    lower, below = 0.0, 0.0
    for bound, count in counts.items():
        if count >= wanted and count > below:
            upper = bound if bound != float("inf") else 2 * lower
            return 1e3 * (lower + (upper - lower) * (wanted - below) / (count - below))
        lower, below = bound, count
    return 0.0


class GatewayUnderLoad:
    """One gateway and its surroundings."""

    def __init__(self, gateway: Child, sink: LineProcess, stack: contextlib.AsyncExitStack) -> None:
        self.gateway, self.sink, self._stack = gateway, sink, stack
        self.generators: list[LineProcess] = []

    @property
    def enode(self) -> str:
        return str(self.gateway.facts["enode"])

    async def generator(self) -> LineProcess:
        """One more load generator."""
        process = await LineProcess.start(GENERATOR)
        self._stack.push_async_callback(process.stop)
        self.generators.append(process)
        return process

    async def metrics(self) -> MetricsPage:
        return await MetricsPage.read(str(self.gateway.facts["metrics"]))

    def watch(self) -> ResourceWatch:
        """CPU time and memory from now on."""
        assert self.gateway.pid is not None
        generators = {process.pid: f"generator_{at}" for at, process in enumerate(self.generators)}
        return ResourceWatch({self.gateway.pid: "gateway", self.sink.pid: "sink", **generators})


@contextlib.asynccontextmanager
async def gateway_under_load(arguments: Sequence[str] = ()) -> AsyncIterator[GatewayUnderLoad]:
    """A gateway that listens, attached to a scripted coordinator."""
    async with contextlib.AsyncExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trisync-")))
        address = f"unix:{scratch / 'sink.sock'}"
        sink = await LineProcess.start(SINK)
        stack.push_async_callback(sink.stop)
        await sink.ask("listen", address=address)
        nothing = os.open(os.devnull, os.O_RDONLY)
        stack.callback(os.close, nothing)
        gateway = Child(_plan(scratch, address, arguments), nothing)
        stack.push_async_callback(stop_child, gateway)
        await gateway.start()
        await gateway.wait_ready()
        yield GatewayUnderLoad(gateway, sink, stack)


def _plan(scratch: Path, address: str, arguments: Sequence[str]) -> ServicePlan:
    words = ["--coordinator", address, "--broadcaster", address, "--run-dir", str(scratch), "--stop-with-parent"]
    words += ["--host", "127.0.0.1", "--port", "0", "--nodiscover", "--log-level", "warning"]
    return ServicePlan(
        name="gateway",
        service="peer_gateway",
        module="services.peer_gateway",
        run_dir=scratch,
        log_path=scratch / "gateway.log",
        arguments=(*words, *arguments),
    )


async def stop_child(service: Child) -> None:
    """Tell it to stop, and kill it where it does not."""
    service.terminate()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(5):
            await service.wait_end()
    service.kill_group()


async def measured_for(load: GatewayUnderLoad, seconds: float) -> tuple[Mapping[str, Any], ResourceWatch, float]:
    """What the sink counted in that time, what all used, and the gateway's lag."""
    before, watch = await load.metrics(), load.watch()
    sampling = asyncio.create_task(watch.run(), name="resource-watch")
    await load.sink.ask("reset")
    await asyncio.sleep(seconds)
    counted = await load.sink.ask("stats")
    lag = lag_p99_ms(before, await load.metrics())
    sampling.cancel()
    return counted, watch, lag
