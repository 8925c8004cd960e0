"""Handing in new blocks, and how blocks spread: the Block service of the operator API.

async with OperatorClient("127.0.0.1:7450") as node:
    submitted = await node.blocks.submit(block_rlp)
    async for propagation in node.blocks.watch_propagations(follow=True):
        print(propagation.number, propagation.propagated_to, propagation.announced_to)
"""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import grpc
import grpc.aio
from blocksync.v1 import blocks_pb2, blocks_pb2_grpc

from trisync.node_status import ChainHead, head_from_proto

SUBMIT_TIMEOUT_S: Final = 60.0
"""How long a block may take: its seal may need an epoch's cache, which is made for minutes on a slow machine."""

READ_TIMEOUT_S: Final = 5.0
"""How long the broadcasters' memory may take to answer."""


class BlockSource(enum.StrEnum):
    """How a block came to the node."""

    UNKNOWN = "unknown"
    PEER = "peer"
    SUBMITTED = "submitted"
    SYNCED = "synced"


_SOURCES: Final[Mapping[int, BlockSource]] = {
    blocks_pb2.BLOCK_SOURCE_PEER: BlockSource.PEER,
    blocks_pb2.BLOCK_SOURCE_SUBMITTED: BlockSource.SUBMITTED,
    blocks_pb2.BLOCK_SOURCE_SYNCED: BlockSource.SYNCED,
}


@dataclass(frozen=True, slots=True)
class SubmittedBlock:
    """A block that is stored. One that was known before is sent to nobody."""

    block: ChainHead
    is_new: bool
    canonical: bool
    propagated: int
    announced: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Propagation:
    """One block's way through the node. Times are microseconds since 1970, None for what has not happened.

    The first sight is timed by the gateway's machine, validity and import by the coordinator's, the sending by the
    broadcaster's: where those are several, so are the clocks.
    """

    block_hash: bytes
    number: int
    source: BlockSource
    first_seen_us: int | None
    first_seen_from: bytes
    first_seen_whole: bool
    whole_arrivals: int
    hash_arrivals: int
    duplicates: int
    header_valid_us: int | None
    imported_us: int | None
    propagated_us: int | None
    propagated_to: int
    lacked_by: int
    announced_us: int | None
    announced_to: int
    refused_by: int


@dataclass(frozen=True, slots=True)
class RankedPeer:
    """A peer that was the first with some of the remembered blocks; `client_name` is empty when it is not connected."""

    node_id: bytes
    first: int
    first_whole: int
    last_first_us: int
    connected: bool
    client_name: str


class BlockCalls:
    """The calls of the Block service. Failed ones raise what `failed` makes of them."""

    def __init__(self, channel: grpc.aio.Channel, failed: Callable[[grpc.aio.AioRpcError], Exception]) -> None:
        self._stub = blocks_pb2_grpc.BlockServiceStub(channel)
        self._failed = failed

    async def submit(self, block_rlp: bytes) -> SubmittedBlock:
        """Hand in a new block, as the RLP of [header, transactions, uncles]; returns once peers were told of it."""
        request = blocks_pb2.SubmitBlockRequest(block_rlp=block_rlp)
        try:
            answer = await self._stub.SubmitBlock(request, timeout=SUBMIT_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise self._failed(error) from error
        is_new = answer.result == blocks_pb2.SUBMIT_BLOCK_RESULT_IMPORTED
        head = head_from_proto(answer.block)
        return SubmittedBlock(head, is_new, answer.canonical, answer.propagated, answer.announced)

    async def propagation(self, block_hash: bytes | None = None) -> Propagation | None:
        """How a block spread, or the newest one; None when it is not among the last 2,000."""
        request = blocks_pb2.GetPropagationRequest(block_hash=block_hash or b"")
        try:
            answer = await self._stub.GetPropagation(request, timeout=READ_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise self._failed(error) from error
        return propagation_from_proto(answer.propagation)

    async def watch_propagations(self, newest: int = 0, *, follow: bool = False) -> AsyncGenerator[Propagation, None]:
        """The newest blocks, oldest first; with `follow` then each block once all peers were told of it."""
        call = self._stub.WatchPropagations(blocks_pb2.WatchPropagationsRequest(newest=newest, follow=follow))
        try:
            async for answer in call:
                yield propagation_from_proto(answer.propagation)
        except grpc.aio.AioRpcError as error:
            raise self._failed(error) from error
        finally:
            call.cancel()

    async def rank_peers(self, limit: int = 0) -> tuple[list[RankedPeer], int]:
        """Peers by how often they were first, at most `limit` (0 is 100), and the number of blocks over all peers."""
        try:
            answer = await self._stub.RankPeers(blocks_pb2.RankPeersRequest(limit=limit), timeout=READ_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise self._failed(error) from error
        ranked = [
            RankedPeer(one.node_id, one.first, one.first_whole, one.last_first_us, one.connected, one.client_name)
            for one in answer.peers
        ]
        return ranked, answer.blocks


def propagation_from_proto(message: blocks_pb2.Propagation) -> Propagation:
    return Propagation(
        block_hash=message.block_hash,
        number=message.number,
        source=_SOURCES.get(message.source, BlockSource.UNKNOWN),
        first_seen_us=message.first_seen_us or None,
        first_seen_from=message.first_seen_from,
        first_seen_whole=message.first_seen_whole,
        whole_arrivals=message.whole_arrivals,
        hash_arrivals=message.hash_arrivals,
        duplicates=message.duplicates,
        header_valid_us=message.header_valid_us or None,
        imported_us=message.imported_us or None,
        propagated_us=message.propagated_us or None,
        propagated_to=message.propagated_to,
        lacked_by=message.lacked_by,
        announced_us=message.announced_us or None,
        announced_to=message.announced_to,
        refused_by=message.refused_by,
    )
