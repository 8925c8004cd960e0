"""The coordinator's side of the contract: blocks to propagate and to announce."""

from __future__ import annotations

from typing import Any

import grpc.aio
from blocksync.v1 import broadcast_pb2, broadcast_pb2_grpc

from services.broadcaster.edges.contract import (
    peer_ids_from_proto,
    place_from_proto,
    relay_block_from_proto,
    source_from_proto,
)
from services.broadcaster.edges.gateway_links import GatewayLinks
from services.broadcaster.edges.ledger_keeper import LedgerKeeper
from services.shared.ethwire.types import Announce
from services.shared.rpc.convert import announces_from_proto, block_hash_from_proto


class BroadcastServicer(broadcast_pb2_grpc.BroadcastServiceServicer):
    """Translates; the links do the rest, and the ledger notes it."""

    def __init__(self, links: GatewayLinks, ledger: LedgerKeeper) -> None:
        self._links, self._ledger = links, ledger

    async def Propagate(
        self, request: broadcast_pb2.PropagateRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> broadcast_pb2.PropagateResponse:
        block, origins = relay_block_from_proto(request), peer_ids_from_proto(request.origin_node_ids)
        source, place = source_from_proto(request.source), place_from_proto(request)
        propagated, lacking = counts = self._links.propagate(block, origins, place)
        self._ledger.propagated(Announce(block.block_hash, block.number), source, request.header_valid_us, counts)
        return broadcast_pb2.PropagateResponse(propagated=propagated, lacking=lacking)

    async def AnnounceBlock(
        self, request: broadcast_pb2.AnnounceBlockRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> broadcast_pb2.AnnounceBlockResponse:
        (announce,) = announces_from_proto([request.announce])
        origins, source = peer_ids_from_proto(request.origin_node_ids), source_from_proto(request.source)
        announced = self._links.announce(announce, origins)
        self._ledger.announced(announce, source, request.imported_us, announced)
        return broadcast_pb2.AnnounceBlockResponse(announced=announced)

    async def CountLacking(
        self, request: broadcast_pb2.CountLackingRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> broadcast_pb2.CountLackingResponse:
        block_hash, origins = block_hash_from_proto(request.block_hash), peer_ids_from_proto(request.origin_node_ids)
        return broadcast_pb2.CountLackingResponse(lacking=self._links.count_lacking(block_hash, origins))
