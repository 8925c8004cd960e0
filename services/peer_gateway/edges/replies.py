"""The way of a peer's reply to the coordinator: matched, hashed in slices, confirmed, sent in parts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from blocksync.v1 import gateway_link_pb2 as wire

from services.peer_gateway.core.reply_decoding import ReplyPart, cut_parts, split_receipt_digests
from services.peer_gateway.core.request_book import (
    ANSWER_OF,
    Asked,
    Reply,
    Request,
    RequestBook,
    StoppedAnswering,
    TooManyOutstanding,
    confirm,
)
from services.peer_gateway.core.send_queue import Outgoing, Urgency
from services.peer_gateway.core.snappy_codec import Payload
from services.peer_gateway.edges.noted_offences import NotedOffences
from services.peer_gateway.edges.parts import Parts
from services.peer_gateway.edges.tcp import PeerSocket
from services.shared.ethwire.eth_messages import encode_message
from services.shared.ethwire.messages import BlockBodies, BlockHeaders, MessageCode, NodeData, Receipts
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import PeerId

SESSION_SHIFT: Final = 64
"""A question is noted under session << 64 | request id: ids are unique within a session of the link only."""

REPLY_CODES: Final[Mapping[type[Reply], MessageCode]] = {
    BlockHeaders: MessageCode.BLOCK_HEADERS,
    BlockBodies: MessageCode.BLOCK_BODIES,
    NodeData: MessageCode.NODE_DATA,
    Receipts: MessageCode.RECEIPTS,
}

REPLY_OF_CODE: Final[Mapping[int, type[Reply]]] = {code: kind for kind, code in REPLY_CODES.items()}


class Replies:
    """What the coordinator asks one peer, and what becomes of the answers."""

    def __init__(self, node_id: PeerId, eth_version: int, socket: PeerSocket, parts: Parts) -> None:
        self._node_id, self._eth_version, self._socket = node_id, eth_version, socket
        self._link, self._metrics, self._digests = parts.coordinator, parts.metrics, parts.digests
        self._book = RequestBook()
        self._noted = NotedOffences(node_id, parts.metrics)

    def ask(self, request: Request, request_id: int, session: int) -> str | None:
        """Send a question; the result says why it could not be sent, if so."""
        try:
            code, payload = encode_message(self._eth_version, request)
        except ValueError as problem:
            return str(problem)
        if not self._socket.has_room(Urgency.OWN):
            return "the peer does not read what it is sent"
        try:
            self._book.ask(session << SESSION_SHIFT | request_id, request, asyncio.get_running_loop().time())
        except TooManyOutstanding as problem:
            return str(problem)
        except StoppedAnswering as fault:
            self._socket.fail(fault)
            return str(fault)
        self._socket.send(Urgency.OWN, Outgoing(code, Payload(payload)))
        return None

    def drop_unasked(self, code: int) -> bool:
        """Whether the message is a reply that nobody asked for: counted, and not worth decoding."""
        kind = REPLY_OF_CODE.get(code)
        if kind is None or any(ANSWER_OF[type(asked.request)] is kind for asked in self._book.outstanding()):
            return False
        self._metrics.drop("reply", "unasked")
        self._noted.add(Offence.UNASKED_REPLY, "unasked reply dropped", kind=kind.__name__)
        return True

    async def on_reply(self, reply: Reply, unread_s: Callable[[], float]) -> None:
        """Take a reply, in the order of arrival, that `drop_unasked` let through. Raises PeerFault.

        `unread_s` tells for how long the peer's socket has not been read.
        """
        asked = self._book.answer(reply)
        assert asked is not None, "unasked replies are dropped before they are decoded"
        if isinstance(reply, BlockBodies | Receipts):
            # Judged by count alone, so before the work.
            confirm(asked.request, reply[0], b"")
        digests = await self._digests.of(reply)
        if isinstance(reply, BlockHeaders | NodeData):
            confirm(asked.request, reply[0], digests)
        await self._deliver(reply, digests, asked, unread_s)

    async def _deliver(self, reply: Reply, digests: bytes, asked: Asked, unread_s: Callable[[], float]) -> None:
        session, request_id = asked.request_id >> SESSION_SHIFT, asked.request_id & (1 << SESSION_SHIFT) - 1
        parts = cut_parts(reply[0], digests)
        for number, part in enumerate(parts):
            place = _Place(request_id, self._node_id, number, number == len(parts) - 1)
            if await self._link.deliver(_to_proto(type(reply), part, place), session, unread_s=unread_s()):
                continue
            if not self._link.is_current(session):
                self._metrics.drop("reply", "stale")
                self._noted.add(Offence.STALE_REPLY, "stale reply dropped", kind=type(reply).__name__)
                return
            self._metrics.drop("reply", "bulk-full")
            lost = wire.RequestLost(request_id=request_id, explanation="the link was full for too long")
            self._link.tell(wire.ControlRequest(request_lost=lost))
            return


class _Place(NamedTuple):
    """Where a part of a reply belongs."""

    request_id: int
    node_id: PeerId
    part: int
    last_part: bool


def _to_proto(kind: type[Reply], part: ReplyPart, place: _Place) -> wire.BulkRequest:
    where = place._asdict()
    items, digests = part
    if kind is BlockHeaders:
        return wire.BulkRequest(headers=wire.HeadersReply(headers_rlp=items, hashes=digests, **where))
    if kind is BlockBodies:
        return wire.BulkRequest(bodies=wire.BodiesReply(bodies_rlp=items, roots=digests, **where))
    if kind is Receipts:
        roots, gas_used, blooms = split_receipt_digests(digests)
        reply = wire.ReceiptsReply(receipts_rlp=items, roots=roots, blooms=blooms, gas_used=gas_used, **where)
        return wire.BulkRequest(receipts=reply)
    return wire.BulkRequest(node_data=wire.NodeDataReply(values=items, hashes=digests, **where))
