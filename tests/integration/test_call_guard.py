"""The operator API over TCP: what is too much is refused, and tools can ask what there is."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from blocksync.v1 import chain_reader_pb2, chain_reader_pb2_grpc, coordinator_pb2, coordinator_pb2_grpc
from google.protobuf import descriptor_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from prometheus_client import CollectorRegistry

from services.shared.rpc.channel import open_channel
from services.shared.rpc.error_details import DETAILS_KEY
from services.shared.runtime.access import AccessInterceptor
from services.shared.runtime.audit import REFUSALS_AT_ONCE
from services.shared.runtime.callers import CallerCheck
from services.shared.runtime.grpc_server import RpcServer
from services.shared.runtime.process_options import ProcessOptions
from services.shared.runtime.rpc_metrics import RpcMetricsInterceptor
from services.shared.trust.tokens import TokenFile
from services.sync_coordinator.core.call_limits import MOST_STREAMS_OPEN, CallLimits
from services.sync_coordinator.edges.call_guard import CallGuard
from services.sync_coordinator.edges.operator_methods import QUESTION_BYTES, SERVICES
from services.sync_coordinator.metrics import CoordinatorMetrics
from tests.integration.test_rpc_server import FailingCoordinator
from tests.support.captured_log import captured_logs
from tests.support.deadlines import until
from trisync.error_reason import reason_of

pytestmark = pytest.mark.integration

SERVICE = coordinator_pb2.DESCRIPTOR.services_by_name["CoordinatorService"]
READER = chain_reader_pb2.DESCRIPTOR.services_by_name["ChainReaderService"]
TOKEN = "a-token-of-many-letters"
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


class AnsweringCoordinator(FailingCoordinator):
    """Answers questions at once, and keeps streams open."""

    def __init__(self) -> None:
        super().__init__(AssertionError("not asked for"))

    async def GetStatus(self, request, context):
        return coordinator_pb2.GetStatusResponse()

    async def WatchStatus(self, request, context):
        yield coordinator_pb2.WatchStatusResponse()
        await asyncio.Event().wait()


class EmptyChain(chain_reader_pb2_grpc.ChainReaderServiceServicer):
    async def ReadHeaders(self, request, context):
        return chain_reader_pb2.ReadHeadersResponse()


@contextlib.asynccontextmanager
async def guarded(
    address: str = "127.0.0.1:0",
    *,
    reads_per_second: float = 5,
    options: ProcessOptions | None = None,
    tokens: TokenFile | None = None,
    on_excess: Callable[[str, str], None] | None = None,
) -> AsyncIterator[tuple[grpc.aio.Channel, CollectorRegistry]]:
    """With the coordinator's interceptors."""
    registry = CollectorRegistry()
    metrics, limits = CoordinatorMetrics(registry), CallLimits(reads_per_second)
    access = AccessInterceptor(CallerCheck(tokens), on_refused=lambda path, context: guard.refused(path, context))  # noqa: PLW0108 - guard is bound later
    guard = CallGuard(limits, metrics, on_excess, access.identify)
    server = RpcServer([RpcMetricsInterceptor(metrics.rpc), guard, access], options)
    server.add(coordinator_pb2_grpc.add_CoordinatorServiceServicer_to_server, AnsweringCoordinator(), SERVICE)
    server.add(chain_reader_pb2_grpc.add_ChainReaderServiceServicer_to_server, EmptyChain(), READER)  # type: ignore[abstract] # one method is enough
    bound = server.listen(address)
    await server.start()
    await server.set_serving(True)
    try:
        with captured_logs() as log:
            async with open_channel(bound) as channel, asyncio.timeout(20):
                yield channel, registry
            log.check_no_traceback()
    finally:
        await server.stop(0)


