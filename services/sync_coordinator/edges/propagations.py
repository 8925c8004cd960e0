"""How blocks spread, over all broadcasters: their ledgers put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, TypeVar

import grpc.aio
from blocksync.v1 import blocks_pb2, broadcast_pb2, broadcast_pb2_grpc

from services.shared.ethwire.types import BlockHash
from services.shared.rpc.deadlines import within
from services.shared.rpc.errors import LimitReached, NotAllowedNow, ReaderTooSlow, UnknownBlock
from services.shared.rpc.outbox import Outbox

READ_DEADLINE_S: Final = 2.0
"""How long a broadcaster may take for what it has in memory; the others' answers do without it then."""

WATCHER_QUEUE_BYTES: Final = 256 * 32
"""Hashes of blocks that may wait for one reader of the stream: minutes on any network."""

MOST_WATCHERS: Final = 64
"""Streams that may be open: each asks the broadcasters about each block."""

T = TypeVar("T")


class Propagations:
    """Asks every broadcaster; one that does not answer is left out, and only if none does the call fails."""

    def __init__(self, channels: Sequence[grpc.aio.Channel]) -> None:
        self._ledgers = [broadcast_pb2_grpc.LedgerServiceStub(channel) for channel in channels]
        self._watchers: set[Outbox[BlockHash]] = set()

    def on_announced(self, block_hash: BlockHash) -> None:
        """A block's way through the broadcasters is at its end."""
        for watcher in list(self._watchers):
            if not watcher.put(block_hash, len(block_hash)):
                watcher.close()
                self._watchers.discard(watcher)

    async def get(self, block_hash: BlockHash) -> blocks_pb2.Propagation:
        """One block's. Raises UnknownBlock, or NotAllowedNow when no broadcaster answers."""
        request = broadcast_pb2.ReadPropagationRequest(block_hash=block_hash)

        async def read(ledger: broadcast_pb2_grpc.LedgerServiceAsyncStub) -> blocks_pb2.Propagation | None:
            try:
                return (await ledger.ReadPropagation(request, timeout=within(READ_DEADLINE_S))).propagation
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
                return None

        found = [one for one in await self._ask(read) if one is not None]
        if not found:
            raise UnknownBlock(f"block 0x{block_hash.hex()} is not among the last 2000 that were relayed")
        return merged(found)

    async def newest(self, count: int) -> list[blocks_pb2.Propagation]:
        """The last `count` blocks, oldest first. Raises NotAllowedNow."""
        request = broadcast_pb2.ReadPropagationsRequest(newest=count)

        async def read(ledger: broadcast_pb2_grpc.LedgerServiceAsyncStub) -> Sequence[blocks_pb2.Propagation]:
            return (await ledger.ReadPropagations(request, timeout=within(READ_DEADLINE_S))).propagations

        by_hash: dict[bytes, list[blocks_pb2.Propagation]] = {}
        for propagations in await self._ask(read):
            for one in propagations:
                by_hash.setdefault(one.block_hash, []).append(one)
        together = sorted(map(merged, by_hash.values()), key=lambda one: one.propagated_us or one.announced_us)
        return together[-count:] if count else []

    async def watch(self, newest: int, *, follow: bool) -> AsyncIterator[blocks_pb2.Propagation]:
        """The newest, then each block once its way has ended. Raises LimitReached, NotAllowedNow or ReaderTooSlow."""
        if len(self._watchers) >= MOST_WATCHERS:
            raise LimitReached(
                f"{MOST_WATCHERS} streams of propagations are open, and no more are served; close one",
                value=str(len(self._watchers)),
                rule=f"at most {MOST_WATCHERS}",
                reason="TOO_MANY_STREAMS",
            )
        watcher: Outbox[BlockHash] = Outbox(WATCHER_QUEUE_BYTES)
        self._watchers.add(watcher)
        try:
            before = await self.newest(newest) if newest else []
            told: set[bytes] = set()
            for one in before:
                # One that is still on its way comes when that has ended, and so only once.
                if one.announced_us or not follow:
                    told.add(one.block_hash)
                    yield one
            if not follow:
                return
            async for block_hash in watcher:
                if block_hash in told:
                    continue
                try:
                    yield await self.get(block_hash)
                except UnknownBlock:
                    continue
        finally:
            self._watchers.discard(watcher)
        raise ReaderTooSlow("blocks came faster than this stream was read")

    async def first_peers(self) -> list[broadcast_pb2.FirstPeer]:
        """Who was first how often, most first. Raises NotAllowedNow."""

        async def read(ledger: broadcast_pb2_grpc.LedgerServiceAsyncStub) -> Sequence[broadcast_pb2.FirstPeer]:
            request = broadcast_pb2.ReadFirstPeersRequest()
            return (await ledger.ReadFirstPeers(request, timeout=within(READ_DEADLINE_S))).peers

        by_peer: dict[bytes, broadcast_pb2.FirstPeer] = {}
        for peers in await self._ask(read):
            for one in peers:
                total = by_peer.setdefault(one.node_id, broadcast_pb2.FirstPeer(node_id=one.node_id))
                total.first += one.first
                total.first_whole += one.first_whole
                total.last_first_us = max(total.last_first_us, one.last_first_us)
        return sorted(by_peer.values(), key=lambda one: (one.first, one.last_first_us), reverse=True)

    async def _ask(
        self, read: Callable[[broadcast_pb2_grpc.LedgerServiceAsyncStub], Coroutine[Any, Any, T]]
    ) -> list[T]:
        answers = await asyncio.gather(*map(read, self._ledgers), return_exceptions=True)
        given: list[T] = []
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, grpc.aio.AioRpcError):
                raise answer
            if not isinstance(answer, BaseException):
                given.append(answer)
        if not given:
            raise NotAllowedNow("no broadcaster answers; see that one runs", reason="NO_BROADCASTER")
        return given


def merged(parts: Iterable[blocks_pb2.Propagation]) -> blocks_pb2.Propagation:
    """One block's records of several broadcasters as one: the earliest times, and counts over all of them."""
    first, *others = parts
    whole = blocks_pb2.Propagation()
    whole.MergeFrom(first)
    for other in others:
        if other.first_seen_us and (not whole.first_seen_us or other.first_seen_us < whole.first_seen_us):
            whole.first_seen_us, whole.first_seen_from = other.first_seen_us, other.first_seen_from
            whole.first_seen_whole = other.first_seen_whole
        for time in ("header_valid_us", "imported_us", "propagated_us", "announced_us"):
            setattr(whole, time, min(filter(None, (getattr(whole, time), getattr(other, time))), default=0))
        for count in ("whole_arrivals", "hash_arrivals", "propagated_to", "lacked_by", "announced_to", "refused_by"):
            setattr(whole, count, getattr(whole, count) + getattr(other, count))
    arrivals = whole.whole_arrivals + whole.hash_arrivals
    is_ours = whole.source == blocks_pb2.BLOCK_SOURCE_SUBMITTED
    whole.duplicates = arrivals if is_ours else max(0, arrivals - 1)
    return whole
