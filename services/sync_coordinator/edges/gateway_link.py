"""The GatewayLink service: reads what gateways send, turns it into values, and tells `GatewayEvents`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final, TypeVar

import grpc
import structlog
from blocksync.v1 import common_pb2, gateway_link_pb2, gateway_link_pb2_grpc

from services.shared.chainspec.net_restrict import NetRestrict
from services.shared.ethwire.bodies import BLOOM_BYTES
from services.shared.ethwire.connection_stage import Stage
from services.shared.ethwire.faults import MalformedMessage, MalformedRlp, PeerFault
from services.shared.ethwire.headers import decode_header
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import Announce, Block, BlockHash, BlockReceipts, Body, PeerId, StateEntry
from services.shared.rpc.convert import offence_from_proto, reason_from_proto
from services.shared.rpc.errors import InvalidRequest, NotAllowedNow
from services.shared.rpc.outbox import Outbox
from services.sync_coordinator.core.disconnect_log import EndedConnection
from services.sync_coordinator.core.peer_set import Peer
from services.sync_coordinator.core.read_once import ReadOnce
from services.sync_coordinator.edges.gateway_events import GatewayEvents
from services.sync_coordinator.edges.gateway_links import CONTROL_QUEUE_BYTES, GatewayLink, GatewayLinks
from services.sync_coordinator.edges.sync_activity import SyncActivity

_Item = TypeVar("_Item")
_log = structlog.get_logger("gateway-link")

Context = grpc.aio.ServicerContext[Any, Any]


class BodyMismatch(PeerFault):
    """A propagated block whose body is another block's."""

    offence = Offence.BLOCK_BODY_MISMATCH

    def __init__(self, number: int) -> None:
        super().__init__(f"NewBlock {number}: the body is not the header's")
        self.number = number


