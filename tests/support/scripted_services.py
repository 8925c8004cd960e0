"""What a gateway talks to besides peers: a coordinator and a broadcaster that do what a test says."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final, Generic, TypeVar

from blocksync.v1 import (
    broadcast_pb2,
    broadcast_pb2_grpc,
    chain_reader_pb2,
    chain_reader_pb2_grpc,
    gateway_link_pb2,
    gateway_link_pb2_grpc,
)

from services.shared.ethwire.eth_messages import encode_message
from services.shared.ethwire.messages import EthMessage, GetBlockBodies, GetNodeData, GetReceipts, Status
from services.shared.rpc.convert import big_to_bytes, headers_query_from_proto, split_hashes
from services.shared.rpc.outbox import Outbox
from services.shared.runtime.grpc_server import RpcServer
from tests.support.scripted_chain import ScriptedChain

DEADLINE_S: Final = 15.0
QUEUE_BYTES: Final = 64 * 1024 * 1024

M = TypeVar("M")


class Arrivals(Generic[M]):
    """What came on a stream, by the name of its content; waits with a deadline."""

    def __init__(self) -> None:
        self._waiting: deque[M] = deque()
        self._arrived = asyncio.Event()
        self.names: list[str] = []

    def put(self, message: Any) -> None:
        self._waiting.append(message)
        self.names.append(message.WhichOneof("content"))
        self._arrived.set()

    def forget(self) -> None:
        """Throw away what came so far."""
        self._waiting.clear()
        self.names.clear()

    async def next(self, name: str) -> Any:
        """The content `name` of the next message that has it; others before it are passed over."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                while self._waiting:
                    message: Any = self._waiting.popleft()
                    if message.WhichOneof("content") == name:
                        return getattr(message, name)
                self._arrived.clear()
                await self._arrived.wait()


