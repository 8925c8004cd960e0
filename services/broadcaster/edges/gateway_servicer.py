"""The gateways' side of the contract: one Attach stream each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import grpc.aio
from blocksync.v1 import broadcast_pb2, broadcast_pb2_grpc

from services.broadcaster.core.attached_peers import GatewayId
from services.broadcaster.edges.contract import joined_peer_from_proto, peer_ids_from_proto
from services.broadcaster.edges.gateway_links import GatewayLink, GatewayLinks
from services.broadcaster.edges.ledger_keeper import LedgerKeeper
from services.shared.rpc.convert import block_hash_from_proto, peer_id_from_proto, split_hashes
from services.shared.rpc.errors import InvalidRequest, RequestTimedOut

HELLO_TIMEOUT_S: Final = 10.0
"""A gateway sends its hello with the opening of the stream; one that does not is not a gateway."""

Context = grpc.aio.ServicerContext[broadcast_pb2.AttachRequest, broadcast_pb2.AttachResponse]


class GatewayServicer(broadcast_pb2_grpc.BroadcastLinkServiceServicer):
    """Reads a gateway's messages into the links, and writes what is queued for it."""

    def __init__(self, links: GatewayLinks, ledger: LedgerKeeper) -> None:
        self._links, self._ledger = links, ledger

    # A coroutine that writes to the context, not a generator: a write that is stuck can then be given up.
    async def Attach(  # type: ignore[override]
        self, request_iterator: AsyncIterator[broadcast_pb2.AttachRequest], context: Context
    ) -> None:
        requests = aiter(request_iterator)
        hello = await _read_hello(requests)
        peers = [joined_peer_from_proto(peer) for peer in hello.peers]
        link = self._links.attach(GatewayId(hello.gateway_id), peers, will_tell=hello.known_transactions_follow)
        try:
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(self._read(link, requests), name=f"read {link.gateway}")
                writing = tasks.create_task(self._write(link, context), name=f"write {link.gateway}")
                await link.ended()
                reading.cancel()
                writing.cancel()
        finally:
            self._links.end(link, "lost")

    async def _read(self, link: GatewayLink, requests: AsyncIterator[broadcast_pb2.AttachRequest]) -> None:
        async for request in requests:
            if link.is_ended:
                return
            try:
                if request.WhichOneof("content") == "known_transactions":
                    await self._links.know(link, request.known_transactions)
                else:
                    self._take(link, request)
            except InvalidRequest as problem:
                self._links.end(link, "invalid", problem)
        self._links.end(link, "left")

    async def _write(self, link: GatewayLink, context: Context) -> None:
        try:
            # The headers tell the gateway that it is attached, long before there is anything to send.
            await context.send_initial_metadata(())
            async for response in link.outbox:
                await context.write(response)
        except grpc.aio.InternalError:
            # The connection is gone; gRPC says no more than that the write failed.
            self._links.end(link, "lost")

    def _take(self, link: GatewayLink, request: broadcast_pb2.AttachRequest) -> None:
        match request.WhichOneof("content"):
            case "peer_joined":
                self._links.join(link, joined_peer_from_proto(request.peer_joined.peer))
            case "peer_left":
                peer = peer_id_from_proto(request.peer_left.node_id)
                self._links.leave(link, peer)
                self._ledger.peer_left(peer)
            case "known_blocks":
                known = request.known_blocks
                peer, hashes = peer_id_from_proto(known.node_id), split_hashes(known.hashes)
                if self._links.mark_known(link, peer, hashes):
                    self._ledger.arrived(peer, hashes, known.seen_us, whole=known.whole)
            case "send_refused":
                block_hash = block_hash_from_proto(request.send_refused.block_hash)
                peers = peer_ids_from_proto(request.send_refused.node_ids)
                self._links.refused(link, block_hash, peers)
                self._ledger.refused(block_hash, peers)
            case "transactions":
                sent = request.transactions
                self._links.take_transactions(link, peer_id_from_proto(sent.node_id), sent.transactions_rlp)
            case "hello":
                raise InvalidRequest("a second hello on one stream")
            case _:
                raise InvalidRequest("a message without content")


async def _read_hello(requests: AsyncIterator[broadcast_pb2.AttachRequest]) -> broadcast_pb2.BroadcastHello:
    try:
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            first = await anext(requests, None)
    except TimeoutError:
        raise RequestTimedOut(f"no hello within {HELLO_TIMEOUT_S:.0f} s") from None
    if first is None or first.WhichOneof("content") != "hello":
        raise InvalidRequest("the first message must be a hello")
    if not first.hello.gateway_id:
        raise InvalidRequest("a hello must name its gateway")
    return first.hello
