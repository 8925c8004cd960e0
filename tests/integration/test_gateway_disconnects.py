"""What a gateway tells its coordinator of connections that ended, in either direction."""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from typing import Any

import pytest
from blocksync.v1 import common_pb2, gateway_link_pb2
from coincurve import PrivateKey
from prometheus_client import CollectorRegistry

from services.peer_gateway.core.connection_config import LocalNode
from services.peer_gateway.core.devp2p import Capability
from services.peer_gateway.core.ecies import public_key_of
from services.peer_gateway.core.rlpx_handshake import AuthMessage, encode_auth, seal_eip8
from services.peer_gateway.edges.coordinator_link import DISCONNECTS_KEPT, BulkLimits, CoordinatorLink
from services.peer_gateway.edges.link import LinkKeeper
from services.peer_gateway.metrics import GatewayMetrics
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.disconnect_reason import DisconnectReason
from services.shared.ethwire.types import BlockHash, PeerId
from services.shared.rpc.channel import Backoff, open_channel
from tests.support.deadlines import until
from tests.support.gateway_under_test import CHAIN, NETWORK_ID, GatewayUnderTest, gateway_under_test, in_loop
from tests.support.scripted_peer import ScriptedListener, ScriptedPeer
from tests.support.scripted_services import ScriptedCoordinator
from tests.support.wire import MALLORY, local_node

pytestmark = pytest.mark.integration


class LightOnly(LocalNode):
    """Speaks another protocol than eth."""

    def capabilities(self) -> dict[Capability, int]:
        return {Capability("les", 2): 21}


async def next_end(gateway: GatewayUnderTest) -> common_pb2.Disconnect:
    end: common_pb2.Disconnect = (await gateway.coordinator.control.next("peer_disconnected")).disconnect
    return end


@in_loop
async def test_a_peer_refused_for_its_status_is_reported_with_all_that_is_known():
    async with gateway_under_test() as gateway:
        mallory = await gateway.dial("mallory")
        await mallory.join(gateway.status._replace(genesis_hash=BlockHash(bytes(32))))
        assert await mallory.refusal() is DisconnectReason.SUBPROTOCOL_ERROR
        end = await next_end(gateway)
        assert (end.node_id, end.client_name, end.eth_version) == (mallory.local.node_id, "mallory", 63)
        assert end.remote_address.startswith("127.0.0.1:")
        assert (end.inbound, end.static, end.trusted) == (True, False, False)
        assert (end.stage, end.by_us) == (common_pb2.CONNECTION_STAGE_STATUS, True)
        assert end.reason == common_pb2.DISCONNECT_REASON_SUBPROTOCOL_ERROR
        assert (end.offence, end.ban_seconds) == (common_pb2.OFFENCE_GENESIS_MISMATCH, 3600)
        assert end.explanation.startswith("GenesisMismatch: the peer's genesis is 0000")
        assert 0 < end.connected_seconds < 60
        assert abs(end.unix_time_ms / 1000 - time.time()) < 60
        assert await gateway.metric("offences_total", offence="genesis_mismatch") == 1


@in_loop
async def test_a_peer_without_a_common_version_is_reported_by_the_name_of_its_hello():
    async with gateway_under_test() as gateway:
        mallory = await ScriptedPeer.dial(
            gateway.enode, LightOnly(key=MALLORY.key, client_name="mallory", listen_port=1)
        )
        await mallory.disconnected()
        end = await next_end(gateway)
        assert (end.client_name, end.eth_version) == ("mallory", 0)
        assert (end.stage, end.offence) == (
            common_pb2.CONNECTION_STAGE_TRANSPORT,
            common_pb2.OFFENCE_NO_COMMON_CAPABILITY,
        )


@in_loop
async def test_a_peer_that_leaves_is_reported_with_its_reason_and_not_banned():
    async with gateway_under_test() as gateway:
        alice = await gateway.joined("alice")
        alice.disconnect(DisconnectReason.TOO_MANY_PEERS)
        end = await next_end(gateway)
        assert (end.by_us, end.reason) == (False, common_pb2.DISCONNECT_REASON_TOO_MANY_PEERS)
        assert (end.stage, end.offence) == (common_pb2.CONNECTION_STAGE_JOINED, common_pb2.OFFENCE_LEFT)
        assert end.ban_seconds == 0


