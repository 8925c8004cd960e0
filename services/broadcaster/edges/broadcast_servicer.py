"""The coordinator's side of the contract: blocks to propagate and to announce."""

from __future__ import annotations

from typing import Any

import grpc.aio
from blocksync.v1 import broadcast_pb2, broadcast_pb2_grpc

from services.broadcaster.edges.contract import peer_ids_from_proto, relay_block_from_proto
from services.broadcaster.edges.gateway_links import GatewayLinks
from services.shared.rpc.convert import announces_from_proto


class BroadcastServicer(broadcast_pb2_grpc.BroadcastServiceServicer):
    """Translates; the links do the rest."""

    def __init__(self, links: GatewayLinks) -> None:
        self._links = links

    async def Propagate(
        self, request: broadcast_pb2.PropagateRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> broadcast_pb2.PropagateResponse:
        block, origins = relay_block_from_proto(request), peer_ids_from_proto(request.origin_node_ids)
        propagated, lacking = self._links.propagate(block, origins)
        return broadcast_pb2.PropagateResponse(propagated=propagated, lacking=lacking)

    async def AnnounceBlock(
        self, request: broadcast_pb2.AnnounceBlockRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> broadcast_pb2.AnnounceBlockResponse:
        (announce,) = announces_from_proto([request.announce])
        announced = self._links.announce(announce, peer_ids_from_proto(request.origin_node_ids))
        return broadcast_pb2.AnnounceBlockResponse(announced=announced)
