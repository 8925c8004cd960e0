"""The ChainReader service: peers' questions, asked by gateways."""

from __future__ import annotations

from typing import Any

import grpc
from blocksync.v1 import chain_reader_pb2, chain_reader_pb2_grpc

from services.shared.rpc.convert import headers_query_from_proto, split_hashes
from services.sync_coordinator.core.chain_serving import (
    ServedChain,
    answer_bodies,
    answer_headers,
    answer_node_data,
    answer_receipts,
)
from services.sync_coordinator.metrics import CoordinatorMetrics

Context = grpc.aio.ServicerContext[Any, Any]


class ChainReaderServicer(chain_reader_pb2_grpc.ChainReaderServiceServicer):
    """Translates; `core.chain_serving` answers."""

    def __init__(self, chain: ServedChain, metrics: CoordinatorMetrics) -> None:
        self._chain = chain
        self._served = {kind: metrics.served_bytes.labels(kind) for kind in ("headers", "bodies", "receipts", "state")}

    async def ReadHeaders(
        self, request: chain_reader_pb2.ReadHeadersRequest, context: Context
    ) -> chain_reader_pb2.ReadHeadersResponse:
        payload = answer_headers(self._chain, headers_query_from_proto(request.query))
        self._served["headers"].inc(len(payload))
        return chain_reader_pb2.ReadHeadersResponse(payload=payload)

    async def ReadBodies(
        self, request: chain_reader_pb2.ReadBodiesRequest, context: Context
    ) -> chain_reader_pb2.ReadBodiesResponse:
        payload = answer_bodies(self._chain, split_hashes(request.hashes))
        self._served["bodies"].inc(len(payload))
        return chain_reader_pb2.ReadBodiesResponse(payload=payload)

    async def ReadReceipts(
        self, request: chain_reader_pb2.ReadReceiptsRequest, context: Context
    ) -> chain_reader_pb2.ReadReceiptsResponse:
        payload = answer_receipts(self._chain, split_hashes(request.hashes))
        self._served["receipts"].inc(len(payload))
        return chain_reader_pb2.ReadReceiptsResponse(payload=payload)

    async def ReadNodeData(
        self, request: chain_reader_pb2.ReadNodeDataRequest, context: Context
    ) -> chain_reader_pb2.ReadNodeDataResponse:
        payload = answer_node_data(self._chain, split_hashes(request.hashes))
        self._served["state"].inc(len(payload))
        return chain_reader_pb2.ReadNodeDataResponse(payload=payload)