@in_loop
async def test_a_peer_the_coordinator_drops_is_reported_with_the_offence_it_named():
    async with gateway_under_test() as gateway:
        mallory = await gateway.joined("mallory")
        drop = gateway_link_pb2.DropPeer(
            node_id=mallory.local.node_id, offence=common_pb2.OFFENCE_INVALID_CHAIN, explanation="block 5: seal"
        )
        gateway.coordinator.send(drop_peer=drop)
        end = await next_end(gateway)
        assert (end.offence, end.explanation) == (common_pb2.OFFENCE_INVALID_CHAIN, "block 5: seal")
        assert (end.by_us, end.ban_seconds) == (True, 3600)


@in_loop
async def test_strangers_without_a_key_are_counted_and_not_reported():
    async with gateway_under_test() as gateway:
        for _ in range(20):
            _, writer = await asyncio.open_connection("127.0.0.1", gateway.enode.tcp_port)
            writer.write(bytes(400))
            writer.close()

        async def counted() -> bool:
            broken = await gateway.metric("offences_total", offence="handshake_undecodable")
            return broken + await gateway.metric("offences_total", offence="connection_lost") == 20

        await until(counted, "twenty strangers")
        alice = await gateway.joined("alice")
        alice.hang_up()
        assert (await next_end(gateway)).node_id == alice.local.node_id
        assert gateway.coordinator.control.names.count("peer_disconnected") == 1


@in_loop
async def test_a_dialled_node_is_reported_by_its_enode_when_it_shows_no_key():
    async with gateway_under_test(starts=False) as gateway, ScriptedListener(local_node("mallory")) as listener:
        address = listener.enode
        claimed = Enode(local_node("alice").node_id, address.host, address.tcp_port, address.udp_port)
        gateway.coordinator.static_enodes = [str(claimed)]
        await gateway.start_coordinator()
        end = await next_end(gateway)
        assert (end.node_id, end.inbound, end.static) == (claimed.node_id, False, True)
        assert (end.by_us, end.client_name, end.ban_seconds) == (False, "", 0)


@in_loop
async def test_all_peers_are_reported_when_the_gateway_stops():
    async with gateway_under_test() as gateway:
        nodes = {(await gateway.joined(name)).local.node_id for name in ("alice", "bob", "carol")}
        gateway.stop.set()
        ends = [await next_end(gateway) for _ in nodes]
        assert {end.node_id for end in ends} == nodes
        assert {end.offence for end in ends} == {common_pb2.OFFENCE_SHUTDOWN}


@in_loop
async def test_what_ends_while_the_coordinator_is_away_is_told_after_the_snapshot():
    async with gateway_under_test(handshake_timeout=0.4) as gateway:
        alice, bob = await gateway.joined("alice"), await gateway.joined("bob")
        await gateway.coordinator.stop()
        alice.hang_up()
        carol = await gateway.dial("carol")
        assert await carol.refusal() is DisconnectReason.TOO_MANY_PEERS

        async def both_ended() -> bool:
            lost = await gateway.metric("offences_total", offence="connection_lost")
            return (lost, await gateway.metric("offences_total", offence="coordinator_away")) == (1, 1)

        await until(both_ended, "two ends")
        await gateway.restart_coordinator()
        ends = [await next_end(gateway) for _ in range(2)]
        assert [end.node_id for end in ends] == [alice.local.node_id, carol.local.node_id]
        assert gateway.coordinator.control.names[0] == "hello"
        bob.hang_up()
        assert (await next_end(gateway)).node_id == bob.local.node_id
        assert gateway.coordinator.control.names.count("peer_disconnected") == 3
        # Answered after what was said before on the stream: that the ends were read is known by then.
        gateway.ask(bob, 1, bodies=gateway_link_pb2.HashList(hashes=bytes(32)))
        await gateway.coordinator.control.next("request_lost")
        await gateway.restart_coordinator()
        dave = await gateway.joined("dave")
        dave.hang_up()
        assert (await next_end(gateway)).node_id == dave.local.node_id
        assert gateway.coordinator.control.names.count("peer_disconnected") == 1


