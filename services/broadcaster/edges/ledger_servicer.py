"""The coordinator's questions about how blocks spread."""

from __future__ import annotations

from typing import Any

import grpc.aio
from blocksync.v1 import broadcast_pb2, broadcast_pb2_grpc

from services.broadcaster.core.ledger import Ledger
from services.broadcaster.edges.contract import first_peer_to_proto, propagation_to_proto
from services.shared.rpc.convert import block_hash_from_proto
from services.shared.rpc.errors import UnknownBlock

Context = grpc.aio.ServicerContext[Any, Any]


class LedgerServicer(broadcast_pb2_grpc.LedgerServiceServicer):
    """Translates; the ledger answers."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def ReadPropagation(
        self, request: broadcast_pb2.ReadPropagationRequest, context: Context
    ) -> broadcast_pb2.ReadPropagationResponse:
        record = self._ledger.get(block_hash_from_proto(request.block_hash))
        if record is None:
            raise UnknownBlock(f"block 0x{request.block_hash.hex()} is not among the last ones")
        return broadcast_pb2.ReadPropagationResponse(propagation=propagation_to_proto(record))

    async def ReadPropagations(
        self, request: broadcast_pb2.ReadPropagationsRequest, context: Context
    ) -> broadcast_pb2.ReadPropagationsResponse:
        records = self._ledger.newest(request.newest)
        return broadcast_pb2.ReadPropagationsResponse(propagations=map(propagation_to_proto, records))

    async def ReadFirstPeers(
        self, request: broadcast_pb2.ReadFirstPeersRequest, context: Context
    ) -> broadcast_pb2.ReadFirstPeersResponse:
        peers = map(first_peer_to_proto, self._ledger.first_peers())
        return broadcast_pb2.ReadFirstPeersResponse(peers=peers)