async def ask(channel: grpc.aio.Channel, times: int) -> list[grpc.aio.AioRpcError | None]:
    stub = coordinator_pb2_grpc.CoordinatorServiceStub(channel)

    async def once() -> grpc.aio.AioRpcError | None:
        try:
            await stub.GetStatus(coordinator_pb2.GetStatusRequest(), timeout=5)
        except grpc.aio.AioRpcError as error:
            return error
        return None

    return [await once() for _ in range(times)]


def test_calls_above_the_rate_are_refused_with_reason_and_time_to_wait_and_counted():
    async def scenario() -> None:
        async with guarded() as (channel, registry):
            refused = [error for error in await ask(channel, 40) if error is not None]
            assert 20 <= len(refused) <= 30
            assert {error.code() for error in refused} == {EXHAUSTED}
            assert {reason_of(error.trailing_metadata()) for error in refused} == {"CLIENT_CALL_RATE"}
            details = dict(refused[0].trailing_metadata() or ())[DETAILS_KEY]
            retry = error_details_pb2.RetryInfo()
            assert status_pb2.Status.FromString(details).details[-1].Unpack(retry)
            assert 0 < retry.retry_delay.ToMilliseconds() <= 210
            labels = {"call_class": "read", "limit": "client_call_rate"}
            assert registry.get_sample_value("coordinator_rpc_refused_total", labels) == len(refused)
            # Other classes have limits of their own.
            stream = coordinator_pb2_grpc.CoordinatorServiceStub(channel).WatchStatus(
                coordinator_pb2.WatchStatusRequest()
            )
            assert await stream.read() == coordinator_pb2.WatchStatusResponse()
            stream.cancel()

    asyncio.run(scenario())


def test_clients_on_a_unix_socket_are_no_outsiders(tmp_path: Path):
    async def scenario() -> None:
        async with guarded(f"unix:{tmp_path}/c.sock") as (channel, _):
            assert await ask(channel, 60) == [None] * 60

    asyncio.run(scenario())


def test_request_above_the_methods_size_is_refused():
    async def scenario() -> None:
        async with guarded() as (channel, registry):
            ask_raw: Any = channel.unary_unary(f"/{SERVICE.full_name}/GetStatus")
            call = ask_raw(bytes(QUESTION_BYTES + 1), timeout=5)
            assert await call.code() is EXHAUSTED
            assert reason_of(await call.trailing_metadata()) == "REQUEST_TOO_LARGE"
            labels = {"call_class": "read", "limit": "request_too_large"}
            assert registry.get_sample_value("coordinator_rpc_refused_total", labels) == 1

    asyncio.run(scenario())


async def codes_of(channel: grpc.aio.Channel, path: str, times: int) -> Counter[grpc.StatusCode]:
    """How so many calls end that send an empty request."""
    call: Any = channel.unary_unary(path)
    return Counter([await call(b"", timeout=5).code() for _ in range(times)])


def test_method_that_nobody_serves_is_counted_as_a_probe():
    excesses: list[tuple[str, str]] = []

    async def scenario() -> None:
        async with guarded(on_excess=lambda *told: excesses.append(told)) as (channel, registry):
            codes = await codes_of(channel, "/no.Such/Method", 30)
            assert codes.keys() == {grpc.StatusCode.UNIMPLEMENTED, EXHAUSTED}
            assert codes[EXHAUSTED] == len(excesses) >= 5
            assert {client for client, _ in excesses} == {"ipv4:127.0.0.1"}
            for code, count in codes.items():
                labels = {"method": "other", "code": code.name}
                assert registry.get_sample_value("coordinator_rpc_calls_total", labels) == count
            reflected = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
            assert await codes_of(channel, reflected, 1) == {grpc.StatusCode.UNIMPLEMENTED: 1}

    asyncio.run(scenario())


