"""What operators and indexers read of the chain: single blocks, and the feed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from blocksync.v1 import common_pb2, coordinator_pb2, coordinator_pb2_grpc

from services.shared.ethwire.types import BlockHash, Header
from services.shared.rpc.convert import block_hash_from_proto
from services.shared.rpc.errors import InvalidRequest, UnknownBlock
from services.sync_coordinator.edges.block_feed import BlockFeed, FeedOrder, stored_receipts
from services.sync_coordinator.edges.status_board import chain_head
from services.sync_coordinator.store.chain_store import ChainStore

Context = grpc.aio.ServicerContext[Any, Any]

Question = (
    coordinator_pb2.GetBlockRequest
    | coordinator_pb2.GetHeaderRequest
    | coordinator_pb2.GetReceiptsRequest
    | coordinator_pb2.GetCanonicalHashRequest
)


class ChainApi(coordinator_pb2_grpc.CoordinatorServiceServicer):
    """The part of the Coordinator service that answers from the store."""

    def __init__(self, store: ChainStore, feed: BlockFeed, *, is_light: bool) -> None:
        self._store, self._feed, self._is_light = store, feed, is_light

    async def GetBlock(
        self, request: coordinator_pb2.GetBlockRequest, context: Context
    ) -> coordinator_pb2.GetBlockResponse:
        header = self._wanted(request)
        return coordinator_pb2.GetBlockResponse(
            head=self._head(header),
            header_rlp=header.header_rlp,
            body_rlp=self._store.body_rlp(header.hash) or b"",
            canonical=self._is_canonical(header),
        )

    async def GetHeader(
        self, request: coordinator_pb2.GetHeaderRequest, context: Context
    ) -> coordinator_pb2.GetHeaderResponse:
        header = self._wanted(request)
        return coordinator_pb2.GetHeaderResponse(
            head=self._head(header), header_rlp=header.header_rlp, canonical=self._is_canonical(header)
        )

    async def GetReceipts(
        self, request: coordinator_pb2.GetReceiptsRequest, context: Context
    ) -> coordinator_pb2.GetReceiptsResponse:
        if self._is_light:
            raise InvalidRequest(
                "receipts are refused: this node runs in light mode, which stores headers only; "
                "ask a node in full mode",
                reason="LIGHT_MODE",
            )
        header = self._wanted(request)
        return coordinator_pb2.GetReceiptsResponse(
            head=self._head(header),
            canonical=self._is_canonical(header),
            receipts_rlp=stored_receipts(self._store, header.hash),
        )

    async def GetCanonicalHash(
        self, request: coordinator_pb2.GetCanonicalHashRequest, context: Context
    ) -> coordinator_pb2.GetCanonicalHashResponse:
        number = request.number
        if request.WhichOneof("block") != "number":
            number = self._wanted(request).number
        block_hash = self._store.canonical_hash(number)
        if block_hash is None and request.WhichOneof("block") == "number":
            raise _unknown(number)
        return coordinator_pb2.GetCanonicalHashResponse(number=number, block_hash=block_hash or b"")

    async def StreamBlocks(
        self, request: coordinator_pb2.StreamBlocksRequest, context: Context
    ) -> AsyncIterator[coordinator_pb2.StreamBlocksResponse]:
        start: int | str
        match request.WhichOneof("from"):
            case "number":
                start = request.number
            case "cursor":
                start = request.cursor
            case _:
                raise InvalidRequest(
                    "a stream of blocks starts from a number or a cursor; neither is given", field="from"
                )
        self._feed.take_place()
        # Not at the end of this generator: gRPC leaves one whose reader went away to the garbage collector.
        context.add_done_callback(lambda _: self._feed.leave_place())  # type: ignore[arg-type] # the stub names a class
        order = FeedOrder(start, request.follow, request.include_bodies, request.include_receipts)
        async for message in self._feed.stream(order):
            yield message

    def _wanted(self, request: Question) -> Header:
        """The header of the block that is named. Raises InvalidRequest or UnknownBlock."""
        block_hash: BlockHash | None
        match request.WhichOneof("block"):
            case "number":
                block_hash = self._store.canonical_hash(request.number)
            case "block_hash":
                block_hash = block_hash_from_proto(request.block_hash)
            case _:
                raise InvalidRequest("a block is named by number or by hash; neither is given", field="block")
        header = self._store.header(block_hash) if block_hash is not None else None
        if header is None:
            raise _unknown(request.number if block_hash is None else f"0x{block_hash.hex()}")
        return header

    def _head(self, header: Header) -> common_pb2.ChainHead:
        return chain_head(header, self._store.total_difficulty(header.hash) or 0)

    def _is_canonical(self, header: Header) -> bool:
        return self._store.canonical_hash(header.number) == header.hash


def _unknown(wanted: int | str) -> UnknownBlock:
    return UnknownBlock(f"block {wanted} is not stored", value=str(wanted))
