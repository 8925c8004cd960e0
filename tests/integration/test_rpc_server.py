"""The gRPC server of every service: errors, health, addresses, as a client sees them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from blocksync.v1 import coordinator_pb2, coordinator_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import CollectorRegistry

from services.shared.rpc import deadlines
from services.shared.rpc.channel import open_channel
from services.shared.rpc.deadlines import within
from services.shared.rpc.error_interceptor import BUG_TEXT
from services.shared.rpc.errors import STATUS_OF, LinkReplaced, UnknownBlock
from services.shared.rpc.outbox import Outbox
from services.shared.runtime.faults import StartRefused
from services.shared.runtime.grpc_server import UNIX_PATH_LIMIT, RpcServer
from services.shared.runtime.metric_catalogue import Catalogue
from services.shared.runtime.metrics_http import MetricsServer
from services.shared.runtime.process_metrics import ProcessMetrics
from tests.support.captured_log import captured_logs
from trisync.client import AsyncCoordinator, CoordinatorError
from trisync.error_reason import reason_of

pytestmark = pytest.mark.integration

SERVICE = coordinator_pb2.DESCRIPTOR.services_by_name["CoordinatorService"]


class FailingCoordinator(coordinator_pb2_grpc.CoordinatorServiceServicer):
    """Raises the error it was given: at once, after one message, or from within a TaskGroup."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def GetBlock(self, request, context):
        raise self._error

    async def GetStatus(self, request, context):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._fail())

    async def WatchStatus(self, request, context):
        yield coordinator_pb2.WatchStatusResponse()
        raise self._error

    async def ListPeers(self, request, context):
        raise self._error

    async def ListDisconnects(self, request, context):
        raise self._error

    async def GetHeader(self, request, context):
        raise self._error

    async def GetReceipts(self, request, context):
        raise self._error

    async def GetCanonicalHash(self, request, context):
        raise self._error

    async def StreamBlocks(self, request, context):
        yield coordinator_pb2.StreamBlocksResponse()
        raise self._error

    async def BestPeer(self, request, context):
        raise self._error

    async def ExplainSync(self, request, context):
        raise self._error

    async def StartSync(self, request, context):
        raise self._error

    async def AddPeer(self, request, context):
        raise self._error

    async def RemovePeer(self, request, context):
        raise self._error

    async def AddTrustedPeer(self, request, context):
        raise self._error

    async def RemoveTrustedPeer(self, request, context):
        raise self._error

    async def _fail(self) -> None:
        raise self._error


@contextlib.asynccontextmanager
async def serving(error: Exception) -> AsyncIterator[str]:
    async with serving_with(FailingCoordinator(error)) as address:
        yield address


@contextlib.asynccontextmanager
async def serving_with(servicer: coordinator_pb2_grpc.CoordinatorServiceServicer) -> AsyncIterator[str]:
    server = RpcServer()
    server.add(coordinator_pb2_grpc.add_CoordinatorServiceServicer_to_server, servicer, SERVICE)
    address = server.listen("127.0.0.1:0")
    await server.start()
    await server.set_serving(True)
    try:
        yield address
    finally:
        await server.stop(0)


async def failure_of(call: Callable[[Any], Awaitable[object]], address: str) -> tuple[grpc.StatusCode, str | None]:
    async with open_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await call(coordinator_pb2_grpc.CoordinatorServiceStub(channel))
    return failure.value.code(), failure.value.details()


@pytest.mark.parametrize("kind", STATUS_OF)
def test_error_of_the_table_reaches_the_client_as_its_status(kind: type[Exception]):
    async def scenario() -> None:
        async with serving(kind("block 5 is not stored")) as address:
            found = await failure_of(lambda stub: stub.GetBlock(coordinator_pb2.GetBlockRequest()), address)
            assert found == (STATUS_OF[kind], "block 5 is not stored")

    asyncio.run(scenario())


def test_error_inside_a_task_group_and_a_stream_has_its_status_too():
    async def read_stream(stub: Any) -> None:
        async for _ in stub.WatchStatus(coordinator_pb2.WatchStatusRequest()):
            pass

    async def scenario() -> None:
        async with serving(LinkReplaced("a newer stream")) as address:
            expected = (grpc.StatusCode.ABORTED, "a newer stream")
            assert (
                await failure_of(lambda stub: stub.GetStatus(coordinator_pb2.GetStatusRequest()), address) == expected
            )
            assert await failure_of(read_stream, address) == expected

    asyncio.run(scenario())


