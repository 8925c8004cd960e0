"""Our whole stack against geth of the commit we follow: each finds the other, and syncs real mainnet blocks from it.

GETH_BIN names the binary. Both eth/63 and eth/62, the latter by offering nothing else ourselves.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from services.peer_gateway import app as gateway_app
from services.peer_gateway.core.connection_config import LocalNode
from tests.interop.geth import running_geth
from tests.interop.real_chain import CHAIN_FILE, real_chain
from tests.support.chain_peers import dial_in, until_shown
from tests.support.deadlines import until
from tests.support.discovery_nodes import running_node
from tests.support.processes import run_trisync
from tests.support.scripted_chain import ScriptedChain
from tests.support.stack import Stack, in_one_loop, running_stack
from tests.support.wire import local_node

pytestmark = pytest.mark.real_peer

NETWORK_ID: Final = 1
REAL: Final = real_chain()
CHAIN: Final = ScriptedChain(zip((header.header_rlp for header in REAL.headers), REAL.bodies_rlp, strict=True))


@pytest.fixture
def version(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The one version of eth that our gateway offers."""
    offered = int(request.param)
    monkeypatch.setattr(gateway_app, "LocalNode", partial(LocalNode, eth_versions=(offered,)))
    return offered


async def check_peer(stack: Stack, version: int) -> None:
    [geth] = [peer for peer in await stack.client.peers() if peer.client_name.startswith("Geth/")]
    assert geth.eth_version == version


@pytest.mark.parametrize("version", [62, 63], indirect=True)
@pytest.mark.parametrize("mode", ["full", "light"])
@in_one_loop
async def test_we_sync_from_geth_when_it_has_the_chain(
    geth_binary: str, geth_directory: Path, mode: str, version: int
) -> None:
    async with running_geth(geth_binary, geth_directory, CHAIN_FILE) as geth:
        enode = str(await geth.enode())
        async with running_stack(
            network="mainnet", seal_check="ethash", syncmode=mode, static_peers=[enode], force_sync_cycle=2
        ) as stack:
            status = await stack.until_head(REAL.head)
            assert status.head.total_difficulty == REAL.total_difficulty
            await check_peer(stack, version)


@pytest.mark.parametrize("version", [62, 63], indirect=True)
@in_one_loop
async def test_geth_syncs_from_us_when_we_have_the_chain(geth_binary: str, geth_directory: Path, version: int) -> None:
    async with running_stack(network="mainnet") as stack, running_geth(geth_binary, geth_directory) as geth:
        source = await dial_in(stack.enode, "alice", CHAIN, network_id=NETWORK_ID, eth_versions=(version,))
        await stack.until_head(REAL.head)
        await until_shown(stack.enode, CHAIN.status(NETWORK_ID), eth_versions=(version,))
        assert await geth.call("admin_addPeer", str(stack.enode))

        async def is_synced() -> bool:
            return await geth.head() == REAL.head.number

        await until(is_synced, "geth at our head")
        block = await geth.call("eth_getBlockByNumber", hex(REAL.head.number), False)
        assert block["hash"] == "0x" + REAL.head.hash.hex()
        assert int(block["totalDifficulty"], 16) == REAL.total_difficulty
        await check_peer(stack, version)
        assert source.is_connected


@in_one_loop
async def test_geth_finds_and_dials_us_when_we_are_its_boot_node(geth_binary: str, geth_directory: Path) -> None:
    async with running_stack(network="mainnet", bootnodes=[]) as stack:
        assert stack.enode.udp_port == stack.enode.tcp_port
        async with running_geth(geth_binary, geth_directory, bootnodes=[str(stack.enode)]) as geth:
            await stack.until_peers(1)
            await check_peer(stack, 63)
            assert [peer["network"]["inbound"] for peer in await geth.peers()] == [False]


@in_one_loop
async def test_we_find_a_second_geth_through_the_first(geth_binary: str, geth_directory: Path) -> None:
    first, second = geth_directory / "first", geth_directory / "second"
    first.mkdir()
    second.mkdir()
    async with running_geth(geth_binary, first, bootnodes=[]) as boot:
        boot_node = await boot.enode()
        async with (
            running_geth(geth_binary, second, bootnodes=[str(boot_node)]) as other,
            running_node("alice", [boot_node], wants=8) as alice,
        ):
            other_node = await other.enode()
            await until(lambda: alice.known >= {boot_node.node_id, other_node.node_id}, "both in our table")
            await until(lambda: alice.sink.offered.get(other_node.node_id) == other_node, "the other as a candidate")


@in_one_loop
async def test_geth_finds_and_dials_us_through_another_geth(geth_binary: str, geth_directory: Path) -> None:
    first, second = geth_directory / "first", geth_directory / "second"
    first.mkdir()
    second.mkdir()
    async with running_geth(geth_binary, first, bootnodes=[]) as boot:
        boot_url = str(await boot.enode())
        async with (
            running_stack(network="mainnet", bootnodes=[boot_url]) as stack,
            running_geth(geth_binary, second, bootnodes=[boot_url]) as other,
        ):
            other_id = (await other.enode()).node_id

            async def is_peer() -> bool:
                return other_id in {peer.node_id for peer in await stack.client.peers()}

            await until(is_peer, "the other as our peer")


@in_one_loop
async def test_doctor_tells_what_geth_is_and_that_it_works(geth_binary: str, geth_directory: Path) -> None:
    async with running_geth(geth_binary, geth_directory, CHAIN_FILE) as geth:
        enode = await geth.enode()
        told = await run_trisync("doctor", enode, "--json")
        assert told.exit_code == 0, told
        facts = told.last_json["facts"]
        assert facts["client_name"].startswith("Geth/v1.")
        assert (facts["eth_version"], facts["head_number"]) == (63, REAL.head.number)
        assert facts["total_difficulty"] == REAL.total_difficulty
        other = await run_trisync("doctor", enode, "--network", "goerli", "--json")
        assert (other.exit_code, other.last_json["verdict"]) == (1, "other-genesis")
        stranger = replace(enode, node_id=local_node("mallory").node_id)
        hung_up = await run_trisync("doctor", stranger, "--json")
        assert (hung_up.exit_code, hung_up.last_json["verdict"]) == (1, "rlpx-hangup")
        # It was left politely: geth holds nothing against the next one.
        assert (await run_trisync("doctor", enode, "--network", "mainnet")).exit_code == 0
        assert await geth.peers() == []
