"""A TLS server and its clients: renewed, wrong, expired and missing certificates, and tokens."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import grpc
import grpc.aio
import pytest
from blocksync.v1 import coordinator_pb2, coordinator_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.shared.rpc.channel import open_channel, why_failed
from services.shared.runtime.access import AccessInterceptor
from services.shared.runtime.callers import CallerCheck
from services.shared.runtime.grpc_server import RpcServer
from services.shared.runtime.logs import get_log
from services.shared.trust.tls_files import LOOK_EVERY_S, TlsFilesBad, TlsMaterial, TlsWatch, utc_now
from services.shared.trust.tokens import TokenFile
from tests.support.captured_log import captured_logs
from tests.support.certificates import credentials_of, files_of, make_set
from tests.support.stack import in_one_loop
from trisync.certificate_directory import CertificateDirectory
from trisync.client import AsyncCoordinator, Coordinator, CoordinatorError, Credentials

pytestmark = pytest.mark.integration

SERVICE: Final = coordinator_pb2.DESCRIPTOR.services_by_name["CoordinatorService"]

TOKEN: Final = "a-token-of-many-letters"


class Clock:
    """Files are looked at once a second: the second passes when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pass_a_look(self) -> None:
        self.now += LOOK_EVERY_S


class SmallCoordinator(coordinator_pb2_grpc.CoordinatorServiceServicer):
    async def GetStatus(self, request, context):
        return coordinator_pb2.GetStatusResponse()

    async def AddPeer(self, request, context):
        return coordinator_pb2.AddPeerResponse(gateway_id="gateway-0")


@contextlib.asynccontextmanager
async def serving(
    tls: TlsWatch | None, tokens: TokenFile | None = None, *, ask_certificate: bool = True
) -> AsyncIterator[str]:
    server = RpcServer([AccessInterceptor(CallerCheck(tokens))], tls=tls)
    servicer = SmallCoordinator()  # type: ignore[abstract] # two methods are enough
    server.add(coordinator_pb2_grpc.add_CoordinatorServiceServicer_to_server, servicer, SERVICE)
    address = server.listen("127.0.0.1:0", ask_certificate=ask_certificate)
    await server.start()
    await server.set_serving(True)
    try:
        yield address
    finally:
        await server.stop(0)


async def add_peer(address: str, credentials: Credentials) -> str:
    """What the client says when a peer is added: the gateway, or the one line of the failure."""
    async with AsyncCoordinator(address, credentials) as client:
        try:
            return (await client.add_peer("enode://")).gateway_id
        except CoordinatorError as error:
            return str(error)


def blocking_add_peer(address: str, credentials: Credentials) -> str:
    with Coordinator(address, credentials) as client:
        try:
            return client.add_peer("enode://").gateway_id
        except CoordinatorError as error:
            return str(error)


async def check(channel: grpc.aio.Channel) -> str:
    try:
        await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
    except grpc.aio.AioRpcError as error:
        return why_failed(error)
    return "serving"


@in_one_loop
async def test_stranger_is_refused_and_told_what_to_do_in_one_line(tmp_path: Path) -> None:
    ours, theirs = make_set(tmp_path / "ours"), make_set(tmp_path / "theirs")
    viewer = credentials_of(ours, "viewer")
    async with serving(TlsWatch(files_of(ours, "coordinator"))) as address:
        where = f"no connection to the coordinator at {address}: "
        assert await add_peer(address, credentials_of(ours, "operator")) == "gateway-0"
        assert await asyncio.to_thread(blocking_add_peer, address, credentials_of(ours, "operator")) == "gateway-0"
        assert "has the role viewer" in await asyncio.to_thread(blocking_add_peer, address, viewer)
        # Trusts our CA, and has a certificate of another.
        mixed = dataclasses.replace(credentials_of(theirs, "operator"), tls_ca=viewer.tls_ca)
        hangs_up = "it hangs up in the TLS handshake: our certificate (--tls-cert) is missing, has expired, or is not "
        hangs_up += "from its CA"
        assert await add_peer(address, mixed) == where + hangs_up
        assert await add_peer(address, Credentials(tls_ca=viewer.tls_ca)) == where + hangs_up
        # A service that dials says the same in its log.
        async with open_channel(address, TlsWatch(files_of(theirs, "peer_gateway"))) as channel:
            assert "its certificate is not from our CA" in await check(channel)
        assert await add_peer(address, credentials_of(theirs, "operator")) == (
            where + "its certificate is not from our CA; give the CA of its certificate (--tls-ca)"
        )
        assert await add_peer(address, Credentials()) == (
            where + "it hangs up at once, as a TLS port does on plaintext; give --tls-ca, --tls-cert and --tls-key"
        )
    # A person's certificate is none of a service: whoever has it cannot stand in for the coordinator.
    async with serving(TlsWatch(files_of(ours, "operator"))) as address:
        assert "its certificate is" in await add_peer(address, viewer)
    async with serving(None) as address:
        assert "it speaks plaintext and we TLS" in await add_peer(address, viewer)


