"""Offers calls to the operator API at a rate, however they are answered, and counts the answers by status."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import grpc
import grpc.aio
from blocksync.v1 import coordinator_pb2, coordinator_pb2_grpc

from trisync.client.channels import CHANNEL_OPTIONS

PERIOD_S: Final = 0.002
ANSWER_S: Final = 10.0

PROC: Final = Path("/proc")


class CallFlood:
    """GetStatus calls over some connections, at a rate that no answer slows down."""

    def __init__(self, address: str, rate: float, connections: int = 1) -> None:
        options = (*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1))
        self._channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(connections)]
        self._stubs = [coordinator_pb2_grpc.CoordinatorServiceStub(channel) for channel in self._channels]
        self._rate = rate
        self._open: set[asyncio.Task[None]] = set()
        self.offered = 0
        self.codes: Counter[str] = Counter()

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            due = int((loop.time() - began) * self._rate)
            while self.offered < due:
                call = loop.create_task(self._call(self._stubs[self.offered % len(self._stubs)]))
                self._open.add(call)
                call.add_done_callback(self._open.discard)
                self.offered += 1
            await asyncio.sleep(PERIOD_S)

    async def close(self) -> None:
        """Wait for the answers that are owed."""
        await asyncio.gather(*self._open)
        for channel in self._channels:
            await channel.close()

    async def _call(self, stub: coordinator_pb2_grpc.CoordinatorServiceAsyncStub) -> None:
        try:
            await stub.GetStatus(coordinator_pb2.GetStatusRequest(), timeout=ANSWER_S)
        except grpc.aio.AioRpcError as error:
            self.codes[error.code().name] += 1
        else:
            self.codes["OK"] += 1


@contextlib.asynccontextmanager
async def flooding(address: str, rate: float, connections: int = 1) -> AsyncIterator[CallFlood]:
    """A flood that lasts as long as the context."""
    flood = CallFlood(address, rate, connections)
    running = asyncio.create_task(flood.run(), name="call-flood")
    try:
        yield flood
    finally:
        running.cancel()
        await flood.close()


def cpu_s(pid: int) -> float:
    """Time on a processor of all threads of a process, without its children."""
    times = [int((task / "schedstat").read_text().split()[0]) for task in (PROC / str(pid) / "task").iterdir()]
    return sum(times) / 1e9


async def share_of_core(pid: int, seconds: float) -> float:
    """How much of a core the process used over this time; 1 is all of it."""
    loop = asyncio.get_running_loop()
    began, used = loop.time(), cpu_s(pid)
    await asyncio.sleep(seconds)
    return (cpu_s(pid) - used) / (loop.time() - began)
