"""Digests of peers' replies: big batches of roots by worker processes, all else here, in slices."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from services.peer_gateway.core.reply_decoding import Reply, digest_slices
from services.peer_gateway.core.root_frames import RootedReply
from services.peer_gateway.edges.root_process import RootProcess, RootProcessDied
from services.peer_gateway.metrics import GatewayMetrics
from services.shared.ethwire.messages import BlockBodies, Receipts

WORKER_BATCH_BYTES: Final = 32 * 1024
"""A smaller batch is done here: the way to a worker and back costs as much."""

IN_FLIGHT_BYTES: Final = 4 * 1024 * 1024
"""What may wait for one worker: a twentieth of a second of its work. What comes on top is done here, so that
both cores are used, and nothing grows. A larger batch goes to an idle worker."""

ANSWER_S: Final = 10.0
"""A worker that takes longer is stuck, and killed; the largest batch takes a fifth of a second."""


class Digests:
    """Computes what `Replies` needs; the result is the same wherever it is computed."""

    def __init__(self, worker_count: int, metrics: GatewayMetrics) -> None:
        self._workers = [RootProcess() for _ in range(worker_count)]
        self._by = {place: metrics.digested.labels(place) for place in ("worker", "gateway")}
        self._lost = metrics.root_worker_losses
        self._turn = asyncio.Lock()

    @property
    def worker_pids(self) -> Sequence[int]:
        """The worker processes that run now."""
        return [worker.pid for worker in self._workers if worker.pid is not None]

    async def run(self) -> None:
        """Keep the workers until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for worker in self._workers:
                tasks.create_task(worker.run(), name="root-worker")

    async def of(self, reply: Reply) -> bytes:
        """The digests of the reply's items, joined. Raises MalformedRlp for an item of a wrong shape."""
        size = sum(map(len, reply[0]))
        if isinstance(reply, BlockBodies | Receipts) and size >= WORKER_BATCH_BYTES:
            worker = self._free_worker(size)
            if worker is not None and (digests := await self._ask(worker, reply)) is not None:
                self._by["worker"].inc(size)
                return digests
        self._by["gateway"].inc(size)
        return await self._compute(reply)

    async def _compute(self, reply: Reply) -> bytes:
        """One slice a turn of the event loop, of whichever peer: fifty peers are not to hold it up together."""
        slices: list[bytes] = []
        work = digest_slices(reply)
        while True:
            async with self._turn:
                try:
                    slices.append(next(work))
                except StopIteration:
                    return b"".join(slices)
                # Whoever waits for the turn has it in the loop's next round.
                await asyncio.sleep(0)

    def _free_worker(self, size_bytes: int) -> RootProcess | None:
        """The worker with the least to do, if the batch fits; all of them are wanted from now on."""
        chosen, least = None, IN_FLIGHT_BYTES
        for worker in self._workers:
            worker.want()
            in_flight = worker.bytes_in_flight
            if (
                in_flight is not None
                and in_flight < least
                and (not in_flight or in_flight + size_bytes <= IN_FLIGHT_BYTES)
            ):
                chosen, least = worker, in_flight
        return chosen

    async def _ask(self, worker: RootProcess, reply: RootedReply) -> bytes | None:
        """None where the worker died or is stuck."""
        try:
            async with asyncio.timeout(ANSWER_S):
                return await worker.ask(reply)
        except TimeoutError:
            worker.kill()
        except RootProcessDied:
            pass
        self._lost.inc()
        return None
