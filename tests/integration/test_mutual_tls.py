"""The three services with certificates: they find each other, and each caller is let do what its role allows."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from blocksync.v1 import gateway_link_pb2_grpc

from services.shared.rpc.channel import open_channel
from services.shared.trust.tls_files import TlsWatch
from tests.support.captured_log import CapturedLog
from tests.support.certificates import files_of, make_set
from tests.support.chain_peers import honest
from tests.support.scripted_peer import ScriptedListener
from tests.support.small_network import chain_blocks, peer_chain
from tests.support.stack import Stack, in_one_loop, running_stack
from tests.support.wire import local_node
from trisync.cli import main
from trisync.client import AsyncCoordinator, CoordinatorError
from trisync.health import HEALTHY, TLS_VARIABLES, UNHEALTHY
from trisync.health import main as check_health

pytestmark = pytest.mark.integration

CHAIN = peer_chain(chain_blocks(40))


@in_one_loop
async def test_stack_syncs_over_tls_and_lets_each_role_do_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certificates = make_set(tmp_path / "certs")
    async with (
        ScriptedListener(local_node("alice"), honest(CHAIN)) as alice,
        running_stack(static_peers=[str(alice.enode)], certificates=certificates) as stack,
    ):
        await stack.until_head(CHAIN.headers[-1])
        await check_roles(stack, str(alice.enode))
        for name in ("viewer", "admin", "broadcaster"):
            assert await attach_as(name, stack, certificates) == (
                grpc.StatusCode.PERMISSION_DENIED,
                f"GatewayLinkService/Control needs the certificate of a gateway, and {name!r} has the role {name}",
            )
        code, _ = await attach_as("peer_gateway", stack, certificates)
        assert code is not grpc.StatusCode.PERMISSION_DENIED
        await check_commands(stack, certificates, capsys)


async def check_roles(stack: Stack, enode: str) -> None:
    async with AsyncCoordinator(stack.coordinator_address, stack.credentials("viewer")) as viewer:
        assert (await viewer.status()).head.number == 40
        assert (await anext(viewer.watch_status())).head.number == 40
        with pytest.raises(CoordinatorError) as refused:
            await viewer.add_peer(enode)
    assert str(refused.value) == "CoordinatorService/AddPeer needs the role operator, and 'viewer' has the role viewer"
    async with AsyncCoordinator(stack.coordinator_address, stack.credentials("operator")) as operator:
        await operator.add_peer(enode)
        # Asks the broadcaster, which answers the coordinator.
        [pool] = await operator.transactions.pools()
        assert pool.problem == ""
        with pytest.raises(CoordinatorError, match="AddTrustedPeer needs the role admin"):
            await operator.add_trusted_peer(enode)
        with pytest.raises(CoordinatorError, match="the transaction is refused"):
            await operator.transactions.submit(b"\x01")
    refusal, made, not_trusted, failed, *_ = audit_lines(stack.log)
    assert (refusal["event"], refusal["change"], refusal["what"]) == ("call refused", "AddPeer", enode)
    assert (made["event"], made["change"], made["what"]) == ("change made", "AddPeer", enode)
    assert (made["who"], made["role"], made["outcome"]) == ("operator", "operator", "done")
    assert made["peer"].startswith("ipv4:127.0.0.1:")
    assert not_trusted["change"] == "AddTrustedPeer"
    assert (failed["event"], failed["change"], failed["outcome"]) == (
        "change failed",
        "SubmitTransaction",
        "invalid_argument",
    )


async def check_commands(stack: Stack, certificates: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ca, cert, key = (str(path) for path in files_of(certificates, "viewer").paths)
    flags = ["--coordinator", stack.coordinator_address, "--tls-ca", ca, "--tls-cert", cert, "--tls-key", key]
    assert await asyncio.to_thread(main, ["status", *flags]) == 0
    assert "full block head" in capsys.readouterr().out
    assert await asyncio.to_thread(main, ["sync", *flags]) == 1
    assert "StartSync needs the role operator" in capsys.readouterr().err
    own = files_of(certificates, "coordinator")
    environ = dict(zip(TLS_VARIABLES, (str(own.ca), str(own.key), str(own.cert)), strict=True))
    address = stack.coordinator_address
    assert await asyncio.to_thread(check_health, [address], environ) == HEALTHY
    assert await asyncio.to_thread(check_health, [address], {}) == UNHEALTHY
    assert "give --tls-ca, --tls-cert and --tls-key" in capsys.readouterr().err


async def attach_as(name: str, stack: Stack, certificates: Path) -> tuple[grpc.StatusCode, str]:
    """What becomes of a gateway's link that is opened with this certificate, and says nothing."""
    async with open_channel(stack.coordinator_address, TlsWatch(files_of(certificates, name))) as channel:
        call = gateway_link_pb2_grpc.GatewayLinkServiceStub(channel).Control(iter(()))
        try:
            async for _ in call:
                pass
        except grpc.aio.AioRpcError as error:
            return error.code(), str(error.details())
        return await call.code(), str(await call.details())


def audit_lines(log: CapturedLog) -> list[dict[str, Any]]:
    return [dict(line) for line in log.lines if line.get("part") == "audit"]