@in_one_loop
async def test_expired_certificate_is_told_of_by_both_sides(tmp_path: Path) -> None:
    ours = make_set(tmp_path)
    server_tls = TlsWatch(files_of(ours, "coordinator"))
    client_tls = TlsWatch(files_of(ours, "viewer"))
    short = CertificateDirectory(ours)
    short.renew(utc_now() - datetime.timedelta(minutes=30), datetime.timedelta(minutes=1))
    with pytest.raises(TlsFilesBad, match=r"viewer/tls\.crt: the certificate has expired at .*; renew it"):
        TlsWatch(files_of(ours, "viewer"))
    # As with one that ended while its owner ran: what gRPC is given is not read again.
    async with serving(server_tls) as address:
        assert "our certificate is not from its CA or expired" in await check_with(address, expired(ours, "viewer"))
    async with serving(expired(ours, "coordinator")) as address, open_channel(address, client_tls) as channel:
        assert "its certificate has expired; renew it there" in await check(channel)


def expired(directory: Path, name: str) -> TlsWatch:
    """The files as they are, held since before they expired."""
    files = files_of(directory, name)
    assert files.cert is not None
    assert files.key is not None
    held = TlsMaterial(files.ca.read_bytes(), files.cert.read_bytes(), files.key.read_bytes())

    class Held(TlsWatch):
        def __init__(self) -> None:
            pass

        def current(self) -> TlsMaterial:
            return held

    return Held()


async def check_with(address: str, tls: TlsWatch) -> str:
    async with open_channel(address, tls) as channel:
        return await check(channel)


@in_one_loop
async def test_renewed_certificate_is_used_by_both_sides_without_a_restart(tmp_path: Path) -> None:
    first, second = make_set(tmp_path / "first"), make_set(tmp_path / "second")
    clock = Clock()
    with captured_logs() as log:
        server_tls = TlsWatch(files_of(first, "coordinator"), get_log("tls"), clock)
        client_tls = TlsWatch(files_of(first, "peer_gateway"), clock=clock)
        async with serving(server_tls) as address, open_channel(address, client_tls) as channel:
            assert await check(channel) == "serving"
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            # Another CA altogether, so that only what was read again can work. One file is half-written at first.
            whole = (second / "coordinator" / "tls.crt").read_bytes()
            for name in ("ca.crt", "tls.key", "tls.crt"):
                for service in ("coordinator", "peer_gateway"):
                    (first / service / name).write_bytes((second / service / name).read_bytes())
            (first / "coordinator" / "tls.crt").write_bytes(whole[:100])
            clock.pass_a_look()
            async with open_channel(address, TlsWatch(files_of(second, "viewer"))) as newcomer:
                assert "its certificate is not from our CA" in await check(newcomer)
            lines = [line for line in log.lines if line.get("part") == "tls"]
            assert [line["event"] for line in lines] == ["certificate files not taken, the ones before stay in use"]
            assert lines[0]["why"] == f"{first / 'coordinator' / 'tls.crt'}: not a certificate in PEM"
            (first / "coordinator" / "tls.crt").write_bytes(whole)
            clock.pass_a_look()
            assert await check(channel) == "serving"
            async with open_channel(address, TlsWatch(files_of(second, "viewer"))) as newcomer:
                assert await check(newcomer) == "serving"
            # The call that was open stays open.
            assert not watch.done()
            watch.cancel()
        assert [line["event"] for line in log.lines if line.get("part") == "tls"][1:] == [
            "certificate files read again"
        ]


@in_one_loop
async def test_token_says_who_a_caller_without_a_certificate_is(tmp_path: Path) -> None:
    ours = make_set(tmp_path / "certs")
    lines, mine = tmp_path / "tokens", tmp_path / "mine"
    lines.write_text(f"operator:bob:{TOKEN}\nviewer:eve:another-token-of-letters\n")
    clock = Clock()
    tokens = TokenFile(lines, clock=clock)
    ca = files_of(ours, "viewer").ca
    with captured_logs() as log:
        async with serving(TlsWatch(files_of(ours, "coordinator")), tokens, ask_certificate=False) as address:
            for content, answer in (
                (TOKEN, "gateway-0"),
                ("another-token-of-letters", "needs the role operator, and 'eve' has the role viewer"),
                ("an-invented-token-of-letters", "is not in the coordinator's token file"),
            ):
                mine.write_text(content + "\n")
                shown = Credentials(tls_ca=ca, token_file=mine)
                assert answer in await add_peer(address, shown)
                assert answer in await asyncio.to_thread(blocking_add_peer, address, shown)
            assert "shows no token" in await add_peer(address, Credentials(tls_ca=ca))
            lines.write_text("viewer:bob:" + TOKEN + "\n")
            clock.pass_a_look()
            mine.write_text(TOKEN)
            assert "needs the role operator" in await add_peer(address, Credentials(tls_ca=ca, token_file=mine))
            async with AsyncCoordinator(address, Credentials(tls_ca=ca, token_file=mine)) as client:
                await client.status()
        made = [line for line in log.lines if line["event"] == "change made"]
        assert [(line["who"], line["role"]) for line in made] == [("bob", "operator")] * 2
        assert TOKEN not in str(log.lines)


@in_one_loop
async def test_token_is_needed_in_plaintext_too_where_there_is_a_token_file(tmp_path: Path) -> None:
    mine = tmp_path / "token"
    mine.write_text(TOKEN)
    lines = tmp_path / "tokens"
    lines.write_text(f"operator:bob:{TOKEN}\n")
    async with serving(None, TokenFile(lines)) as address:
        assert await add_peer(address, Credentials(token_file=mine)) == "gateway-0"
        assert "shows no token" in await add_peer(address, Credentials())
    async with serving(None) as address:
        assert await add_peer(address, Credentials()) == "gateway-0"