class GatewayLinkServicer(gateway_link_pb2_grpc.GatewayLinkServiceServicer):
    """Translates; every decision is made behind `events`."""

    def __init__(self, links: GatewayLinks, events: GatewayEvents, activity: SyncActivity | None = None) -> None:
        self._links = links
        self._events = events
        self._activity = activity or SyncActivity()
        self._read_disconnects = ReadOnce()

    async def Control(
        self, request_iterator: AsyncIterator[gateway_link_pb2.ControlRequest], context: Context
    ) -> AsyncIterator[gateway_link_pb2.ControlResponse]:
        first = await anext(aiter(request_iterator), None)
        if first is None or first.WhichOneof("content") != "hello":
            raise NotAllowedNow("the first Control message must be a GatewayHello")
        hello = first.hello
        outbox: Outbox[gateway_link_pb2.ControlResponse] = Outbox(CONTROL_QUEUE_BYTES)
        try:
            restrict = NetRestrict.parse(hello.netrestrict) if hello.netrestrict else None
        except ValueError as problem:
            raise InvalidRequest(f"netrestrict: {problem}", field="netrestrict", value=hello.netrestrict) from problem
        link = GatewayLink(hello.gateway_id, PeerId(hello.node_id), hello.enode, outbox, restrict)
        former = self._links.end(link.gateway_id)
        if former is not None:
            # A connection that died unnoticed: what was asked through it is lost.
            self._events.gateway_detached(former)
        self._links.attach(link)
        self._events.gateway_attached(link, hello, [_peer(details, link.gateway_id) for details in hello.peers])
        reader = asyncio.create_task(self._read_control(link, request_iterator), name=f"control-{link.gateway_id}")
        try:
            async for message in outbox:
                yield message
        finally:
            reader.cancel()
            if self._links.detach(link):
                self._events.gateway_detached(link)

    async def _read_control(self, link: GatewayLink, messages: AsyncIterator[gateway_link_pb2.ControlRequest]) -> None:
        try:
            async for message in messages:
                self._take_control(link, message)
        finally:
            link.outbox.close()

    def _take_control(self, link: GatewayLink, message: gateway_link_pb2.ControlRequest) -> None:
        match message.WhichOneof("content"):
            case "admit_peer":
                self._events.admission_asked(link, message.admit_peer)
            case "peer_joined":
                self._events.peer_joined(_peer(message.peer_joined.peer, link.gateway_id))
            case "peer_left":
                left = message.peer_left
                self._events.peer_left(PeerId(left.node_id), link.gateway_id, left.explanation)
            case "request_lost":
                self._events.request_lost(message.request_lost.request_id)
            case "dial_failed":
                self._events.dial_failed(message.dial_failed.enode, message.dial_failed.explanation)
            case "peer_disconnected":
                self._take_disconnect(link, message.peer_disconnected)
            case other:
                _log.warning("unexpected control message", gateway=link.gateway_id, content=other)

    def _take_disconnect(self, link: GatewayLink, report: gateway_link_pb2.PeerDisconnected) -> None:
        read = gateway_link_pb2.DisconnectRead(number=report.number)
        link.send(gateway_link_pb2.ControlResponse(disconnect_read=read))
        if not self._read_disconnects.is_new(link.gateway_id, report.number):
            return
        try:
            ended = _ended(report.disconnect, link.gateway_id)
        except InvalidRequest as problem:
            # A gateway of another version. An event less is no reason to lose it.
            _log.warning("unexpected control message", gateway=link.gateway_id, why=str(problem))
            return
        self._events.connection_ended(ended)

    async def Bulk(
        self, request_iterator: AsyncIterator[gateway_link_pb2.BulkRequest], context: Context
    ) -> AsyncIterator[gateway_link_pb2.BulkResponse]:
        parts = ReplyParts()
        async for message in request_iterator:
            match message.WhichOneof("content"):
                case "headers" | "bodies" | "receipts" | "node_data" as kind:
                    with self._activity.handling():
                        self._take_reply(kind, message, parts)
                case "block":
                    self._take_block(message.block)
                case "announces":
                    announces = [Announce(BlockHash(a.block_hash), a.number) for a in message.announces.announces]
                    self._events.blocks_announced(PeerId(message.announces.node_id), announces)
                case "hello":
                    pass
                case other:
                    _log.warning("unexpected bulk message", content=other)
        # A generator without a message: nothing flows back but the end of the stream.
        for message_back in list[gateway_link_pb2.BulkResponse]():
            yield message_back

    def _take_reply(self, kind: str, message: gateway_link_pb2.BulkRequest, parts: ReplyParts) -> None:
        match kind:
            case "headers":
                self._take_headers(message.headers, parts)
            case "bodies":
                self._take_bodies(message.bodies, parts)
            case "receipts":
                self._take_receipts(message.receipts, parts)
            case "node_data":
                self._take_node_data(message.node_data, parts)

    def _take_headers(self, reply: gateway_link_pb2.HeadersReply, parts: ReplyParts) -> None:
        peer = PeerId(reply.node_id)
        hashes = reply.hashes
        try:
            headers = [
                decode_header(header_rlp, BlockHash(hashes[at * 32 : at * 32 + 32]))
                for at, header_rlp in enumerate(reply.headers_rlp)
            ]
        except MalformedRlp as fault:
            parts.forget(peer)
            self._events.reply_unreadable(reply.request_id, peer, MalformedMessage("BlockHeaders", str(fault)))
            return
        whole = parts.add(peer, reply.request_id, headers, is_last=reply.last_part)
        if whole is not None:
            self._events.headers_arrived(reply.request_id, peer, whole)

    def _take_bodies(self, reply: gateway_link_pb2.BodiesReply, parts: ReplyParts) -> None:
        roots = reply.roots
        bodies = [
            Body(body_rlp, roots[at * 64 : at * 64 + 32], roots[at * 64 + 32 : at * 64 + 64])
            for at, body_rlp in enumerate(reply.bodies_rlp)
        ]
        peer = PeerId(reply.node_id)
        whole = parts.add(peer, reply.request_id, bodies, is_last=reply.last_part)
        if whole is not None:
            self._events.bodies_arrived(reply.request_id, peer, whole)

    def _take_receipts(self, reply: gateway_link_pb2.ReceiptsReply, parts: ReplyParts) -> None:
        roots, blooms = reply.roots, reply.blooms
        receipts = [
            BlockReceipts(
                receipts_rlp, roots[at * 32 : at * 32 + 32], blooms[at * BLOOM_BYTES : (at + 1) * BLOOM_BYTES], gas_used
            )
            for at, (receipts_rlp, gas_used) in enumerate(zip(reply.receipts_rlp, reply.gas_used, strict=True))
        ]
        peer = PeerId(reply.node_id)
        whole = parts.add(peer, reply.request_id, receipts, is_last=reply.last_part)
        if whole is not None:
            self._events.receipts_arrived(reply.request_id, peer, whole)

    def _take_node_data(self, reply: gateway_link_pb2.NodeDataReply, parts: ReplyParts) -> None:
        hashes = reply.hashes
        entries = [StateEntry(value, hashes[at * 32 : at * 32 + 32]) for at, value in enumerate(reply.values)]
        peer = PeerId(reply.node_id)
        whole = parts.add(peer, reply.request_id, entries, is_last=reply.last_part)
        if whole is not None:
            self._events.node_data_arrived(reply.request_id, peer, whole)

    def _take_block(self, message: gateway_link_pb2.PropagatedBlock) -> None:
        peer = PeerId(message.node_id)
        try:
            header = decode_header(message.header_rlp, BlockHash(message.block_hash))
        except MalformedRlp as fault:
            self._events.reply_unreadable(0, peer, MalformedMessage("NewBlock", str(fault)))
            return
        if message.roots != header.transactions_root + header.uncles_hash:
            self._events.reply_unreadable(0, peer, BodyMismatch(header.number))
            return
        total_difficulty = int.from_bytes(message.total_difficulty)
        self._events.block_propagated(peer, Block(header, message.body_rlp), total_difficulty)


