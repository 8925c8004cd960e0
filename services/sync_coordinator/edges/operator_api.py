"""The Coordinator service: what operators ask and order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import grpc
from blocksync.v1 import common_pb2, coordinator_pb2

from services.shared.rpc.convert import (
    big_to_bytes,
    offence_from_proto,
    offence_to_proto,
    peer_id_from_proto,
    reason_to_proto,
)
from services.shared.rpc.errors import InvalidRequest
from services.sync_coordinator.core.disconnect_log import DisconnectFilter, EndedConnection
from services.sync_coordinator.core.peer_set import Peer, PeerSet
from services.sync_coordinator.core.sync_cycle import SyncCause, SyncVerdict
from services.sync_coordinator.edges.block_feed import BlockFeed
from services.sync_coordinator.edges.chain_api import ChainApi
from services.sync_coordinator.edges.change_signal import ChangeSignal
from services.sync_coordinator.edges.peer_orders import PeerOrders
from services.sync_coordinator.edges.penalty_desk import PenaltyDesk
from services.sync_coordinator.edges.status_board import StatusBoard
from services.sync_coordinator.edges.sync_driver import SyncDriver
from services.sync_coordinator.edges.sync_explainer import HEAD_SOURCES, SyncExplainer
from services.sync_coordinator.store.chain_store import ChainStore

WATCH_PERIOD_S: Final = 0.25
"""A status stream sends at most four times a second, which is as fast as a person can read."""

_RESULT_OF: Final = {
    SyncVerdict.START: coordinator_pb2.START_SYNC_RESULT_STARTED,
    SyncVerdict.BUSY: coordinator_pb2.START_SYNC_RESULT_BUSY,
    SyncVerdict.THROTTLED: coordinator_pb2.START_SYNC_RESULT_BUSY,
    SyncVerdict.NO_PEERS: coordinator_pb2.START_SYNC_RESULT_NO_PEERS,
    SyncVerdict.PEER_DROPPED: coordinator_pb2.START_SYNC_RESULT_NO_PEERS,
    SyncVerdict.NOT_ABOVE_OURS: coordinator_pb2.START_SYNC_RESULT_NOT_ABOVE_OURS,
}

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorParts:
    """What operators ask, and what they order."""

    board: StatusBoard
    changes: ChangeSignal
    peers: PeerSet
    penalties: PenaltyDesk
    driver: SyncDriver
    store: ChainStore
    feed: BlockFeed
    is_light: bool
    orders: PeerOrders
    explainer: SyncExplainer


class CoordinatorServicer(ChainApi):
    """Translates; the parts answer."""

    def __init__(self, parts: OperatorParts) -> None:
        super().__init__(parts.store, parts.feed, is_light=parts.is_light)
        self._board, self._changes = parts.board, parts.changes
        self._peers, self._penalties = parts.peers, parts.penalties
        self._driver, self._orders = parts.driver, parts.orders
        self._explainer = parts.explainer

    async def GetStatus(
        self, request: coordinator_pb2.GetStatusRequest, context: Context
    ) -> coordinator_pb2.GetStatusResponse:
        return coordinator_pb2.GetStatusResponse(status=self._board.status())

    async def WatchStatus(
        self, request: coordinator_pb2.WatchStatusRequest, context: Context
    ) -> AsyncIterator[coordinator_pb2.WatchStatusResponse]:
        with self._changes.reader() as changed:
            while True:
                changed.clear()
                yield coordinator_pb2.WatchStatusResponse(status=self._board.status())
                await asyncio.sleep(WATCH_PERIOD_S)
                await changed.wait()

    async def ListPeers(
        self, request: coordinator_pb2.ListPeersRequest, context: Context
    ) -> coordinator_pb2.ListPeersResponse:
        best = self._peers.best()
        now = asyncio.get_running_loop().time()
        entries = [_peer_entry(peer, now, is_best=peer is best) for peer in self._peers]
        return coordinator_pb2.ListPeersResponse(peers=entries)

    async def ListDisconnects(
        self, request: coordinator_pb2.ListDisconnectsRequest, context: Context
    ) -> coordinator_pb2.ListDisconnectsResponse:
        log = self._penalties.disconnects
        wanted = DisconnectFilter(
            node_id=peer_id_from_proto(request.node_id) if request.node_id else None,
            by_us=_by_us(request.side),
            offence=offence_from_proto(request.offence) if request.offence else None,
        )
        return coordinator_pb2.ListDisconnectsResponse(
            disconnects=[_disconnect_entry(ended) for ended in log.newest(wanted, request.limit or None)],
            counts=[
                coordinator_pb2.DisconnectCount(side=_side(by_us), offence=offence_to_proto(offence), count=count)
                for (offence, by_us), count in log.counts.most_common()
            ],
            banned=self._penalties.banned(),
        )

    async def StartSync(
        self, request: coordinator_pb2.StartSyncRequest, context: Context
    ) -> coordinator_pb2.StartSyncResponse:
        decision = self._driver.consider(SyncCause.OPERATOR, self._peers.best())
        return coordinator_pb2.StartSyncResponse(result=_RESULT_OF[decision.verdict], explanation=decision.explanation)

    async def BestPeer(
        self, request: coordinator_pb2.BestPeerRequest, context: Context
    ) -> coordinator_pb2.BestPeerResponse:
        return self._explainer.best_peer(request.limit)

    async def ExplainSync(
        self, request: coordinator_pb2.ExplainSyncRequest, context: Context
    ) -> coordinator_pb2.ExplainSyncResponse:
        return self._explainer.explain_sync()

    async def AddPeer(
        self, request: coordinator_pb2.AddPeerRequest, context: Context
    ) -> coordinator_pb2.AddPeerResponse:
        return self._orders.add_peer(request.enode)

    async def RemovePeer(
        self, request: coordinator_pb2.RemovePeerRequest, context: Context
    ) -> coordinator_pb2.RemovePeerResponse:
        return self._orders.remove_peer(request.enode)

    async def AddTrustedPeer(
        self, request: coordinator_pb2.AddTrustedPeerRequest, context: Context
    ) -> coordinator_pb2.AddTrustedPeerResponse:
        return self._orders.add_trusted_peer(request.enode)

    async def RemoveTrustedPeer(
        self, request: coordinator_pb2.RemoveTrustedPeerRequest, context: Context
    ) -> coordinator_pb2.RemoveTrustedPeerResponse:
        return self._orders.remove_trusted_peer(request.enode)


def _side(by_us: bool) -> coordinator_pb2.DisconnectSide.ValueType:
    return coordinator_pb2.DISCONNECT_SIDE_US if by_us else coordinator_pb2.DISCONNECT_SIDE_THEM


def _by_us(side: coordinator_pb2.DisconnectSide.ValueType) -> bool | None:
    match side:
        case coordinator_pb2.DISCONNECT_SIDE_UNSPECIFIED:
            return None
        case coordinator_pb2.DISCONNECT_SIDE_US:
            return True
        case coordinator_pb2.DISCONNECT_SIDE_THEM:
            return False
        case _:
            raise InvalidRequest(f"{side} is not a side of a connection", field="side", value=str(side))


def _disconnect_entry(ended: EndedConnection) -> coordinator_pb2.DisconnectEntry:
    disconnect = common_pb2.Disconnect(
        node_id=ended.node_id,
        client_name=ended.client_name,
        remote_address=ended.remote_address,
        inbound=ended.inbound,
        static=ended.static,
        trusted=ended.trusted,
        stage=common_pb2.ConnectionStage.ValueType(ended.stage),
        reason=common_pb2.DISCONNECT_REASON_UNSPECIFIED if ended.reason is None else reason_to_proto(ended.reason),
        by_us=ended.by_us,
        offence=offence_to_proto(ended.offence),
        explanation=ended.explanation,
        eth_version=ended.eth_version,
        connected_seconds=ended.connected_s,
        ban_seconds=ended.ban_s,
        unix_time_ms=ended.unix_time_ms,
    )
    return coordinator_pb2.DisconnectEntry(disconnect=disconnect, gateway_id=ended.gateway_id)


def _peer_entry(peer: Peer, now: float, *, is_best: bool) -> coordinator_pb2.PeerEntry:
    details = common_pb2.PeerDetails(
        node_id=peer.node_id,
        client_name=peer.client_name,
        remote_address=peer.remote_address,
        inbound=peer.inbound,
        static=peer.static,
        trusted=peer.trusted,
        eth_version=peer.eth_version,
        p2p_version=peer.p2p_version,
    )
    return coordinator_pb2.PeerEntry(
        details=details,
        gateway_id=peer.gateway_id,
        head_hash=peer.head_hash,
        total_difficulty=big_to_bytes(peer.total_difficulty),
        connected_seconds=int(now - peer.joined_at),
        headers_delivered=peer.headers_delivered,
        bodies_delivered=peer.bodies_delivered,
        is_best=is_best,
        head_source=HEAD_SOURCES[peer.head_source],
    )
