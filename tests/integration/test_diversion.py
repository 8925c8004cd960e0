"""What the diversion shares, cuts and leaves alone, on loopback sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
from blocksync.v1 import coordinator_pb2, coordinator_pb2_grpc
from prometheus_client import CollectorRegistry

from services.shared.rpc.channel import open_channel
from services.shared.runtime.grpc_server import RpcServer
from services.shared.trust.tls_files import TlsWatch
from services.sync_coordinator.core.offenders import DIVERT_AFTER
from services.sync_coordinator.edges.connection_cutting import OPEN_FILES, cut
from services.sync_coordinator.edges.diversion import MOST_STRAYS, Diversion
from services.sync_coordinator.metrics import CoordinatorMetrics
from tests.integration.test_call_guard import SERVICE, AnsweringCoordinator
from tests.support.captured_log import captured_logs
from tests.support.certificates import files_of, make_set
from tests.support.deadlines import until
from tests.support.stack import in_one_loop

pytestmark = pytest.mark.integration

CLIENT = "ipv4:127.0.0.1"


@contextlib.asynccontextmanager
async def diverting(
    diversion: Diversion, tls: TlsWatch | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[str, str]]:
    """A server beside a diversion; its addresses: for everybody, or with TLS for certificates, and for tokens."""
    server = RpcServer(before_listening=diversion.open, tls=tls)
    server.add(coordinator_pb2_grpc.add_CoordinatorServiceServicer_to_server, AnsweringCoordinator(), SERVICE)
    addresses = server.listen(f"{host}:0"), server.listen("127.0.0.1:0", ask_certificate=False)
    await server.start()
    running = asyncio.create_task(diversion.run())
    try:
        # `run` begins to answer in its first step.
        await asyncio.sleep(0)
        yield addresses[0].replace("0.0.0.0", "127.0.0.1"), addresses[1]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await server.stop(0)


def new_diversion() -> Diversion:
    return Diversion(40, CoordinatorMetrics(CollectorRegistry()))


async def answers(address: str, times: int, tls: TlsWatch | None = None) -> set[grpc.StatusCode]:
    """Of so many calls, each on a connection of its own."""
    codes = set()
    for _ in range(times):
        async with open_channel(address, tls) as channel:
            call = coordinator_pb2_grpc.CoordinatorServiceStub(channel).GetStatus(
                coordinator_pb2.GetStatusRequest(), timeout=5
            )
            codes.add(await call.code())
    return codes


@pytest.mark.parametrize(("host", "client"), [("127.0.0.1", CLIENT), ("0.0.0.0", CLIENT), ("[::1]", "ipv6:0:0:0:0")])
@in_one_loop
async def test_diverted_address_is_refused_on_every_new_connection_and_nobody_once_it_is_closed(
    host: str, client: str
) -> None:
    if "[" in host and not socket.has_dualstack_ipv6():
        pytest.skip("there is no IPv6 here")
    diversion = new_diversion()
    async with diverting(diversion, host=host) as (address, _):
        assert await answers(address, 5) == {grpc.StatusCode.OK}
        for _ in range(DIVERT_AFTER):
            diversion.refused(client, f"{client}:1")
        assert await answers(address, 5) == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        # The filter stays with gRPC's socket, and has nobody else to give a connection to.
        diversion.close()
        assert await answers(address, 5) == {grpc.StatusCode.OK}


@pytest.mark.parametrize("call", ["attach", "bind"])
@in_one_loop
async def test_system_that_does_not_allow_it_has_no_diversion_and_serves_all_the_same(
    monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(f"services.sync_coordinator.edges.diversion.{call}", refuse)
    diversion = new_diversion()
    with captured_logs() as log:
        async with diverting(diversion) as (address, _):
            for _ in range(DIVERT_AFTER):
                diversion.refused(CLIENT, f"{CLIENT}:1")
            assert await answers(address, 3) == {grpc.StatusCode.OK}
        told = [(line["event"], line["why"]) for line in log.lines]
        assert told == [("clients are not diverted", "Operation not permitted")]


@in_one_loop
async def test_stranger_at_an_address_for_tokens_keeps_nobody_out_who_has_a_certificate(tmp_path: Path) -> None:
    ours = make_set(tmp_path)
    tls, viewer, diversion = (
        TlsWatch(files_of(ours, "coordinator")),
        TlsWatch(files_of(ours, "viewer")),
        new_diversion(),
    )
    async with diverting(diversion, tls) as (for_certificates, for_tokens):
        assert await answers(for_tokens, 3, viewer) == {grpc.StatusCode.OK}
        for _ in range(DIVERT_AFTER):
            diversion.refused(CLIENT, f"{CLIENT}:1")
        # The same address, as behind one NAT.
        assert await answers(for_tokens, 3, viewer) == {grpc.StatusCode.UNAVAILABLE}
        assert await answers(for_certificates, 5, viewer) == {grpc.StatusCode.OK}
        # One that is known by name is never led past gRPC.
        for _ in range(2 * DIVERT_AFTER):
            diversion.refused("name:viewer", f"{CLIENT}:2")
        assert await answers(for_certificates, 3, viewer) == {grpc.StatusCode.OK}


@in_one_loop
async def test_ports_that_ask_for_a_certificate_are_not_shared(tmp_path: Path) -> None:
    opened: list[str] = []

    def open_beside(address: str) -> str:
        opened.append(address)
        return address

    tls = TlsWatch(files_of(make_set(tmp_path), "coordinator"))
    server = RpcServer(before_listening=open_beside, tls=tls)
    server.listen("127.0.0.1:0")
    assert opened == []
    server.listen("127.0.0.1:0", ask_certificate=False)
    assert opened == ["127.0.0.1:0"]
    await server.start()
    await server.stop(0)


@in_one_loop
async def test_released_client_cannot_make_it_seem_that_the_filter_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.sync_coordinator.core.offenders.CALM_S", 0.0)
    monkeypatch.setattr("services.sync_coordinator.edges.diversion.RELEASE_PERIOD_S", 0.01)
    diversion, address = new_diversion(), "127.0.0.1"

    def told() -> list[str]:
        return [line["event"] for line in log.lines]

    with captured_logs() as log:
        async with diverting(diversion):
            for _ in range(DIVERT_AFTER):
                diversion.refused(CLIENT, f"{CLIENT}:1")
            await until(lambda: "client diverted no more" in told(), "its release")
            # It has opened so many that they still wait to be taken.
            assert not any(diversion.opened(object(), address) for _ in range(2 * MOST_STRAYS))  # type: ignore[arg-type] # only told apart
            assert "clients are not diverted any more" not in told()
            assert not any(diversion.opened(object(), "192.0.2.9") for _ in range(MOST_STRAYS))  # type: ignore[arg-type] # as above
            assert "clients are not diverted any more" in told()


@in_one_loop
async def test_client_that_is_gone_before_it_is_looked_at_is_no_defect_of_ours() -> None:
    diversion = new_diversion()
    host, _, port = diversion.open("127.0.0.1:0").rpartition(":")
    with socket.create_connection((host, int(port))) as client:
        # Closing it sends a reset: the far end of the connection that is accepted then has no address.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with captured_logs() as log:
        running = asyncio.create_task(diversion.run())
        with socket.create_connection((host, int(port))) as last:
            last.setblocking(False)
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.get_running_loop().sock_recv(last, 1) == b""
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        log.check_no_traceback()


@contextlib.contextmanager
def connected(source: tuple[str, int] | None = None) -> Iterator[tuple[socket.socket, socket.socket, int]]:
    """Both ends of a connection, and the port that it was made to."""
    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.closing(socket.socket()) as near:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        near.bind(source or ("127.0.0.1", 0))
        near.connect(listener.getsockname())
        near.settimeout(0)
        accepted, _ = listener.accept()
        with accepted:
            yield near, accepted, listener.getsockname()[1]


def is_cut(near: socket.socket) -> bool:
    try:
        return near.recv(1) == b""
    except BlockingIOError:
        return False


def test_only_the_named_connection_to_a_port_of_ours_is_cut_and_no_file_stays_open() -> None:
    with connected() as (near, _, port), connected() as (other, _, other_port):
        peer = f"ipv4:127.0.0.1:{near.getsockname()[1]}"
        # Its far end is the same, and the port is not one that is shared: a gateway's, or a connection we have made.
        with connected(near.getsockname()) as (same_far_end, _, third_port):
            assert third_port not in (port, other_port)
            before = len(list(OPEN_FILES.iterdir()))
            cut({peer}, {port, other_port})
            assert len(list(OPEN_FILES.iterdir())) == before
            assert (is_cut(near), is_cut(other), is_cut(same_far_end)) == (True, False, False)


def test_without_the_list_of_open_files_nothing_is_cut(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("services.sync_coordinator.edges.connection_cutting.OPEN_FILES", tmp_path / "none")
    with connected() as (near, _, port):
        cut({f"ipv4:127.0.0.1:{near.getsockname()[1]}"}, {port})
        assert not is_cut(near)