def test_stranger_at_an_internal_link_is_refused_unread_and_counted_as_a_client(tmp_path: Path):
    excesses: list[tuple[str, str]] = []
    (tmp_path / "tokens").write_text(f"viewer:dashboard:{TOKEN}\n")

    async def scenario() -> None:
        tokens = TokenFile(tmp_path / "tokens")
        async with guarded(tokens=tokens, on_excess=lambda *told: excesses.append(told)) as (channel, registry):
            path = f"/{READER.full_name}/ReadHeaders"
            begin: Any = channel.stream_unary(path)
            # It sends nothing: the answer cannot have waited for a request.
            assert await begin(timeout=5).code() is grpc.StatusCode.UNAUTHENTICATED
            assert excesses == []
            assert await codes_of(channel, path, 29) == {grpc.StatusCode.UNAUTHENTICATED: 29}
            assert len(excesses) >= 5
            viewer: Any = channel.stream_unary(path)
            call = viewer(timeout=5, metadata=(("authorization", f"Bearer {TOKEN}"),))
            assert await call.code() is grpc.StatusCode.PERMISSION_DENIED
            labels = {"method": "ChainReaderService/ReadHeaders", "code": "UNAUTHENTICATED"}
            assert registry.get_sample_value("coordinator_rpc_calls_total", labels) == 30

    asyncio.run(scenario())


def test_gateways_questions_are_answered_and_not_counted():
    async def scenario() -> None:
        async with guarded() as (channel, _):
            path = f"/{READER.full_name}/ReadHeaders"
            assert await codes_of(channel, path, 60) == {grpc.StatusCode.OK: 60}
            call: Any = channel.unary_unary(path)
            assert await call(b"\xff\xff", timeout=5).code() is grpc.StatusCode.INVALID_ARGUMENT

    asyncio.run(scenario())


def test_strangers_refusals_hide_no_line_about_somebody_who_is_known(tmp_path: Path):
    (tmp_path / "tokens").write_text(f"viewer:dashboard:{TOKEN}\n")

    async def scenario() -> None:
        tokens = TokenFile(tmp_path / "tokens")
        async with guarded(reads_per_second=0, tokens=tokens) as (channel, _):
            with captured_logs() as log:
                await codes_of(channel, f"/{SERVICE.full_name}/GetStatus", 3 * REFUSALS_AT_ONCE)
                stub = coordinator_pb2_grpc.CoordinatorServiceStub(channel)
                shown = (("authorization", f"Bearer {TOKEN}"),)
                call = stub.AddPeer(coordinator_pb2.AddPeerRequest(enode="enode://1"), metadata=shown, timeout=5)
                assert await call.code() is grpc.StatusCode.PERMISSION_DENIED
                *before, last = log.lines
                assert REFUSALS_AT_ONCE <= len(before) <= 2 * REFUSALS_AT_ONCE
                assert (last["change"], last["what"]) == ("AddPeer", "enode://1")
                assert TOKEN not in str(log.lines)

    asyncio.run(scenario())


@pytest.mark.parametrize("method", ["GetStatus", "WatchStatus", "AddPeer"])
def test_strangers_request_is_not_read(tmp_path: Path, method: str):
    (tmp_path / "tokens").write_text(f"viewer:dashboard:{TOKEN}\n")

    async def scenario() -> None:
        async with guarded(tokens=TokenFile(tmp_path / "tokens")) as (channel, _):
            begin: Any = channel.stream_stream(f"/{SERVICE.full_name}/{method}")
            call = begin(timeout=5)
            assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
            assert reason_of(await call.trailing_metadata()) == "NOT_IDENTIFIED"

    asyncio.run(scenario())


def test_metadata_above_its_size_is_refused():
    async def scenario() -> None:
        async with guarded() as (channel, _):
            stub = coordinator_pb2_grpc.CoordinatorServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.GetStatus(coordinator_pb2.GetStatusRequest(), metadata=(("x", "y" * 20_000),), timeout=5)
            assert refused.value.code() is EXHAUSTED

    asyncio.run(scenario())


