"""What a server counts of the calls that it answers, as clients make them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from blocksync.v1 import blocks_pb2, blocks_pb2_grpc, coordinator_pb2, coordinator_pb2_grpc
from prometheus_client import CollectorRegistry

from services.shared.rpc.channel import open_channel
from services.shared.rpc.errors import UnknownBlock
from services.shared.runtime.grpc_server import RpcServer
from services.shared.runtime.metric_catalogue import Catalogue
from services.shared.runtime.rpc_metrics import RpcMetrics, RpcMetricsInterceptor
from tests.support.deadlines import until

pytestmark = pytest.mark.integration

SERVICE = coordinator_pb2.DESCRIPTOR.services_by_name["CoordinatorService"]


class Answering(coordinator_pb2_grpc.CoordinatorServiceServicer):
    async def GetStatus(self, request, context):
        return coordinator_pb2.GetStatusResponse()

    async def GetBlock(self, request, context):
        raise UnknownBlock("block 5 is not stored")

    async def BestPeer(self, request, context):
        raise ZeroDivisionError

    async def WatchStatus(self, request, context):
        for _ in range(3):
            yield coordinator_pb2.WatchStatusResponse()

    async def StreamBlocks(self, request, context):
        yield coordinator_pb2.StreamBlocksResponse()
        await asyncio.Event().wait()


class Counted:
    """A server with its metrics, and the stub of a client."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        metrics = RpcMetrics(Catalogue("coordinator", self.registry), [SERVICE])
        self.server = RpcServer(interceptors=[RpcMetricsInterceptor(metrics)])
        answering = Answering()  # type: ignore[abstract]
        self.server.add(coordinator_pb2_grpc.add_CoordinatorServiceServicer_to_server, answering, SERVICE)
        self.address = self.server.listen("127.0.0.1:0")

    def calls(self, method: str, code: str) -> float:
        labels = {"method": method, "code": code}
        return self.registry.get_sample_value("coordinator_rpc_calls_total", labels) or 0

    def timed(self, method: str) -> float:
        return self.registry.get_sample_value("coordinator_rpc_seconds_count", {"method": method}) or 0

    @property
    def in_flight(self) -> float | None:
        return self.registry.get_sample_value("coordinator_rpc_in_flight")

    async def wait_for(self, method: str, code: str) -> None:
        await until(lambda: self.calls(method, code), f"{method} counted as {code}")


@contextlib.asynccontextmanager
async def counted() -> AsyncIterator[tuple[Counted, grpc.aio.Channel]]:
    subject = Counted()
    await subject.server.start()
    try:
        async with open_channel(subject.address) as channel:
            yield subject, channel
    finally:
        await subject.server.stop(0)


def test_calls_are_counted_by_method_and_code():
    async def scenario() -> None:
        async with counted() as (subject, channel):
            stub = coordinator_pb2_grpc.CoordinatorServiceStub(channel)
            for _ in range(2):
                await stub.GetStatus(coordinator_pb2.GetStatusRequest())
            for call in (
                stub.GetBlock(coordinator_pb2.GetBlockRequest()),
                stub.BestPeer(coordinator_pb2.BestPeerRequest()),
                blocks_pb2_grpc.BlockServiceStub(channel).RankPeers(blocks_pb2.RankPeersRequest()),
            ):
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await call
            await subject.wait_for("other", "UNIMPLEMENTED")
            assert subject.calls("CoordinatorService/GetStatus", "OK") == 2
            assert subject.timed("CoordinatorService/GetStatus") == 2
            assert subject.calls("CoordinatorService/GetBlock", "NOT_FOUND") == 1
            assert subject.calls("CoordinatorService/BestPeer", "INTERNAL") == 1
            assert subject.in_flight == 0

    asyncio.run(scenario())


def test_streams_are_counted_at_their_end_and_not_timed():
    async def scenario() -> None:
        async with counted() as (subject, channel):
            stub = coordinator_pb2_grpc.CoordinatorServiceStub(channel)
            assert len([_ async for _ in stub.WatchStatus(coordinator_pb2.WatchStatusRequest())]) == 3
            await subject.wait_for("CoordinatorService/WatchStatus", "OK")
            endless = stub.StreamBlocks(coordinator_pb2.StreamBlocksRequest())
            await endless.read()
            assert subject.in_flight == 1
            endless.cancel()
            await subject.wait_for("CoordinatorService/StreamBlocks", "CANCELLED")
            assert subject.timed("CoordinatorService/WatchStatus") == 0
            assert subject.in_flight == 0

    asyncio.run(scenario())


def test_a_call_that_outlasts_its_deadline_is_counted_as_such():
    async def scenario() -> None:
        async with counted() as (subject, channel):
            stub = coordinator_pb2_grpc.CoordinatorServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError):
                async for _ in stub.StreamBlocks(coordinator_pb2.StreamBlocksRequest(), timeout=0.2):
                    pass
            await subject.wait_for("CoordinatorService/StreamBlocks", "DEADLINE_EXCEEDED")

    asyncio.run(scenario())
