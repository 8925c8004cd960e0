"""Whom the three services stay connected to: what operators and files say, and what outlives restarts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc.aio
import pytest
from blocksync.v1 import common_pb2, gateway_link_pb2, gateway_link_pb2_grpc
from typer.testing import CliRunner

from services.shared.ethwire.faults import DisconnectReason
from services.shared.ethwire.messages import NewBlock
from services.shared.rpc.channel import open_channel
from tests.support.chain_peers import dial_in, honest
from tests.support.deadlines import until
from tests.support.scripted_peer import ScriptedListener, ScriptedPeer
from tests.support.small_network import chain_blocks, next_block, peer_chain
from tests.support.stack import Service, Stack, in_one_loop, running_stack
from tests.support.wire import local_node
from trisync.cli import app
from trisync.client import CoordinatorError
from trisync.node_status import AddedPeer, Peer, RemovedPeer

pytestmark = pytest.mark.integration

GENESIS_ONLY = peer_chain(())
SHORT = peer_chain(chain_blocks(5))
ALICE, BOB, CAROL = local_node("alice"), local_node("bob"), local_node("carol")
SOON = {"redial_after": 0.2}


def listening(name: str) -> ScriptedListener:
    return ScriptedListener(local_node(name), honest(GENESIS_ONLY))


def url(name: str) -> str:
    return f"enode://{local_node(name).node_id.hex()}@127.0.0.1:1"


async def peer_of(stack: Stack, node_id: bytes) -> Peer | None:
    return next((peer for peer in await stack.client.peers() if peer.node_id == node_id), None)


async def until_peer(stack: Stack, node_id: bytes, holds: Callable[[Peer], bool] = lambda _: True) -> Peer:
    async def found() -> Peer | None:
        peer = await peer_of(stack, node_id)
        return peer if peer is not None and holds(peer) else None

    return await until(found, "the peer")


async def until_gateways(stack: Stack, count: int) -> None:
    await stack.until_status(lambda status: len(status.gateways) == count, f"{count} gateways")


# Files


@in_one_loop
async def test_static_node_is_kept_when_the_file_names_it_and_let_go_when_it_does_not() -> None:
    async with listening("alice") as alice, running_stack(**SOON) as stack:
        file = stack.datadir / "static-nodes.json"
        file.write_text(json.dumps([str(alice.enode)]))
        first = await alice.next_peer()
        assert (await until_peer(stack, ALICE.node_id)).static
        first.hang_up()
        second = await alice.next_peer()
        await until_peer(stack, ALICE.node_id)
        file.unlink()
        await until_peer(stack, ALICE.node_id, lambda peer: not peer.static)
        assert second.is_connected
        second.hang_up()
        await stack.until_peers(0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await alice._opened.get()


@in_one_loop
async def test_half_written_file_lets_nobody_go() -> None:
    async with listening("alice") as alice, running_stack(**SOON) as stack:
        file = stack.datadir / "static-nodes.json"
        file.write_text(json.dumps([str(alice.enode)]))
        first = await alice.next_peer()
        file.write_text('["enode://')
        await until(lambda: [line for line in stack.log.lines if line["level"] == "error"], "a line about the file")
        first.hang_up()
        await alice.next_peer()
        await until_peer(stack, ALICE.node_id, lambda peer: peer.static)
        # One line, which is an error of the operator's and not of ours.
        errors = [line for line in stack.log.lines if line["level"] == "error"]
        assert len(errors) == 1
        assert errors[0]["path"] == str(file)
        stack.log.lines.remove(errors[0])


@in_one_loop
async def test_trusted_node_gets_in_above_the_limit_when_the_file_names_it() -> None:
    async with running_stack(maxpeers=1) as stack:
        await dial_in(stack.enode, "alice", GENESIS_ONLY)
        await stack.until_peers(1)
        refused = await ScriptedPeer.dial(stack.enode, BOB)
        assert await refused.refusal() is DisconnectReason.TOO_MANY_PEERS
        (stack.datadir / "trusted-nodes.json").write_text(json.dumps([url("bob")]))

        async def gets_in() -> bool:
            bob = await ScriptedPeer.dial(stack.enode, BOB)
            try:
                await bob.join(GENESIS_ONLY.status(1337))
            except AssertionError:
                return False
            return True

        await until(gets_in, "a place for bob")
        assert (await until_peer(stack, BOB.node_id)).trusted


# Operators


@in_one_loop
async def test_added_peer_is_dialled_by_the_least_loaded_gateway_and_kept_until_it_is_removed() -> None:
    async with listening("alice") as alice, running_stack(gateways=2, **SOON) as stack:
        busy = stack.gateways[0]
        await dial_in(stack.enode_of(busy), "bob", GENESIS_ONLY)
        await stack.until_peers(1)
        assert await stack.client.add_peer(str(alice.enode)) == AddedPeer("gateway-1", connected=False)
        first = await alice.next_peer()
        peer = await until_peer(stack, ALICE.node_id)
        assert (peer.gateway_id, peer.static, peer.inbound) == ("gateway-1", True, False)
        assert await stack.client.add_peer(str(alice.enode)) == AddedPeer("gateway-1", connected=True)
        first.hang_up()
        second = await alice.next_peer()
        await until_peer(stack, ALICE.node_id)
        assert await stack.client.remove_peer(str(alice.enode)) == RemovedPeer(was_static=True, was_connected=True)
        assert await second.refusal() is DisconnectReason.REQUESTED
        await stack.until_peers(1)
        assert await stack.client.remove_peer(str(alice.enode)) == RemovedPeer(was_static=False, was_connected=False)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await alice._opened.get()


@in_one_loop
async def test_added_peer_moves_to_another_gateway_when_its_own_dies() -> None:
    async with listening("alice") as alice, running_stack(gateways=2, **SOON) as stack:
        added = await stack.client.add_peer(str(alice.enode))
        await alice.next_peer()
        await until_peer(stack, ALICE.node_id)
        index = int(added.gateway_id[-1])
        await stack.gateways[index].stop()
        other = f"gateway-{1 - index}"
        await until_peer(stack, ALICE.node_id, lambda peer: peer.gateway_id == other)
        assert (await until_peer(stack, ALICE.node_id)).static


@in_one_loop
async def test_connected_peer_becomes_static_and_starts_a_sync_when_it_is_added() -> None:
    async with running_stack(min_sync_peers=5, force_sync_cycle=1000.0) as stack:
        await dial_in(stack.enode, "alice", SHORT)
        await stack.until_peers(1)
        assert (await stack.status()).syncs_done == 0
        assert await stack.client.add_peer(url("alice")) == AddedPeer("gateway-0", connected=True)
        await stack.until_head(SHORT.headers[-1])
        assert (await until_peer(stack, ALICE.node_id)).static


@in_one_loop
async def test_trust_comes_and_goes_while_peers_are_connected() -> None:
    async with running_stack(maxpeers=1) as stack:
        await dial_in(stack.enode, "alice", GENESIS_ONLY)
        await stack.until_peers(1)
        assert await stack.client.add_trusted_peer(url("alice")) is True
        assert (await until_peer(stack, ALICE.node_id)).trusted
        assert await stack.client.add_trusted_peer(url("bob")) is False
        bob = await dial_in(stack.enode, "bob", GENESIS_ONLY)
        assert (await until_peer(stack, BOB.node_id)).trusted
        assert await stack.client.remove_trusted_peer(url("bob")) is True
        assert await stack.client.remove_trusted_peer(url("bob")) is False
        assert not (await until_peer(stack, BOB.node_id)).trusted
        assert bob.is_connected
        bob.hang_up()
        await stack.until_peers(1)
        again = await ScriptedPeer.dial(stack.enode, BOB)
        assert await again.refusal() is DisconnectReason.TOO_MANY_PEERS


@pytest.mark.parametrize(
    ("enode", "told"),
    [
        ("enode://12@127.0.0.1:1", "node id is not 128 hex digits; give enode://"),
        (f"enode://{ALICE.node_id.hex()}@127.0.0.1:0", "its TCP port is 0; give the port"),
        (f"enode://{local_node('gateway-0').node_id.hex()}@127.0.0.1:1", "one of our own gateways; give"),
    ],
)
@in_one_loop
async def test_peer_that_cannot_be_added_is_refused_with_value_and_rule(enode: str, told: str) -> None:
    async with running_stack() as stack:
        with pytest.raises(CoordinatorError, match="enode") as refused:
            await stack.client.add_peer(enode)
        assert enode in str(refused.value)
        assert told in str(refused.value)
        assert not refused.value.retryable


@in_one_loop
async def test_commands_order_and_tell_what_came_of_it() -> None:
    async with running_stack() as stack:
        await dial_in(stack.enode, "alice", GENESIS_ONLY)
        await stack.until_peers(1)
        address = f"unix:{stack.datadir.parent / 'coordinator'}.sock"

        async def run(*words: str) -> str:
            arguments = [*words, "--coordinator", address]
            result = await asyncio.to_thread(CliRunner().invoke, app, arguments)
            assert result.exit_code == 0, result
            return result.output.strip()

        assert await run("add-peer", url("alice")) == "connected to gateway-0, and kept so"
        assert json.loads(await run("add-peer", url("alice"), "--json")) == {
            "gateway_id": "gateway-0",
            "connected": True,
        }
        assert await run("add-trusted-peer", url("bob")) == "trusted, not connected"
        assert json.loads(await run("remove-trusted-peer", url("bob"), "--json")) == {"was_trusted": True}
        assert await run("remove-peer", url("alice")) == "not dialled any more, being disconnected"
        await stack.until_peers(0)


# Restarts


async def _restart(service: Service) -> None:
    await service.stop()
    await service.start()


@in_one_loop
async def test_orders_and_connections_outlive_a_restart_of_the_coordinator() -> None:
    async with listening("alice") as alice, running_stack(gateways=2, **SOON) as stack:
        await stack.client.add_peer(str(alice.enode))
        await stack.client.add_trusted_peer(url("bob"))
        peer = await alice.next_peer()
        bob = await dial_in(stack.enode, "bob", GENESIS_ONLY)
        carol = await dial_in(stack.enode, "carol", GENESIS_ONLY)
        await stack.until_peers(3)
        await _restart(stack.coordinator)
        await until_gateways(stack, 2)
        await stack.until_peers(3)
        marks = {each.node_id: (each.static, each.trusted) for each in await stack.client.peers()}
        assert marks == {ALICE.node_id: (True, False), BOB.node_id: (False, True), CAROL.node_id: (False, False)}
        assert all(each.is_connected for each in (peer, bob, carol))
        assert alice.peers == [peer]
        peer.hang_up()
        await alice.next_peer()
        await until_peer(stack, ALICE.node_id, lambda again: again.static)
        # And what was taken back before another restart stays so.
        await stack.client.remove_trusted_peer(url("bob"))
        await _restart(stack.coordinator)
        await until_gateways(stack, 2)
        assert not (await until_peer(stack, BOB.node_id)).trusted
        assert bob.is_connected


class GatewayByHand:
    """A gateway's Control stream, said word by word."""

    def __init__(self, channel: grpc.aio.Channel, hello: gateway_link_pb2.GatewayHello) -> None:
        self._said: asyncio.Queue[gateway_link_pb2.ControlRequest] = asyncio.Queue()
        self.say(hello=hello)
        self._call = gateway_link_pb2_grpc.GatewayLinkServiceStub(channel).Control(self._messages())

    async def _messages(self) -> AsyncIterator[gateway_link_pb2.ControlRequest]:
        while True:
            yield await self._said.get()

    def say(self, **content: Any) -> None:
        self._said.put_nowait(gateway_link_pb2.ControlRequest(**content))

    async def next(self, kind: str) -> Any:
        async for message in self._call:
            if message.WhichOneof("content") == kind:
                return getattr(message, kind)
        raise AssertionError("the stream ended")


