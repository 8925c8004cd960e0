"""The coordinator's calls to the broadcasters. A dead one costs a second at most, and never a sync.

A call waits that second for a broadcaster that is just coming back."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import Final

import grpc
import structlog
from blocksync.v1 import blocks_pb2, broadcast_pb2, broadcast_pb2_grpc, common_pb2, transactions_pb2_grpc

from services.shared.ethwire.types import Announce, Block, BlockHash, PeerId
from services.shared.rpc.channel import open_channel, why_failed
from services.shared.rpc.convert import big_to_bytes
from services.shared.trust.tls_files import TlsWatch
from services.sync_coordinator.core.lacking_counts import LackingCounts, PlaceInRow

CALL_DEADLINE_S: Final = 1.0
"""How long a broadcaster may take to answer before the block is left to the next one."""

COUNT_DEADLINE_S: Final = 0.05
"""How long one may take to count who lacks a block; then its last count stands."""

_log = structlog.get_logger("broadcaster-client")


def unix_us() -> int:
    """Wall-clock time, because other processes' stamps stand beside it: on one machine they are one clock."""
    return time.time_ns() // 1000


class BroadcasterClient:
    """Tells every broadcaster what to send to the peers of its gateways."""

    def __init__(self, addresses: Sequence[str], rng: random.Random | None = None, tls: TlsWatch | None = None) -> None:
        self._channels = {address: open_channel(address, tls) for address in addresses}
        self._stubs = {
            address: broadcast_pb2_grpc.BroadcastServiceStub(channel) for address, channel in self._channels.items()
        }
        self._counts = LackingCounts(list(self._channels), rng or random.Random())
        self.on_announced: Callable[[BlockHash], None] = lambda _: None
        """Called once all broadcasters have been asked to tell of a block."""

    @property
    def channels(self) -> Sequence[grpc.aio.Channel]:
        return list(self._channels.values())

    async def propagate(self, block: Block, total_difficulty: int, origins: Sequence[PeerId]) -> int:
        """Send a block whose header is valid to some of the peers that lack it; the number sent to.

        One without origins is our own.
        """
        request = broadcast_pb2.PropagateRequest(
            header_rlp=block.header.header_rlp,
            body_rlp=block.body_rlp,
            block_hash=block.header.hash,
            number=block.header.number,
            total_difficulty=big_to_bytes(total_difficulty),
            origin_node_ids=origins,
            source=source_of(origins),
            header_valid_us=unix_us(),
        )
        if len(self._stubs) == 1:
            return await self._propagate(next(iter(self._stubs)), request)
        places = await self._count(request)
        answers = await asyncio.gather(
            *(self._propagate(place.broadcaster, _placed(request, place)) for place in places)
        )
        return sum(answers)

    async def announce(
        self,
        announce: Announce,
        origins: Sequence[PeerId] = (),
        *,
        source: blocks_pb2.BlockSource.ValueType = blocks_pb2.BLOCK_SOURCE_SYNCED,
        imported_us: int = 0,
    ) -> int:
        """Tell every peer that still lacks the block that it exists; the number told."""
        request = broadcast_pb2.AnnounceBlockRequest(
            announce=common_pb2.Announce(block_hash=announce.block_hash, number=announce.number),
            origin_node_ids=origins,
            source=source,
            imported_us=imported_us or unix_us(),
        )
        answers = await asyncio.gather(*(self._announce(address, request) for address in self._stubs))
        self.on_announced(announce.block_hash)
        return sum(answers)

    def transaction_stubs(self) -> dict[str, transactions_pb2_grpc.TransactionServiceAsyncStub]:
        """By address, for what operators ask of the broadcasters."""
        return {
            address: transactions_pb2_grpc.TransactionServiceStub(channel)
            for address, channel in self._channels.items()
        }

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close()

    async def _count(self, block: broadcast_pb2.PropagateRequest) -> list[PlaceInRow]:
        request = broadcast_pb2.CountLackingRequest(
            block_hash=block.block_hash, origin_node_ids=list(block.origin_node_ids)
        )
        answers = await asyncio.gather(*(self._count_one(address, request) for address in self._stubs))
        counted = zip(self._stubs, answers, strict=True)
        return self._counts.row({address: count for address, count in counted if count is not None})

    async def _count_one(self, address: str, request: broadcast_pb2.CountLackingRequest) -> int | None:
        try:
            return (await self._stubs[address].CountLacking(request, timeout=COUNT_DEADLINE_S)).lacking
        except grpc.aio.AioRpcError as error:
            _log.debug("peers not counted in time", broadcaster=address, why=error.code().name)
            return None

    async def _propagate(self, address: str, request: broadcast_pb2.PropagateRequest) -> int:
        try:
            answer = await self._stubs[address].Propagate(request, timeout=CALL_DEADLINE_S, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            _log.warning("block not propagated", broadcaster=address, number=request.number, why=why_failed(error))
            # Its gateways go to another one, where their peers are counted.
            self._counts.on_count(address, 0)
            return 0
        self._counts.on_count(address, answer.lacking)
        return answer.propagated

    async def _announce(self, address: str, request: broadcast_pb2.AnnounceBlockRequest) -> int:
        try:
            answer = await self._stubs[address].AnnounceBlock(request, timeout=CALL_DEADLINE_S, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            number = request.announce.number
            _log.warning("block not announced", broadcaster=address, number=number, why=why_failed(error))
            return 0
        return answer.announced


def source_of(origins: Sequence[PeerId]) -> blocks_pb2.BlockSource.ValueType:
    """A new block that no peer gave us was handed in."""
    return blocks_pb2.BLOCK_SOURCE_PEER if origins else blocks_pb2.BLOCK_SOURCE_SUBMITTED


def _placed(request: broadcast_pb2.PropagateRequest, place: PlaceInRow) -> broadcast_pb2.PropagateRequest:
    """The request with one broadcaster's place."""
    placed = broadcast_pb2.PropagateRequest()
    placed.MergeFrom(request)
    placed.lacking_before, placed.lacking_everywhere = place.lacking_before, place.lacking_everywhere
    return placed
