"""Bans, over the whole stack: who is turned away, where, for how long, and who never is."""

from __future__ import annotations

import pytest

from services.shared.chainspec.enode import Enode
from services.shared.ethwire.disconnect_reason import DisconnectReason
from services.shared.ethwire.types import BlockHash
from tests.support.attacks import CHAIN
from tests.support.chain_peers import dial_in
from tests.support.deadlines import until
from tests.support.processes import run_trisync
from tests.support.scripted_peer import ScriptedPeer
from tests.support.small_network import NETWORK_ID
from tests.support.stack import Stack, in_one_loop, running_stack
from tests.support.wire import local_node
from trisync.disconnects import Side

pytestmark = pytest.mark.integration

MALLORY = local_node("mallory")
OTHER_GENESIS = CHAIN.status(NETWORK_ID)._replace(genesis_hash=BlockHash(bytes(32)))


async def comes_from_another_chain(node: Enode) -> DisconnectReason | None:
    mallory = await ScriptedPeer.dial(node, MALLORY)
    await mallory.ready()
    if mallory.is_connected:
        mallory.send(OTHER_GENESIS._replace(protocol_version=mallory.eth_version))
    return await mallory.refusal()


async def offences_of_mallory(stack: Stack, count: int) -> list[str]:
    """The newest first, once there are so many."""

    async def read() -> list[str] | None:
        found = (await stack.client.disconnects(node_id=MALLORY.node_id)).disconnects
        return [one.offence for one in found] if len(found) == count else None

    return await until(read, f"{count} ends of mallory's connections")


@in_one_loop
async def test_a_banned_node_is_refused_by_every_gateway_also_after_a_restart_of_one() -> None:
    async with running_stack(gateways=2) as stack:
        first, second = stack.gateways
        assert await comes_from_another_chain(stack.enode_of(first)) is DisconnectReason.SUBPROTOCOL_ERROR
        assert await offences_of_mallory(stack, 1) == ["genesis_mismatch"]
        assert await stack.coordinator.metric("coordinator_bans") == 1
        for gateway in (first, second):
            assert await comes_from_another_chain(stack.enode_of(gateway)) is DisconnectReason.USELESS_PEER
        await first.stop()
        await first.start()
        assert await comes_from_another_chain(stack.enode_of(first)) is DisconnectReason.USELESS_PEER
        assert await offences_of_mallory(stack, 4) == ["banned", "banned", "banned", "genesis_mismatch"]
        assert await stack.coordinator.metric('coordinator_admissions_total{answer="banned"}') == 3
        alice = await dial_in(stack.enode_of(first), "alice", CHAIN)
        await stack.until_peers(1)
        assert alice.is_connected


@in_one_loop
async def test_a_restart_of_the_coordinator_forgets_bans() -> None:
    async with running_stack() as stack:
        await comes_from_another_chain(stack.enode)
        await offences_of_mallory(stack, 1)
        await stack.coordinator.stop()
        await stack.coordinator.start()
        await stack.until_status(lambda status: len(status.gateways) == 1, "the gateway's return")
        assert await comes_from_another_chain(stack.enode) is DisconnectReason.SUBPROTOCOL_ERROR


@in_one_loop
async def test_a_static_node_is_not_banned_whoever_dials() -> None:
    nowhere = Enode(MALLORY.node_id, "127.0.0.1", 1, 1)
    async with running_stack(static_peers=[str(nowhere)], gateways=2) as stack:
        for count, gateway in enumerate((*stack.gateways, *stack.gateways), start=1):
            reason = await comes_from_another_chain(stack.enode_of(gateway))
            assert reason is DisconnectReason.SUBPROTOCOL_ERROR
            assert await offences_of_mallory(stack, count) == ["genesis_mismatch"] * count
        found = await stack.client.disconnects(node_id=MALLORY.node_id)
        assert {(one.static, one.inbound, one.ban_s) for one in found.disconnects} == {(True, True, 0)}
        assert found.banned == 0


@in_one_loop
async def test_the_list_is_filtered_limited_and_counted() -> None:
    async with running_stack() as stack:
        await comes_from_another_chain(stack.enode)
        await offences_of_mallory(stack, 1)
        await comes_from_another_chain(stack.enode)
        await offences_of_mallory(stack, 2)
        alice = await dial_in(stack.enode, "alice", CHAIN)
        await stack.until_peers(1)
        alice.disconnect(DisconnectReason.CLIENT_QUITTING)
        await stack.ends_of(alice.local.node_id)
        whole = await stack.client.disconnects()
        assert [one.offence for one in whole.disconnects] == ["left", "banned", "genesis_mismatch"]
        assert set(whole.counts) == {
            (Side.US, "genesis_mismatch", 1),
            (Side.US, "banned", 1),
            (Side.THEM, "left", 1),
        }
        assert whole.banned == 1
        newest = whole.disconnects[0]
        assert (newest.side, newest.reason, newest.stage) == (Side.THEM, "client_quitting", "joined")
        by_us = await stack.client.disconnects(side=Side.US)
        assert [one.offence for one in by_us.disconnects] == ["banned", "genesis_mismatch"]
        by_them = await stack.client.disconnects(side=Side.THEM, limit=5)
        assert by_them.disconnects == (newest,)
        named = await stack.client.disconnects(offence="genesis_mismatch", limit=1)
        assert [one.ban_s for one in named.disconnects] == [3600]
        assert len((await stack.client.disconnects(limit=2)).disconnects) == 2


@in_one_loop
async def test_the_command_shows_the_list() -> None:
    async with running_stack() as stack:
        await comes_from_another_chain(stack.enode)
        await offences_of_mallory(stack, 1)
        node = MALLORY.node_id.hex()
        where = ("disconnects", "--coordinator", stack.coordinator.facts["grpc"][0])
        shown = await run_trisync(*where)
        assert shown.exit_code == 0
        for part in (node[:16], "mallory", "status", "subprotocol error", "genesis mismatch", "1 h 00 min"):
            assert part in "\n".join(shown.out)
        asked = await run_trisync(*where, "--json", "--node", node, "--offence", "genesis_mismatch", "--side", "us")
        found = asked.last_json
        assert [(one["node_id"], one["ban_seconds"]) for one in found["disconnects"]] == [(node, 3600)]
        assert found["banned"] == 1
        nobody = await run_trisync(*where, "--side", "them")
        assert nobody.out[0] == "no connection ended"


@in_one_loop
async def test_an_operator_who_wants_a_node_lifts_its_ban() -> None:
    async with running_stack() as stack:
        await comes_from_another_chain(stack.enode)
        await offences_of_mallory(stack, 1)
        url = str(Enode(MALLORY.node_id, "127.0.0.1", 1, 1))
        assert (await stack.client.disconnects()).banned == 1
        await stack.client.add_trusted_peer(url)
        assert (await stack.client.disconnects()).banned == 0
        await stack.client.remove_trusted_peer(url)
        assert await comes_from_another_chain(stack.enode) is DisconnectReason.SUBPROTOCOL_ERROR