@in_one_loop
async def test_peer_of_a_gateway_that_is_not_back_yet_is_not_admitted_to_another() -> None:
    north, south = b"n" * 64, b"s" * 64
    async with (
        running_stack(gateways=0) as stack,
        open_channel(f"unix:{stack.datadir.parent / 'coordinator'}.sock") as to,
    ):
        hello = gateway_link_pb2.GatewayHello(gateway_id="north", node_id=north, gateway_node_ids=[north, south])
        first = GatewayByHand(to, hello)
        await first.next("local_status")
        first.say(admit_peer=gateway_link_pb2.AdmitPeer(ticket=7, node_id=ALICE.node_id, inbound=True))
        await until_gateways(stack, 1)
        alice = common_pb2.PeerDetails(node_id=ALICE.node_id, eth_version=63, inbound=True)
        GatewayByHand(to, gateway_link_pb2.GatewayHello(gateway_id="south", node_id=south, peers=[alice]))
        verdict = await first.next("admit_verdict")
        assert (verdict.ticket, verdict.admission) == (7, gateway_link_pb2.ADMISSION_ALREADY_CONNECTED)
        assert (await until_peer(stack, ALICE.node_id)).gateway_id == "south"
        # And whoever never comes back keeps nobody waiting for long.
        first.say(admit_peer=gateway_link_pb2.AdmitPeer(ticket=8, node_id=BOB.node_id, inbound=True))
        assert (await first.next("admit_verdict")).admission == gateway_link_pb2.ADMISSION_ADMITTED


