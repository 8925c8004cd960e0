"""Answers peers' questions from the coordinator's chain, in time or empty."""

from __future__ import annotations

import asyncio
from typing import Final, assert_never

import grpc
import grpc.aio
from blocksync.v1 import chain_reader_pb2 as wire
from blocksync.v1 import chain_reader_pb2_grpc

from services.peer_gateway.core.request_book import Request
from services.peer_gateway.edges.coordinator_link import CoordinatorLink
from services.peer_gateway.metrics import GatewayMetrics
from services.shared.ethwire.limits import MAX_BODIES_PER_REPLY, MAX_NODE_DATA_PER_REPLY, MAX_RECEIPTS_PER_REPLY
from services.shared.ethwire.messages import GetBlockBodies, GetBlockHeaders, GetNodeData, GetReceipts
from services.shared.rpc.convert import headers_query_to_proto
from services.shared.runtime.logs import get_log

EMPTY_REPLY: Final = b"\xc0"
"""The payload of every reply without an item."""

RETRY_S: Final = 0.1
"""Pause before a call is repeated while the coordinator's link looks well but the call does not get through."""

CALL_GRACE_S: Final = 1.0
"""A call's own deadline comes so much later than ours, which ends it first and is counted as late."""

LOOKUPS_PER_ITEM: Final = 2
"""Hashes looked up per item that may be returned, so that a list of unknown hashes costs a bounded number of
reads; known clients ask for no more than they can get."""


class ChainReader:
    """A client of ChainReaderService that never fails: what cannot be read in time is answered empty."""

    def __init__(self, channel: grpc.aio.Channel, link: CoordinatorLink, metrics: GatewayMetrics) -> None:
        self._stub = chain_reader_pb2_grpc.ChainReaderServiceStub(channel)
        self._link, self._metrics = link, metrics
        self._log = get_log("chain-reader")

    async def answer(self, question: Request, deadline: float) -> bytes:
        """The payload of the reply. Until `deadline`, in the loop's time, an absent coordinator is waited for."""
        kind = type(question).__name__
        try:
            async with asyncio.timeout_at(deadline):
                payload = await self._read_when_up(question, deadline)
        except TimeoutError:
            self._metrics.questions.labels(kind, "late").inc()
            return EMPTY_REPLY
        except grpc.aio.AioRpcError as problem:
            self._metrics.questions.labels(kind, "failed").inc()
            self._log.warning("a peer's question failed", kind=kind, why=problem.details())
            return EMPTY_REPLY
        self._metrics.questions.labels(kind, "empty" if payload == EMPTY_REPLY else "answered").inc()
        return payload

    async def _read_when_up(self, question: Request, deadline: float) -> bytes:
        while True:
            await self._link.wait_up()
            try:
                return await self._read(question, deadline - asyncio.get_running_loop().time() + CALL_GRACE_S)
            except grpc.aio.AioRpcError as problem:
                if problem.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
            await asyncio.sleep(RETRY_S)

    async def _read(self, question: Request, timeout_s: float) -> bytes:
        match question:
            case GetBlockHeaders():
                query = headers_query_to_proto(question)
                return (await self._stub.ReadHeaders(wire.ReadHeadersRequest(query=query), timeout=timeout_s)).payload
            case GetBlockBodies(hashes):
                joined = b"".join(hashes[: LOOKUPS_PER_ITEM * MAX_BODIES_PER_REPLY])
                return (await self._stub.ReadBodies(wire.ReadBodiesRequest(hashes=joined), timeout=timeout_s)).payload
            case GetReceipts(hashes):
                joined = b"".join(hashes[: LOOKUPS_PER_ITEM * MAX_RECEIPTS_PER_REPLY])
                return (
                    await self._stub.ReadReceipts(wire.ReadReceiptsRequest(hashes=joined), timeout=timeout_s)
                ).payload
            case GetNodeData(hashes):
                joined = b"".join(hashes[: LOOKUPS_PER_ITEM * MAX_NODE_DATA_PER_REPLY])
                return (
                    await self._stub.ReadNodeData(wire.ReadNodeDataRequest(hashes=joined), timeout=timeout_s)
                ).payload
            case _:
                assert_never(question)