def test_streams_of_one_client_are_bounded_and_one_that_ends_makes_room():
    async def scenario() -> None:
        async with guarded(reads_per_second=0) as (channel, _):
            stub = coordinator_pb2_grpc.CoordinatorServiceStub(channel)
            streams = [stub.WatchStatus(coordinator_pb2.WatchStatusRequest()) for _ in range(MOST_STREAMS_OPEN)]
            for stream in streams:
                assert await stream.read() == coordinator_pb2.WatchStatusResponse()
            extra = stub.WatchStatus(coordinator_pb2.WatchStatusRequest())
            assert await extra.code() is EXHAUSTED
            assert reason_of(await extra.trailing_metadata()) == "CLIENT_STREAMS_OPEN"
            streams[0].cancel()

            async def reopened() -> bool:
                again = stub.WatchStatus(coordinator_pb2.WatchStatusRequest())
                try:
                    return await again.read() == coordinator_pb2.WatchStatusResponse()
                except grpc.aio.AioRpcError:
                    return False
                finally:
                    again.cancel()

            await until(reopened, "a place for a stream")

    asyncio.run(scenario())


def test_requests_that_never_come_or_are_none_end_the_call(monkeypatch):
    async def scenario() -> None:
        async with guarded() as (channel, _):
            begin: Any = channel.stream_unary(f"/{SERVICE.full_name}/GetStatus")
            call = begin(timeout=10)
            assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert reason_of(await call.trailing_metadata()) == "REQUEST_TIMED_OUT"
            empty = begin(timeout=10)
            await empty.done_writing()
            assert await empty.code() is grpc.StatusCode.INVALID_ARGUMENT
            reflect: Any = channel.stream_stream(f"/{SERVICE.full_name}/GetBlock")
            garbage = reflect(iter([b"\xff\xff"]), timeout=10)
            assert await garbage.code() is grpc.StatusCode.INVALID_ARGUMENT

    monkeypatch.setattr("services.sync_coordinator.edges.call_guard.REQUEST_PATIENCE_S", 0.2)
    asyncio.run(scenario())


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_lists_and_describes_every_operator_service(version: str):
    async def scenario() -> None:
        async with guarded(options=ProcessOptions(reflection=True)) as (channel, _):
            reflect = channel.stream_stream(
                f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
                request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
                response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
            )
            questions = [reflection_pb2.ServerReflectionRequest(list_services="")]
            questions += [
                reflection_pb2.ServerReflectionRequest(file_containing_symbol=service.full_name) for service in SERVICES
            ]
            listed, *described = [answer async for answer in reflect(iter(questions), timeout=10)]
            names = {one.name for one in listed.list_services_response.service}
            assert {SERVICE.full_name, "grpc.health.v1.Health", f"grpc.reflection.{version}.ServerReflection"} <= names
            for service, answer in zip(SERVICES, described, strict=True):
                files = [
                    descriptor_pb2.FileDescriptorProto.FromString(one)
                    for one in answer.file_descriptor_response.file_descriptor_proto
                ]
                methods = {
                    method.name
                    for file in files
                    for found in file.service
                    if found.name == service.name
                    for method in found.method
                }
                assert methods == {method.name for method in service.methods}

    asyncio.run(scenario())


def test_channelz_shows_the_server_and_its_socket_where_it_is_asked_for():
    async def scenario() -> None:
        async with guarded(options=ProcessOptions(channelz=True)) as (channel, _):
            assert await ask(channel, 3) == [None] * 3
            channelz = channelz_pb2_grpc.ChannelzStub(channel)
            answer = await channelz.GetServers(channelz_pb2.GetServersRequest(), timeout=5)
            assert sum(server.data.calls_started for server in answer.server) >= 3
            assert any(server.listen_socket for server in answer.server)
        async with guarded() as (channel, _):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channelz_pb2_grpc.ChannelzStub(channel).GetServers(channelz_pb2.GetServersRequest(), timeout=5)
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED

    asyncio.run(scenario())