@in_one_loop
async def test_node_that_the_netrestrict_of_every_gateway_forbids_is_not_added() -> None:
    async with (
        running_stack(gateways=0) as stack,
        open_channel(f"unix:{stack.datadir.parent / 'coordinator'}.sock") as to,
    ):
        url = f"enode://{ALICE.node_id.hex()}@203.0.113.7:30303"
        north = gateway_link_pb2.GatewayHello(gateway_id="north", node_id=b"n" * 64, netrestrict="10.0.0.0/8,fd00::/8")
        await GatewayByHand(to, north).next("local_status")
        with pytest.raises(CoordinatorError, match=r"--netrestrict .* allows 10\.0\.0\.0/8,fd00::/8 alone"):
            await stack.client.add_peer(url)
        south = gateway_link_pb2.GatewayHello(gateway_id="south", node_id=b"s" * 64)
        await GatewayByHand(to, south).next("local_status")
        added = await stack.client.add_peer(url)
        assert added.gateway_id == "south"


@in_one_loop
async def test_no_peer_is_lost_when_coordinator_and_broadcaster_restart_together() -> None:
    block = next_block(chain_blocks(5))
    async with running_stack(gateways=2) as stack:
        alice = await dial_in(stack.enode_of(stack.gateways[0]), "alice", SHORT)
        bob = await dial_in(stack.enode_of(stack.gateways[1]), "bob", SHORT)
        await stack.until_head(SHORT.headers[-1])
        await stack.coordinator.stop()
        await stack.broadcaster.stop()
        await stack.coordinator.start()
        await stack.broadcaster.start()
        await until_gateways(stack, 2)
        await stack.until_peers(2)

        async def broadcaster_has_both() -> bool:
            return await stack.broadcaster.metric("broadcaster_peers") == 2

        await until(broadcaster_has_both, "both peers at the broadcaster")
        alice.send(
            NewBlock(block.header.header_rlp, block.body_rlp, SHORT.total_difficulties[-1] + block.header.difficulty)
        )
        await bob.receive(NewBlock)
        assert (alice.is_connected, bob.is_connected) == (True, True)


