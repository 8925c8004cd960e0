"""Follows the coordinator's chain over its WatchChain stream, for as long as the broadcaster runs."""

from __future__ import annotations

import asyncio
from typing import Final

import grpc.aio
from blocksync.v1 import coordinator_pb2, coordinator_pb2_grpc

from services.broadcaster.core.followed_chain import FollowedChain, SnapshotNews
from services.broadcaster.edges.contract import block_change_from_proto, head_from_proto, snapshot_from_proto
from services.broadcaster.edges.pool_desk import PoolDesk
from services.broadcaster.metrics import BroadcasterMetrics
from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.types import BlockHash
from services.shared.rpc.channel import Backoff, Endpoint, why_failed
from services.shared.rpc.errors import InvalidRequest
from services.shared.runtime.logs import get_log

SNAPSHOT_TIMEOUT_S: Final = 10.0
"""The snapshot is the stream's first message and costs the coordinator nothing."""


class ChainWatch:
    """One stream at a time, and the next after a back-off. Logs when it is lost and found, not each attempt."""

    def __init__(
        self, coordinator: Endpoint, chain: FollowedChain, pool: PoolDesk, metrics: BroadcasterMetrics, backoff: Backoff
    ) -> None:
        self._coordinator, self._chain, self._metrics, self._backoff = coordinator, chain, metrics, backoff
        self._pool = pool
        self._newest: tuple[int, BlockHash] | None = None
        """The newest block whose contents were taken; the head may be further."""
        self._log = get_log("chain-watch")
        self._told_away = False
        self._followed_before = False

    async def run(self) -> None:
        """Run as a task; cancel it to end."""
        async with self._coordinator.open() as channel:
            stub = coordinator_pb2_grpc.ChainWatchServiceStub(channel)
            while True:
                reason = await self._follow(stub)
                self._on_ended(reason)
                await asyncio.sleep(self._backoff.next_delay_s())

    async def _follow(self, stub: coordinator_pb2_grpc.ChainWatchServiceAsyncStub) -> str:
        """Follow one stream to its end; returns why it ended."""
        request = coordinator_pb2.WatchChainRequest()
        if self._newest is not None:
            request.newest_number, request.newest_hash = self._newest
        stream = stub.WatchChain(request)
        try:
            async with asyncio.timeout(SNAPSHOT_TIMEOUT_S) as waiting:
                async for message in stream:
                    waiting.reschedule(None)
                    await self._take(message)
        except TimeoutError:
            return f"no snapshot within {SNAPSHOT_TIMEOUT_S:.0f} s"
        except grpc.aio.AioRpcError as error:
            return why_failed(error)
        except (InvalidRequest, MalformedRlp, ValueError) as problem:
            return f"the contract is broken: {problem}"
        finally:
            stream.cancel()
        return "the coordinator ended the stream"

    async def _take(self, message: coordinator_pb2.WatchChainResponse) -> None:
        match message.WhichOneof("content"):
            case "snapshot":
                self._on_snapshot(message.snapshot)
            case "moved":
                moved = message.moved
                head, change = head_from_proto(moved.head), block_change_from_proto(moved)
                self._chain.on_moved(head, accepts_transactions=moved.accepts_transactions, gas_limit=moved.gas_limit)
                self._metrics.head_number.set(head.number)
                if change.skipped:
                    self._newest = head.number, head.block_hash
                elif change.applied:
                    self._newest = change.applied[-1].number, change.applied[-1].block_hash
                await self._pool.on_blocks(change)
            case _:
                raise InvalidRequest("a message without content")
        await self._pool.restore()

    def _on_snapshot(self, message: coordinator_pb2.ChainSnapshot) -> None:
        snapshot = snapshot_from_proto(message)
        news = self._chain.on_snapshot(snapshot)
        self._backoff.reset()
        self._told_away, self._followed_before = False, True
        if self._newest is None or news is SnapshotNews.OTHER_CHAIN:
            self._newest = snapshot.head.number, snapshot.head.block_hash
        self._metrics.following_chain.set(1)
        self._metrics.head_number.set(snapshot.head.number)
        if news is SnapshotNews.OTHER_CHAIN:
            self._log.warning("the coordinator is on another chain than before", network_id=snapshot.network_id)
            self._pool.on_other_chain()
        self._log.info("following the chain", coordinator=self._coordinator.address, head=snapshot.head.number)

    def _on_ended(self, reason: str) -> None:
        self._chain.on_stream_ended()
        self._metrics.following_chain.set(0)
        self._metrics.chain_stream_failures.inc()
        if not self._told_away:
            self._told_away = True
            log = self._log.warning if self._followed_before else self._log.info
            log("not following the chain, trying again", coordinator=self._coordinator.address, reason=reason)