def test_bug_reaches_the_client_as_internal_without_what_went_wrong_and_is_logged_once():
    async def read_stream(stub: Any) -> None:
        async for _ in stub.WatchStatus(coordinator_pb2.WatchStatusRequest()):
            pass

    async def scenario() -> None:
        bug = ZeroDivisionError("oops")
        with captured_logs() as log:
            async with serving(bug) as address:
                ask = [lambda stub: stub.GetBlock(coordinator_pb2.GetBlockRequest()), read_stream]
                assert [await failure_of(call, address) for call in ask] == [(grpc.StatusCode.INTERNAL, BUG_TEXT)] * 2
        methods = [f"/{SERVICE.full_name}/{name}" for name in ("GetBlock", "WatchStatus")]
        assert [(line["method"], line["exc_info"]) for line in log.lines] == [(method, bug) for method in methods]

    asyncio.run(scenario())


def test_request_that_is_none_is_the_clients_fault_and_not_logged():
    async def scenario() -> None:
        with captured_logs() as log:
            async with serving(UnknownBlock("no")) as address, open_channel(address) as channel:
                for method in ("GetBlock", "WatchStatus"):
                    make: Any = channel.unary_stream if method == "WatchStatus" else channel.unary_unary
                    call = make(f"/{SERVICE.full_name}/{method}")(b"\xff\xff\xff")
                    assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
                    assert reason_of(await call.trailing_metadata()) == "INVALID_REQUEST"
        log.check_no_traceback()

    asyncio.run(scenario())


class WaitingCoordinator(FailingCoordinator):
    """Answers one question after a minute; at another it looks how long a call of its own may take."""

    def __init__(self) -> None:
        super().__init__(UnknownBlock("no"))
        self.within: list[float] = []

    async def GetStatus(self, request, context):
        await asyncio.sleep(60)

    async def ListPeers(self, request, context):
        self.within += [within(100.0), within(1.0)]
        return coordinator_pb2.ListPeersResponse()


def test_unary_call_without_a_deadline_ends_at_the_servers(monkeypatch):
    async def scenario() -> None:
        async with serving_with(WaitingCoordinator()) as address:
            found = await failure_of(lambda stub: stub.GetStatus(coordinator_pb2.GetStatusRequest()), address)
            text = "the call was not done within 0.3 s; try again, or give it more time"
            assert found == (grpc.StatusCode.DEADLINE_EXCEEDED, text)

    monkeypatch.setattr(deadlines, "LONGEST_CALL_S", 0.3)
    asyncio.run(scenario())


def test_deadline_of_a_call_is_passed_on_to_what_it_calls():
    async def scenario() -> None:
        servicer = WaitingCoordinator()
        async with serving_with(servicer) as address, open_channel(address) as channel:
            stub = coordinator_pb2_grpc.CoordinatorServiceStub(channel)
            await stub.ListPeers(coordinator_pb2.ListPeersRequest(), timeout=15)
            await stub.ListPeers(coordinator_pb2.ListPeersRequest())
        hurried, its_own, patient, _ = servicer.within
        assert 1.0 == its_own < hurried < 15.0 < patient < deadlines.LONGEST_CALL_S

    asyncio.run(scenario())


def test_operator_client_turns_not_found_into_none_and_the_rest_into_its_error():
    async def scenario() -> None:
        async with serving(UnknownBlock("no")) as address, AsyncCoordinator(address) as client:
            assert await client.block(5) is None
            with pytest.raises(CoordinatorError, match="NOT_FOUND") as refused:
                await client.status()
            assert not refused.value.retryable
        async with AsyncCoordinator("unix:/nonexistent/coordinator.sock") as client:
            with pytest.raises(CoordinatorError, match="does not answer") as absent:
                await client.status()
            assert absent.value.retryable

    asyncio.run(scenario())


GREETING_S = 0.6
"""What a server on a loaded machine may need to answer a new connection."""


