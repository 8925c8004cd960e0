"""The coordinator's calls to the broadcasters. A dead one costs a second at most, and never a sync.

A call waits that second for a broadcaster that is just coming back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import grpc
import structlog
from blocksync.v1 import broadcast_pb2, broadcast_pb2_grpc, common_pb2, transactions_pb2_grpc

from services.shared.ethwire.types import Announce, Block, PeerId
from services.shared.rpc.channel import open_channel
from services.shared.rpc.convert import big_to_bytes

CALL_DEADLINE_S: Final = 1.0
"""How long a broadcaster may take to answer before the block is left to the next one (DESIGN decision 5)."""

_log = structlog.get_logger("broadcaster-client")


class BroadcasterClient:
    """Tells every broadcaster what to send to the peers of its gateways."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._channels = {address: open_channel(address) for address in addresses}
        self._stubs = {
            address: broadcast_pb2_grpc.BroadcastServiceStub(channel) for address, channel in self._channels.items()
        }

    async def propagate(self, block: Block, total_difficulty: int, origins: Sequence[PeerId]) -> int:
        """Send a block whose header is valid to some of the peers that lack it; the number sent to."""
        request = broadcast_pb2.PropagateRequest(
            header_rlp=block.header.header_rlp,
            body_rlp=block.body_rlp,
            block_hash=block.header.hash,
            number=block.header.number,
            total_difficulty=big_to_bytes(total_difficulty),
            origin_node_ids=origins,
        )
        answers = await asyncio.gather(*(self._propagate(address, request) for address in self._stubs))
        return sum(answers)

    async def announce(self, announce: Announce, origins: Sequence[PeerId] = ()) -> int:
        """Tell every peer that still lacks the block that it exists; the number told."""
        request = broadcast_pb2.AnnounceBlockRequest(
            announce=common_pb2.Announce(block_hash=announce.block_hash, number=announce.number),
            origin_node_ids=origins,
        )
        answers = await asyncio.gather(*(self._announce(address, request) for address in self._stubs))
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

    async def _propagate(self, address: str, request: broadcast_pb2.PropagateRequest) -> int:
        try:
            answer = await self._stubs[address].Propagate(request, timeout=CALL_DEADLINE_S, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            _log.warning("block not propagated", broadcaster=address, number=request.number, why=error.code().name)
            return 0
        return answer.propagated

    async def _announce(self, address: str, request: broadcast_pb2.AnnounceBlockRequest) -> int:
        try:
            answer = await self._stubs[address].AnnounceBlock(request, timeout=CALL_DEADLINE_S, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            number = request.announce.number
            _log.warning("block not announced", broadcaster=address, number=number, why=error.code().name)
            return 0
        return answer.announced
