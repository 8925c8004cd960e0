"""A scripted coordinator and broadcaster as a process of its own (`python -m bench.sink_coordinator`).

It admits everybody, asks peers what it is told to ask, looks whether each reply is the one expected, and
counts; so what a measurement counts went through the gateway's whole way.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from blocksync.v1 import (
    broadcast_pb2,
    broadcast_pb2_grpc,
    chain_reader_pb2,
    chain_reader_pb2_grpc,
    common_pb2,
    gateway_link_pb2,
    gateway_link_pb2_grpc,
)

from bench import load_replies
from bench.line_server import Command, serve_lines
from services.shared.ethwire.eth_messages import encode_message
from services.shared.rpc.convert import big_to_bytes, headers_query_to_proto
from services.shared.rpc.outbox import Outbox
from services.shared.runtime.grpc_server import RpcServer

QUEUE_BYTES: Final = 64 * 1024 * 1024


class SinkCoordinator(
    gateway_link_pb2_grpc.GatewayLinkServiceServicer,
    chain_reader_pb2_grpc.ChainReaderServiceServicer,
    broadcast_pb2_grpc.BroadcastLinkServiceServicer,
):
    def __init__(self) -> None:
        self._outbox: Outbox[gateway_link_pb2.ControlResponse] = Outbox(QUEUE_BYTES)
        self._server = RpcServer()
        self._ids = itertools.count(1)
        self._asked: dict[int, tuple[bytes, str, float]] = {}
        self._peers: dict[bytes, str] = {}
        self._headers_payload = encode_message(load_replies.ETH_VERSION, load_replies.headers().reply)[1]
        self._reset()

    def commands(self) -> Mapping[str, Command]:
        return {"listen": self.listen, "ask": self.ask, "reset": self.reset, "stats": self.stats}

    async def listen(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        for register, contract, service in (
            (gateway_link_pb2_grpc.add_GatewayLinkServiceServicer_to_server, gateway_link_pb2, "GatewayLinkService"),
            (chain_reader_pb2_grpc.add_ChainReaderServiceServicer_to_server, chain_reader_pb2, "ChainReaderService"),
            (broadcast_pb2_grpc.add_BroadcastLinkServiceServicer_to_server, broadcast_pb2, "BroadcastLinkService"),
        ):
            self._server.add(register, self, contract.DESCRIPTOR.services_by_name[service])
        self._server.listen(asked["address"])
        await self._server.start()
        return {}

    async def ask(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """Keep questions out at every peer whose name begins with `name`: `in_flight` of each of the `kinds`."""
        chosen = [node_id for node_id, name in self._peers.items() if name.startswith(asked["name"])]
        for node_id in chosen:
            for kind in asked["kinds"]:
                for _ in range(asked["in_flight"]):
                    self._ask(node_id, kind)
        return {"peers": len(chosen)}

    async def reset(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        del asked
        self._reset()
        return {}

    def _reset(self) -> None:
        self._headers = self._body_bytes = self._bodies = self._wrong = self._lost = self._left = 0
        self._longest_wait = 0.0
        self._since = asyncio.get_running_loop().time()

    async def stats(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """Since the last reset."""
        del asked
        return {
            "seconds": asyncio.get_running_loop().time() - self._since,
            "headers": self._headers,
            "bodies": self._bodies,
            "body_bytes": self._body_bytes,
            "wrong": self._wrong,
            "lost": self._lost,
            "left": self._left,
            "peers": len(self._peers),
            "longest_wait_s": self._longest_wait,
        }

    def _ask(self, node_id: bytes, kind: str) -> None:
        request_id = next(self._ids)
        self._asked[request_id] = (node_id, kind, asyncio.get_running_loop().time())
        request = gateway_link_pb2.PeerRequest(request_id=request_id, node_id=node_id)
        if kind == "headers":
            request.headers.CopyFrom(headers_query_to_proto(load_replies.FIRST_HEADERS))
        else:
            request.bodies.hashes = load_replies.wanted_bodies()
        self._send(gateway_link_pb2.ControlResponse(peer_request=request))

    def _take(self, request_id: int, digests: bytes) -> None:
        """A whole reply: judged, counted, and the next question in its place."""
        node_id, kind, since = self._asked.pop(request_id)
        self._longest_wait = max(self._longest_wait, asyncio.get_running_loop().time() - since)
        expected = load_replies.headers() if kind == "headers" else load_replies.bodies()
        if digests != expected.digests:
            self._wrong += 1
        elif kind == "headers":
            self._headers += len(expected.reply[0])
        else:
            self._bodies += len(expected.reply[0])
            self._body_bytes += expected.item_bytes
        self._ask(node_id, kind)

    def _send(self, message: gateway_link_pb2.ControlResponse) -> None:
        self._outbox.put(message, message.ByteSize())

    # The contracts.

    async def Control(self, request_iterator: Any, context: Any) -> AsyncIterator[gateway_link_pb2.ControlResponse]:
        reader = asyncio.create_task(self._read_control(request_iterator), name="sink-control")
        status = load_replies.status()
        local = gateway_link_pb2.LocalStatus(
            network_id=status.network_id,
            genesis_hash=status.genesis_hash,
            head_hash=status.head_hash,
            total_difficulty=big_to_bytes(status.total_difficulty),
        )
        self._send(gateway_link_pb2.ControlResponse(local_status=local))
        try:
            async for message in self._outbox:
                yield message
        finally:
            reader.cancel()

    async def _read_control(self, messages: Any) -> None:
        async for message in messages:
            match message.WhichOneof("content"):
                case "admit_peer":
                    verdict = gateway_link_pb2.AdmitVerdict(
                        ticket=message.admit_peer.ticket, admission=gateway_link_pb2.ADMISSION_ADMITTED
                    )
                    self._send(gateway_link_pb2.ControlResponse(admit_verdict=verdict))
                case "peer_joined":
                    peer: common_pb2.PeerDetails = message.peer_joined.peer
                    self._peers[peer.node_id] = peer.client_name
                case "peer_left":
                    self._left += self._peers.pop(message.peer_left.node_id, None) is not None
                case "request_lost":
                    self._lost += self._asked.pop(message.request_lost.request_id, None) is not None

    async def Bulk(self, request_iterator: Any, context: Any) -> AsyncIterator[gateway_link_pb2.BulkResponse]:
        async for message in request_iterator:
            match message.WhichOneof("content"):
                case "headers":
                    self._take(message.headers.request_id, message.headers.hashes)
                case "bodies":
                    self._take(message.bodies.request_id, message.bodies.roots)
        for nothing in list[gateway_link_pb2.BulkResponse]():
            yield nothing

    async def ReadHeaders(self, request: Any, context: Any) -> chain_reader_pb2.ReadHeadersResponse:
        return chain_reader_pb2.ReadHeadersResponse(payload=self._headers_payload)

    async def ReadBodies(self, request: Any, context: Any) -> chain_reader_pb2.ReadBodiesResponse:
        return chain_reader_pb2.ReadBodiesResponse(payload=load_replies.EMPTY_REPLY)

    async def ReadReceipts(self, request: Any, context: Any) -> chain_reader_pb2.ReadReceiptsResponse:
        return chain_reader_pb2.ReadReceiptsResponse(payload=load_replies.EMPTY_REPLY)

    async def ReadNodeData(self, request: Any, context: Any) -> chain_reader_pb2.ReadNodeDataResponse:
        return chain_reader_pb2.ReadNodeDataResponse(payload=load_replies.EMPTY_REPLY)

    async def Attach(self, request_iterator: Any, context: Any) -> AsyncIterator[broadcast_pb2.AttachResponse]:
        async for _ in request_iterator:
            pass
        for nothing in list[broadcast_pb2.AttachResponse]():
            yield nothing


async def _start() -> Mapping[str, Command]:
    return SinkCoordinator().commands()


if __name__ == "__main__":
    serve_lines(_start)