@contextlib.asynccontextmanager
async def slow_to_greet(address: str) -> AsyncIterator[str]:
    """The same server, whose first bytes to a new connection are late."""
    host, _, port = address.rpartition(":")

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while content := await reader.read(65536):
            writer.write(content)
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(GREETING_S)
        from_server, to_server = await asyncio.open_connection(host, int(port))
        await asyncio.gather(pump(reader, to_server), pump(from_server, writer), return_exceptions=True)

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as relaying:
        yield f"127.0.0.1:{relaying.sockets[0].getsockname()[1]}"


def test_server_that_is_slow_to_greet_is_waited_for():
    async def scenario() -> None:
        async with serving(UnknownBlock("no")) as address, slow_to_greet(address) as slow:
            async with AsyncCoordinator(slow) as client:
                assert await client.block(5) is None
            code, _ = await failure_of(lambda stub: stub.GetBlock(coordinator_pb2.GetBlockRequest()), slow)
            assert code is grpc.StatusCode.NOT_FOUND

    asyncio.run(scenario())


def test_health_knows_the_service_and_reflection_is_not_served_unless_asked_for():
    async def scenario() -> None:
        async with serving(UnknownBlock("no")) as address, open_channel(address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            for name in ("", SERVICE.full_name):
                answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
            asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
            stream = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(asked)
            assert await stream.code() is grpc.StatusCode.UNIMPLEMENTED

    asyncio.run(scenario())


def test_port_in_use_is_refused_with_address_and_reason():
    async def scenario() -> None:
        with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(StartRefused, match=f"127.0.0.1:{port}: address already in use"):
                RpcServer().listen(f"127.0.0.1:{port}")
            with pytest.raises(StartRefused, match=f"metrics on 127.0.0.1:{port}: address already in use"):
                await MetricsServer(CollectorRegistry()).start("127.0.0.1", port)

    asyncio.run(scenario())


def test_bad_addresses_are_refused(tmp_path: Path):
    async def scenario() -> None:
        for address, told in (
            ("127.0.0.1", "not host:port"),
            ("127.0.0.1:66000", "not host:port"),
            (":7450", "names no host; 0.0.0.0:PORT is every address"),
            (f"unix:/{'x' * UNIX_PATH_LIMIT}", "shorter path"),
            (f"unix:{tmp_path}/none/x.sock", "does not exist"),
        ):
            with pytest.raises(StartRefused, match=told):
                RpcServer().listen(address)

    asyncio.run(scenario())


def test_unix_socket_is_taken_over_from_a_dead_server_but_not_from_a_live_one(tmp_path: Path):
    async def scenario() -> None:
        path = tmp_path / "s.sock"
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(str(path))
        stale.close()
        server = RpcServer()
        server.listen(f"unix:{path}")
        await server.start()
        with pytest.raises(StartRefused, match="another process answers"):
            RpcServer().listen(f"unix:{path}")
        await server.stop(0)

    asyncio.run(scenario())


def test_metrics_are_served_over_http_and_garbage_is_hung_up_on():
    async def ask(port: int, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        writer.write_eof()
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        return answer

    async def scenario() -> None:
        registry = CollectorRegistry()
        ProcessMetrics(Catalogue("coordinator", registry))
        server = MetricsServer(registry)
        port = await server.start("127.0.0.1", 0)
        assert b"coordinator_private_memory_bytes" in await ask(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await ask(port, b"half a request") == b""
        assert await ask(port, b"x" * 100_000 + b"\r\n\r\n") == b""
        await server.stop()

    asyncio.run(scenario())


def test_outbox_hands_items_over_to_a_waiting_writer_and_wakes_who_waits_for_room():
    async def scenario() -> None:
        outbox: Outbox[int] = Outbox(limit_bytes=10)
        taken: list[int] = []

        async def write() -> None:
            async for item in outbox:
                taken.append(item)  # noqa: PERF401 - what was taken is looked at meanwhile

        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            assert outbox.put(1, 10)
            waiting = tasks.create_task(outbox.wait_below(1))
            tasks.create_task(write())
            await waiting
            assert taken == [1]
            assert outbox.put(2, 10)
            outbox.close()
        assert taken == [1, 2]

    asyncio.run(scenario())