REPLIES_IN_PARTS: Final = 16
"""Replies of one gateway that may wait for their last part, of 10 MiB each at most. An honest one is never cut: it
stops growing at 2 MiB, and parts begin at 4."""


class ReplyParts:
    """Puts replies together that were cut into parts.

    The parts of one peer's reply follow each other on the stream. A reply that its gateway gave up halfway,
    because the link was full, makes room for the peer's next one; of a peer that left meanwhile there is none, so of
    more than `REPLIES_IN_PARTS` the oldest is forgotten.
    """

    def __init__(self) -> None:
        self._open: dict[PeerId, tuple[int, list[Any]]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def add(self, peer: PeerId, request_id: int, items: list[_Item], *, is_last: bool) -> list[_Item] | None:
        """The whole reply once its last part is here."""
        of_request, before = self._open.pop(peer, (request_id, []))
        whole = before + items if before and of_request == request_id else items
        if is_last:
            return whole
        self._open[peer] = request_id, whole
        if len(self._open) > REPLIES_IN_PARTS:
            del self._open[next(iter(self._open))]
        return None

    def forget(self, peer: PeerId) -> None:
        self._open.pop(peer, None)


def _peer(details: common_pb2.PeerDetails, gateway_id: str) -> Peer:
    return Peer(
        node_id=PeerId(details.node_id),
        gateway_id=gateway_id,
        eth_version=details.eth_version,
        head_hash=BlockHash(details.head_hash),
        total_difficulty=int.from_bytes(details.total_difficulty),
        client_name=details.client_name,
        remote_address=details.remote_address,
        p2p_version=details.p2p_version,
        inbound=details.inbound,
        was_inbound=details.was_inbound,
        static=details.static,
        trusted=details.trusted,
        connected_s=details.connected_seconds,
    )


def _ended(disconnect: common_pb2.Disconnect, gateway_id: str) -> EndedConnection:
    """Raises InvalidRequest where a number has no meaning here."""
    try:
        stage = Stage(disconnect.stage)
    except ValueError:
        raise InvalidRequest(f"{disconnect.stage} is not a stage of a connection") from None
    return EndedConnection(
        node_id=PeerId(disconnect.node_id),
        gateway_id=gateway_id,
        client_name=disconnect.client_name,
        remote_address=disconnect.remote_address,
        inbound=disconnect.inbound,
        static=disconnect.static,
        trusted=disconnect.trusted,
        stage=stage,
        reason=reason_from_proto(disconnect.reason) if disconnect.reason else None,
        by_us=disconnect.by_us,
        offence=offence_from_proto(disconnect.offence),
        explanation=disconnect.explanation,
        eth_version=disconnect.eth_version,
        connected_s=disconnect.connected_seconds,
        ban_s=disconnect.ban_seconds,
        unix_time_ms=disconnect.unix_time_ms,
    )