class ScriptedCoordinator(
    gateway_link_pb2_grpc.GatewayLinkServiceServicer, chain_reader_pb2_grpc.ChainReaderServiceServicer
):
    """One gateway's coordinator. Admits everybody unless `verdict` says otherwise; serves `chain`."""

    def __init__(self, chain: ScriptedChain, network_id: int) -> None:
        self.chain, self.network_id = chain, network_id
        self.status: Status | None = chain.status(network_id)
        self.verdict: gateway_link_pb2.Admission.ValueType | None = gateway_link_pb2.ADMISSION_ADMITTED
        self.static_enodes: list[str] = []
        self.control: Arrivals[gateway_link_pb2.ControlRequest] = Arrivals()
        self.bulk: Arrivals[gateway_link_pb2.BulkRequest] = Arrivals()
        self.reads = 0
        self.may_read = asyncio.Event()
        """Cleared, questions are held."""
        self.may_read.set()
        self.may_read_bulk = asyncio.Event()
        """Cleared, what the gateway sends on Bulk stays with it."""
        self.may_read_bulk.set()
        self._outbox: Outbox[gateway_link_pb2.ControlResponse] = Outbox(QUEUE_BYTES)
        self._server = RpcServer()

    async def start(self, address: str) -> str:
        """Serve on `host:port` (0 is any) or `unix:…`; the result is where."""
        links = gateway_link_pb2.DESCRIPTOR.services_by_name["GatewayLinkService"]
        reader = chain_reader_pb2.DESCRIPTOR.services_by_name["ChainReaderService"]
        self._server.add(gateway_link_pb2_grpc.add_GatewayLinkServiceServicer_to_server, self, links)
        self._server.add(chain_reader_pb2_grpc.add_ChainReaderServiceServicer_to_server, self, reader)
        bound = self._server.listen(address)
        await self._server.start()
        return bound

    async def stop(self) -> None:
        self._outbox.close()
        await self._server.stop(0)

    def send(self, **content: Any) -> None:
        """Say one thing on Control: `send(drop_peer=…)`."""
        message = gateway_link_pb2.ControlResponse(**content)
        self._outbox.put(message, message.ByteSize())

    def send_status(self, status: Status) -> None:
        self.send(
            local_status=gateway_link_pb2.LocalStatus(
                network_id=status.network_id,
                genesis_hash=status.genesis_hash,
                head_hash=status.head_hash,
                total_difficulty=big_to_bytes(status.total_difficulty),
                head_number=len(self.chain.headers) - 1,
            )
        )

    async def Control(self, request_iterator: Any, context: Any) -> AsyncIterator[gateway_link_pb2.ControlResponse]:
        reader = asyncio.create_task(self._read_control(request_iterator), name="scripted-control")
        if self.status is not None:
            self.send_status(self.status)
        self.send(dial_plan=gateway_link_pb2.DialPlan(static_enodes=self.static_enodes))
        try:
            async for message in self._outbox:
                yield message
        finally:
            reader.cancel()

    async def _read_control(self, messages: Any) -> None:
        async for message in messages:
            self.control.put(message)
            if message.WhichOneof("content") == "peer_disconnected":
                number = message.peer_disconnected.number
                self.send(disconnect_read=gateway_link_pb2.DisconnectRead(number=number))
            if message.WhichOneof("content") == "admit_peer" and self.verdict is not None:
                ticket = message.admit_peer.ticket
                self.send(admit_verdict=gateway_link_pb2.AdmitVerdict(ticket=ticket, admission=self.verdict))
        # The gateway has said all: this stream ends, and the next one has a queue of its own.
        self._outbox.close()
        self._outbox = Outbox(QUEUE_BYTES)

    async def Bulk(self, request_iterator: Any, context: Any) -> AsyncIterator[gateway_link_pb2.BulkResponse]:
        async for message in request_iterator:
            self.bulk.put(message)
            await self.may_read_bulk.wait()
        for nothing in list[gateway_link_pb2.BulkResponse]():
            yield nothing

    async def ReadHeaders(self, request: Any, context: Any) -> chain_reader_pb2.ReadHeadersResponse:
        return chain_reader_pb2.ReadHeadersResponse(payload=await self._read(headers_query_from_proto(request.query)))

    async def ReadBodies(self, request: Any, context: Any) -> chain_reader_pb2.ReadBodiesResponse:
        payload = await self._read(GetBlockBodies(split_hashes(request.hashes)))
        return chain_reader_pb2.ReadBodiesResponse(payload=payload)

    async def ReadReceipts(self, request: Any, context: Any) -> chain_reader_pb2.ReadReceiptsResponse:
        payload = await self._read(GetReceipts(split_hashes(request.hashes)))
        return chain_reader_pb2.ReadReceiptsResponse(payload=payload)

    async def ReadNodeData(self, request: Any, context: Any) -> chain_reader_pb2.ReadNodeDataResponse:
        payload = await self._read(GetNodeData([*split_hashes(request.hashes)]))
        return chain_reader_pb2.ReadNodeDataResponse(payload=payload)

    async def _read(self, question: EthMessage) -> bytes:
        await self.may_read.wait()
        self.reads += 1
        reply = self.chain.answer(question)
        assert reply is not None
        return encode_message(63, reply)[1]


class ScriptedBroadcaster(broadcast_pb2_grpc.BroadcastLinkServiceServicer):
    """One gateway's broadcaster."""

    def __init__(self) -> None:
        self.arrivals: Arrivals[broadcast_pb2.AttachRequest] = Arrivals()
        self._outbox: Outbox[broadcast_pb2.AttachResponse] = Outbox(QUEUE_BYTES)
        self._server = RpcServer()

    async def start(self, address: str) -> str:
        """Serve on `host:port` (0 is any) or `unix:…`; the result is where."""
        service = broadcast_pb2.DESCRIPTOR.services_by_name["BroadcastLinkService"]
        self._server.add(broadcast_pb2_grpc.add_BroadcastLinkServiceServicer_to_server, self, service)
        bound = self._server.listen(address)
        await self._server.start()
        return bound

    async def stop(self) -> None:
        self._outbox.close()
        await self._server.stop(0)

    def send(self, **content: Any) -> None:
        message = broadcast_pb2.AttachResponse(**content)
        self._outbox.put(message, message.ByteSize())

    async def Attach(self, request_iterator: Any, context: Any) -> AsyncIterator[broadcast_pb2.AttachResponse]:
        reader = asyncio.create_task(self._read(request_iterator), name="scripted-attach")
        try:
            async for message in self._outbox:
                yield message
        finally:
            reader.cancel()

    async def _read(self, messages: Any) -> None:
        async for message in messages:
            self.arrivals.put(message)
