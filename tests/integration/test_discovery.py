"""Discovery over real sockets: nodes on loopback find each other, and a restarted one finds its own again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from services.peer_gateway.edges.listener import bind
from services.peer_gateway.edges.node_database import FILE_NAME
from services.shared.chainspec.enode import Enode, parse_enode
from services.shared.runtime.faults import StartRefused
from tests.support.deadlines import until
from tests.support.discovery_nodes import HOST, running_node
from tests.support.gateway_under_test import GatewayUnderTest, gateway_under_test, in_loop
from tests.support.scripted_peer import ScriptedPeer
from tests.support.stack import in_one_loop, running_stack
from tests.support.wire import local_node

pytestmark = pytest.mark.integration

CONVERGE_S: Final = 30.0


@in_loop
async def test_thirty_nodes_on_loopback_find_each_other():
    async with asyncio.timeout(CONVERGE_S), contextlib.AsyncExitStack() as stack:
        boot = await stack.enter_async_context(running_node("boot"))
        starts = (running_node(f"node-{number}", [boot.enode], wants=8) for number in range(1, 30))
        nodes = [boot, *[await stack.enter_async_context(start) for start in starts]]

        def all_know(count: int) -> bool:
            return min(len(node.known) for node in nodes) >= count

        def all_found(count: int) -> bool:
            return min(len(node.sink.offered) for node in nodes[1:]) >= count

        # Of 29 others about 15 belong into the farthest bucket, which holds 16; the rest have room.
        await until(lambda: all_know(20), "20 nodes in every table")
        await until(lambda: all_found(25), "25 candidates for every node")
        assert boot.count("discovery_table_nodes") == len(boot.known)
        assert boot.count("discovery_packets_total", direction="in", type="Ping") > 0
        assert nodes[1].count("discovery_lookups_total", outcome="found") > 0


@in_loop
async def test_restarted_node_finds_peers_from_its_database_alone(tmp_path: Path):
    async with running_node("boot") as boot, running_node("carol", [boot.enode]) as carol:
        async with running_node("alice", [boot.enode], datadir=tmp_path) as alice:
            await until(lambda: len(alice.known) == 2, "both in the table")
            # The nodes are written down when their time has come; the test does not wait for it.
            database = alice.finder._database
            assert database is not None
            for known in alice.discovery.table:
                database.store_node(known.node, last_pong_unix_s=2**40, find_failures=0)
        async with running_node("alice", datadir=tmp_path) as again:
            await until(lambda: again.known == {boot.enode.node_id, carol.enode.node_id}, "the former nodes")


@in_loop
async def test_node_of_a_damaged_database_begins_anew(tmp_path: Path):
    (tmp_path / FILE_NAME).write_bytes(os.urandom(8192))
    async with running_node("boot") as boot, running_node("alice", [boot.enode], datadir=tmp_path) as alice:
        await until(lambda: alice.known == {boot.enode.node_id}, "the boot node")
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    assert connection.execute("SELECT count(*) FROM nodes").fetchone() == (0,)
    connection.close()


@in_loop
async def test_port_where_nobody_listens_does_not_end_discovery():
    nobody = Enode(local_node("nobody").node_id, HOST, 1, 9)
    async with running_node("boot") as boot, running_node("alice", [nobody, boot.enode]) as alice:
        await until(lambda: alice.known == {boot.enode.node_id}, "the boot node")


@in_loop
async def test_boot_node_may_have_a_name_and_one_that_is_unknown_is_left_out():
    async with running_node("boot") as boot:
        named = Enode(boot.enode.node_id, "localhost", boot.enode.tcp_port, boot.enode.udp_port)
        lost = Enode(local_node("nobody").node_id, "nobody.invalid", 1, 1)
        async with running_node("alice", [lost, named]) as alice:
            await until(lambda: alice.known == {boot.enode.node_id}, "the boot node")


@in_loop
async def test_garbage_is_counted_and_does_not_end_discovery():
    async with running_node("boot") as boot:
        await until(lambda: boot.finder.discovery is not None, "the port")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mallory:
            for size in (0, 1, 97, 98, 1280, 1400, 9000):
                mallory.sendto(os.urandom(size), (HOST, boot.enode.udp_port))
        await until(lambda: boot.count("dropped_total", kind="datagram", cause="bad-hash") >= 2, "drops")
        await until(lambda: boot.count("dropped_total", kind="datagram", cause="too-long") >= 2, "drops")
        async with running_node("alice", [boot.enode]) as alice:
            await until(lambda: alice.known == {boot.enode.node_id}, "the boot node")


@in_loop
async def test_gateway_answers_at_the_udp_port_of_its_enode_url():
    async with gateway_under_test(nodiscover=False) as gateway, running_node("alice", [gateway.enode]) as alice:
        assert gateway.enode.udp_port == gateway.enode.tcp_port
        await until(lambda: alice.known == {gateway.enode.node_id}, "the gateway")
        await until_metric(gateway, "discovery_table_nodes", 1)


@in_loop
async def test_gateway_takes_no_udp_port_when_discovery_is_off():
    async with gateway_under_test(nodiscover=True) as gateway:
        assert str(gateway.facts["enode"]).endswith("?discport=0")
        assert parse_enode(str(gateway.facts["enode"])).udp_port == 0
        bind(HOST, 0, with_udp=True).close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind((HOST, gateway.enode.tcp_port))


def test_taken_udp_port_refuses_the_start_with_its_address():
    # Both were free a moment ago, so the TCP port is not what it is refused for.
    with closing(bind(HOST, 0, with_udp=True)) as taken:
        port = taken.tcp.getsockname()[1]
        taken.tcp.close()
        with pytest.raises(
            StartRefused, match=f"cannot search for peers by UDP on {HOST}:{port}: address already in use"
        ):
            bind(HOST, port, with_udp=True)
        bind(HOST, port, with_udp=False).close()


async def until_metric(gateway: GatewayUnderTest, name: str, value: float) -> None:
    async def read() -> bool:
        return await gateway.metric(name) == value

    await until(read, f"{name} = {value:g}")


@in_one_loop
async def test_stacks_become_peers_by_discovery_alone():
    async with (
        running_stack(name="first-", bootnodes=[]) as first,
        running_stack(name="second-", bootnodes=[str(first.enode)]) as second,
        running_stack(name="third-", bootnodes=[str(first.enode)]) as third,
    ):
        for stack in (first, second, third):
            await stack.until_peers(2)


@in_loop
async def test_gateway_behind_another_port_is_dialled_there_by_nodes_that_discovered_it():
    """A forwarder stands for the published port of a container."""
    async with running_node("boot") as boot, contextlib.AsyncExitStack() as stack:
        forwarder = Forwarder()
        port = await stack.enter_async_context(forwarder.listening())
        gateway = await stack.enter_async_context(
            gateway_under_test(
                nodiscover=False,
                bootnodes=(str(boot.enode),),
                advertised_address=HOST,
                advertised_port=port,
            )
        )
        node_id = gateway.enode.node_id
        assert gateway.enode == Enode(node_id, HOST, port, port)
        await until(lambda: node_id in boot.known, "the gateway in the boot node's table")
        found = boot.discovery.table.get(node_id)
        assert found is not None
        assert found.tcp_port == port
        forwarder.target = int(gateway.facts["peers"].rpartition(":")[2])
        peer = await ScriptedPeer.dial(found, local_node("alice"))
        await peer.join(gateway.status)


class Forwarder:
    """Passes TCP connections on to a port of this machine."""

    target = 0

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._forward, HOST, 0)
        async with server:
            yield int(server.sockets[0].getsockname()[1])

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(HOST, self.target)
        await asyncio.gather(_pass_on(reader, inner_writer), _pass_on(inner_reader, writer))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.closing(writer), contextlib.suppress(ConnectionError):
        while received := await reader.read(65_536):
            writer.write(received)
            await writer.drain()