@in_loop
async def test_who_was_banned_meanwhile_is_told_before_anybody_is_admitted():
    async with gateway_under_test() as gateway:
        alice = await gateway.joined("alice")
        await gateway.coordinator.stop()
        bob = await gateway.dial("bob")
        await bob.ready()
        alice.send_frame(0x7F, b"\xc0")

        async def is_gone() -> bool:
            return await gateway.metric("peers") == 0

        await until(is_gone, "the end of alice's connection")
        await gateway.restart_coordinator()
        await bob.join(gateway.status)
        await gateway.coordinator.control.next("peer_joined")
        assert gateway.coordinator.control.names == ["hello", "peer_disconnected", "admit_peer", "peer_joined"]


@in_loop
async def test_of_too_many_ends_the_oldest_are_dropped_and_counted_while_the_coordinator_is_away():
    registry = CollectorRegistry()
    metrics, rng = GatewayMetrics(registry), random.Random(1)
    with tempfile.TemporaryDirectory() as directory:
        address = f"unix:{directory}/coordinator.sock"
        async with open_channel(address) as channel:
            keeper = LinkKeeper("coordinator", Backoff(rng, most_s=0.1), metrics)
            link = CoordinatorLink(channel, keeper, metrics, BulkLimits(1 << 20, 1.0))
            for number in range(300):
                disconnect = common_pb2.Disconnect(unix_time_ms=number)
                link.tell_disconnect(gateway_link_pb2.PeerDisconnected(disconnect=disconnect))
            lost = registry.get_sample_value(
                "peer_gateway_dropped_total", {"kind": "disconnect", "cause": "coordinator-away"}
            )
            assert lost == 300 - DISCONNECTS_KEPT
            coordinator = ScriptedCoordinator(CHAIN, NETWORK_ID)
            await coordinator.start(address)
            running = asyncio.create_task(link.run(gateway_link_pb2.GatewayHello, _Deaf()))
            told = [await coordinator.control.next("peer_disconnected") for _ in range(DISCONNECTS_KEPT)]
            assert [each.disconnect.unix_time_ms for each in told] == list(range(300 - DISCONNECTS_KEPT, 300))
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await coordinator.stop()


class _Deaf:
    """Carries nothing out."""

    def on_local_status(self, status: Any) -> None: ...

    def on_peer_request(self, request: Any, session: int) -> None: ...

    def on_drop_peer(self, command: Any) -> None: ...

    def on_dial_plan(self, plan: Any) -> None: ...


@in_loop
async def test_a_second_connection_that_ends_while_it_asks_leaves_the_place_to_the_first():
    async with gateway_under_test() as gateway:
        first = await gateway.dial("mallory")
        await first.ready()
        await gateway.coordinator.control.next("admit_peer")
        # Admitted, and its Status still to come. What the coordinator says to the second, nobody waits for.
        gateway.coordinator.verdict = None
        second = await gateway.dial("mallory")
        await second.ready()
        second.hang_up()
        ended = await gateway.coordinator.control.next("peer_disconnected")
        assert ended.disconnect.node_id == second.local.node_id
        await first.join(gateway.status)
        await gateway.coordinator.control.next("peer_joined")
        assert "peer_left" not in gateway.coordinator.control.names
        first.hang_up()
        await gateway.coordinator.control.next("peer_left")


def forged_auth(name: PeerId, to: PeerId) -> bytes:
    """An auth in somebody's name from one who has not the key: whatever the signature, some key has made it."""
    signature = PrivateKey(os.urandom(32)).sign_recoverable(os.urandom(32), hasher=None)
    auth = AuthMessage(signature, name, os.urandom(32), 4)
    return seal_eip8(encode_auth(auth), public_key_of(to), os.urandom)


@pytest.mark.parametrize("what_follows", [bytes(64), b""], ids=["garbage", "silence"])
@in_loop
async def test_who_comes_in_anothers_name_gets_nobody_reported_or_banned(what_follows):
    async with gateway_under_test(handshake_timeout=0.3) as gateway:
        alice = local_node("alice").node_id
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.enode.tcp_port)
        writer.write(forged_auth(alice, gateway.enode.node_id) + what_follows)
        await reader.read()
        writer.close()

        async def counted() -> bool:
            corrupt = await gateway.metric("offences_total", offence="frame_corrupt")
            return corrupt + await gateway.metric("offences_total", offence="handshake_timeout") == 1

        await until(counted, "the end of the stranger")
        bob = await gateway.joined("bob")
        bob.hang_up()
        assert (await next_end(gateway)).node_id == bob.local.node_id
        assert gateway.coordinator.control.names.count("peer_disconnected") == 1
