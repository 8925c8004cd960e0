"""Our discovery and that of the npm package find each other, and third nodes through each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from services.shared.chainspec.enode import Enode
from services.shared.ethwire.types import PeerId
from tests.interop.js_peer import Event, JsPeer
from tests.support.deadlines import until
from tests.support.discovery_nodes import HOST, Running, running_node
from tests.support.gateway_under_test import in_loop

pytestmark = pytest.mark.interop

StartDpt = Callable[..., JsPeer]


async def heard(js: JsPeer, event: str, **fields: object) -> Event:
    """The next such event; our own nodes go on meanwhile."""
    return await asyncio.to_thread(lambda: js.expect(event, **fields))


async def enode_of(js: JsPeer) -> Enode:
    listening = await heard(js, "listening")
    return Enode(PeerId(bytes.fromhex(listening["node_id"])), HOST, listening["tcp_port"], listening["port"])


def boot_at(node: Running) -> tuple[str, str]:
    return "--boot", f"{HOST}:{node.enode.udp_port}"


@in_loop
async def test_we_find_it_when_it_is_our_boot_node(js_dpt: StartDpt):
    with js_dpt() as js:
        boot_node = await enode_of(js)
        async with running_node("alice", [boot_node], wants=8) as alice:
            await until(lambda: boot_node.node_id in alice.known, "it in our table")
            await until(lambda: alice.sink.offered.get(boot_node.node_id), "it as a candidate")
            await heard(js, "found", node_id=alice.enode.node_id.hex(), udp_port=alice.enode.udp_port)


@in_loop
async def test_it_finds_us_when_we_are_its_boot_node(js_dpt: StartDpt):
    async with running_node("alice") as alice:
        with js_dpt(*boot_at(alice)) as js:
            found = await enode_of(js)
            await heard(js, "found", node_id=alice.enode.node_id.hex(), udp_port=alice.enode.udp_port)
            await until(lambda: alice.discovery.table.get(found.node_id) == found, "it in our table, at its ports")


@in_loop
async def test_we_find_each_other_through_it(js_dpt: StartDpt):
    with js_dpt() as js:
        boot_node = await enode_of(js)
        async with running_node("alice", [boot_node], wants=8) as alice, running_node("bob", [boot_node]) as bob:
            await until(lambda: alice.sink.offered.get(bob.enode.node_id) == bob.enode, "bob as a candidate of alice")


@in_loop
async def test_it_finds_others_through_us(js_dpt: StartDpt):
    async with running_node("alice") as alice, running_node("bob", [alice.enode]) as bob:
        await until(lambda: bob.enode.node_id in alice.known, "bob in alice's table")
        with js_dpt(*boot_at(alice)) as js:
            await heard(js, "found", node_id=bob.enode.node_id.hex(), udp_port=bob.enode.udp_port)
