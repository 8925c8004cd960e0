"""A gateway that lives for long: peers come and go by the thousand, and nothing of them is left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
from collections import Counter
from typing import Final

import pytest

from services.shared.ethwire.faults import DisconnectReason
from services.shared.ethwire.messages import BlockHeaders, GetBlockHeaders, Receipts
from tests.support.deadlines import until
from tests.support.gateway_under_test import GatewayUnderTest, gateway_under_test, in_loop
from tests.support.scripted_peer import ScriptedPeer
from tests.support.wire import local_node

pytestmark = pytest.mark.integration

CYCLES: Final = 2000
AT_ONCE: Final = 20
"""As many come together; fewer than may shake hands at once."""

SPARE_OBJECTS: Final = AT_ONCE
"""What is remembered of each node is there once for each key; what is kept of each connection would be hundreds."""

OBJECTS_S: Final = 8.0
"""How long after its end a connection's last objects may live: its last timer has a second, and the machine is busy."""

KEYS: Final = tuple(local_node(f"visitor-{number}") for number in range(AT_ONCE))


async def strangers_garbage(gateway: GatewayUnderTest, number: int) -> None:
    """Not a peer: it sends bytes and goes, or goes at once."""
    reader, writer = await asyncio.open_connection(gateway.enode.host, gateway.enode.tcp_port)
    if number % 2:
        writer.write(bytes(400))
        await reader.read()
    writer.close()


async def refused(gateway: GatewayUnderTest, number: int) -> None:
    """Hello, then a Status of another network."""
    peer = await ScriptedPeer.dial(gateway.enode, KEYS[number % AT_ONCE])
    await peer.ready()
    peer.send(gateway.status._replace(protocol_version=63, network_id=7))
    await peer.disconnected()


async def joined(gateway: GatewayUnderTest, number: int) -> None:
    """All handshakes and a question; it leaves politely, by hanging up, or for what it did wrong."""
    peer = await ScriptedPeer.dial(gateway.enode, KEYS[number % AT_ONCE])
    await peer.join(gateway.status)
    peer.send(GetBlockHeaders(0, 1, 0, False))
    await peer.receive(BlockHeaders)
    match number % 3:
        case 0:
            peer.disconnect(DisconnectReason.CLIENT_QUITTING)
        case 1:
            peer.hang_up()
        case _:
            peer.send(Receipts([]))
            peer.send_payload(0x05, b"\xc1")
    await peer.disconnected()


async def visit(gateway: GatewayUnderTest, cycles: int, rng: random.Random) -> None:
    """So many connections, mostly of peers that join, in batches of different keys."""
    before = connection_tasks()
    for start in range(0, cycles, AT_ONCE):
        kinds = rng.choices((joined, refused, strangers_garbage), (2, 1, 1), k=AT_ONCE)
        await asyncio.gather(*(kind(gateway, start + number) for number, kind in enumerate(kinds)))
        await until(lambda: connection_tasks() == before, "the end of every connection's tasks")
        # What the scripted services note of everything is theirs, and not the gateway's.
        gateway.coordinator.control.forget()
        gateway.broadcaster.arrivals.forget()


def connection_tasks() -> Counter[str]:
    """Tasks of connections, by name."""
    return Counter(task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("peer"))


def gateway_objects() -> Counter[str]:
    """Live objects of the gateway's own classes, by class."""
    gc.collect()
    kinds = (type(thing) for thing in gc.get_objects())
    return Counter(kind.__qualname__ for kind in kinds if str(kind.__module__).startswith("services.peer_gateway"))


def grown(before: Counter[str]) -> dict[str, int]:
    """Classes of which there are more objects than before."""
    more = {kind: count - before[kind] for kind, count in gateway_objects().items()}
    return {kind: count for kind, count in more.items() if count > SPARE_OBJECTS}


@in_loop
async def test_nothing_is_left_of_two_thousand_connections():
    rng = random.Random(11)
    async with gateway_under_test(nodiscover=True) as gateway:
        resident = await gateway.joined("resident")
        tasks, objects = len(asyncio.all_tasks()), gateway_objects()
        await visit(gateway, 4 * AT_ONCE, rng)
        samples = await gateway.samples()
        started = asyncio.get_running_loop().time()
        await visit(gateway, CYCLES, rng)
        assert asyncio.get_running_loop().time() - started < 60
        assert len(asyncio.all_tasks()) == tasks
        # No label is a peer's: as many samples as before.
        assert await gateway.samples() == samples
        # A closed connection has a last timer, of a second.
        with contextlib.suppress(AssertionError):
            await until(lambda: not grown(objects), "the end of every connection's objects", within_s=OBJECTS_S)
        assert grown(objects) == {}
        assert await gateway.metric("peers", direction="in", client="other", version="63") == 1
        assert await gateway.metric("connections", direction="in") == 1
        await gateway.restart_coordinator()
        hello = await gateway.coordinator.control.next("hello")
        assert [peer.node_id for peer in hello.peers] == [resident.local.node_id]
        resident.send(GetBlockHeaders(0, 1, 0, False))
        await resident.receive(BlockHeaders)
