"""The ChainWatch service: broadcasters follow our head through it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import grpc
from blocksync.v1 import coordinator_pb2, coordinator_pb2_grpc

from services.shared.rpc.errors import ReaderTooSlow
from services.shared.rpc.outbox import Outbox

WATCHER_QUEUE_BYTES: Final = 1024 * 1024
"""What may wait for one reader; over it the reader is cut off and starts again with a snapshot."""

Context = grpc.aio.ServicerContext[Any, Any]


class ChainWatchServicer(coordinator_pb2_grpc.ChainWatchServiceServicer):
    """Every reader has its own bounded queue, so that a slow one delays nobody."""

    def __init__(self, snapshot: Callable[[], coordinator_pb2.ChainSnapshot]) -> None:
        self._snapshot = snapshot
        self._queues: set[Outbox[coordinator_pb2.ChainMoved]] = set()

    def publish(self, moved: coordinator_pb2.ChainMoved) -> None:
        for queue in self._queues:
            if not queue.put(moved, moved.ByteSize()):
                queue.close()

    async def WatchChain(
        self, request: coordinator_pb2.WatchChainRequest, context: Context
    ) -> AsyncIterator[coordinator_pb2.WatchChainResponse]:
        queue: Outbox[coordinator_pb2.ChainMoved] = Outbox(WATCHER_QUEUE_BYTES)
        self._queues.add(queue)
        try:
            yield coordinator_pb2.WatchChainResponse(snapshot=self._snapshot())
            async for moved in queue:
                yield coordinator_pb2.WatchChainResponse(moved=moved)
        finally:
            self._queues.discard(queue)
        raise ReaderTooSlow("the head moved faster than this stream was read")
