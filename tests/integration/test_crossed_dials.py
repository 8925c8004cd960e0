"""Two nodes that dial each other at one moment: one of the two connections stays, whoever the other side is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from services.shared.ethwire.faults import DisconnectReason
from services.shared.ethwire.types import PeerId
from tests.support.deadlines import until
from tests.support.gateway_under_test import GatewayUnderTest, gateway_under_test, in_loop
from tests.support.scripted_peer import ScriptedListener, ScriptedPeer
from tests.support.stack import in_one_loop, running_stack
from tests.support.wire import local_node

pytestmark = pytest.mark.integration

LESSER, GREATER = sorted((local_node("alice"), local_node("bob")), key=lambda local: local.node_id)


@contextlib.asynccontextmanager
async def crossed(ours: PeerId, theirs: PeerId) -> AsyncIterator[tuple[GatewayUnderTest, ScriptedPeer, ScriptedPeer]]:
    """A gateway that has dialled a node and waits for its Status, and that node's own dial after that."""
    locals_of = {local.node_id: local for local in (LESSER, GREATER)}
    async with (
        ScriptedListener(locals_of[theirs]) as node,
        gateway_under_test(starts=False, nodekey=locals_of[ours].key.to_hex()) as gateway,
    ):
        gateway.coordinator.static_enodes = [str(node.enode)]
        await gateway.start_coordinator()
        dialled = await node.next_peer()
        await gateway.coordinator.control.next("admit_peer")
        await gateway.is_ready.wait()
        accepted = await ScriptedPeer.dial(gateway.enode, locals_of[theirs])
        await accepted.ready()
        yield gateway, dialled, accepted


@in_loop
async def test_second_connection_joins_when_the_other_side_ends_the_first_for_it():
    """As geth does, which never waits: of the two it keeps the one that it added first."""
    async with crossed(LESSER.node_id, GREATER.node_id) as (gateway, dialled, accepted):
        dialled.disconnect(DisconnectReason.ALREADY_CONNECTED)
        await accepted.join(gateway.status)
        assert accepted.is_connected


@in_loop
async def test_connection_of_the_greater_id_goes_on_when_both_sides_wait():
    async with crossed(LESSER.node_id, GREATER.node_id) as (gateway, dialled, accepted):
        assert await dialled.refusal() is DisconnectReason.ALREADY_CONNECTED
        await accepted.join(gateway.status)
        assert accepted.is_connected


@in_loop
async def test_connection_of_the_lesser_id_gives_way_when_both_sides_wait():
    async with crossed(GREATER.node_id, LESSER.node_id) as (gateway, dialled, accepted):
        await dialled.join(gateway.status)
        assert await accepted.refusal() is DisconnectReason.ALREADY_CONNECTED
        assert dialled.is_connected


@in_one_loop
async def test_two_nodes_that_are_each_others_static_peers_are_connected_at_once():
    async with running_stack(name="north-") as north, running_stack(name="south-") as south:
        await asyncio.gather(north.client.add_peer(str(south.enode)), south.client.add_peer(str(north.enode)))

        async def are_connected() -> bool:
            return (await north.status()).peer_count == (await south.status()).peer_count == 1

        # Much less than the wait before a second dial.
        await until(are_connected, "one connection", within_s=15.0)