@in_one_loop
async def test_former_peers_are_dialled_again_when_their_gateway_restarts() -> None:
    async with listening("alice") as alice, listening("bob") as bob, running_stack() as stack:
        # Neither is static: bob dialled us and told his port, alice was taken off the list again.
        file = stack.datadir / "static-nodes.json"
        file.write_text(json.dumps([str(alice.enode)]))
        await alice.next_peer()
        file.unlink()
        await until_peer(stack, ALICE.node_id, lambda peer: not peer.static)
        await dial_in(stack.enode, "bob", GENESIS_ONLY, listen_port=bob.enode.tcp_port)
        quitter = await dial_in(stack.enode, "carol", GENESIS_ONLY, listen_port=1)
        await stack.until_peers(3)
        quitter.disconnect(DisconnectReason.TOO_MANY_PEERS)
        await stack.until_peers(2)
        await _restart(stack.gateway)
        await stack.until_peers(2)
        found = {peer.node_id: (peer.inbound, peer.static) for peer in await stack.client.peers()}
        assert found == {ALICE.node_id: (False, False), BOB.node_id: (False, False)}


@pytest.mark.parametrize("reason", [DisconnectReason.USELESS_PEER, DisconnectReason.SUBPROTOCOL_ERROR])
@in_one_loop
async def test_former_peer_that_refuses_for_good_is_forgotten(reason: DisconnectReason) -> None:
    async with ScriptedListener(BOB) as bob, running_stack(**SOON) as stack:
        await dial_in(stack.enode, "bob", GENESIS_ONLY, listen_port=bob.enode.tcp_port)
        await stack.until_peers(1)
        await stack.gateway.stop()
        await stack.gateway.start()
        refusing = await bob.next_peer()
        await refusing.ready()
        refusing.disconnect(reason)
        await until(lambda: not refusing.is_connected, "the end of the refused dial")
        await _restart(stack.gateway)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await bob._opened.get()


@in_one_loop
async def test_former_peer_that_was_full_is_tried_again() -> None:
    async with ScriptedListener(BOB) as bob, running_stack(**SOON) as stack:
        await dial_in(stack.enode, "bob", GENESIS_ONLY, listen_port=bob.enode.tcp_port)
        await stack.until_peers(1)
        await _restart(stack.gateway)
        refusing = await bob.next_peer()
        await refusing.ready()
        refusing.disconnect(DisconnectReason.TOO_MANY_PEERS)
        again = await bob.next_peer()
        await again.join(GENESIS_ONLY.status(1337))
        await stack.until_peers(1)
