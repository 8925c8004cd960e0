"""A stack with several gateways, as processes: one peer set, and what is lost when one process is killed."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from services.shared.chainspec.enode import Enode, parse_enode
from services.shared.ethwire.messages import BlockHeaders, GetBlockHeaders
from services.shared.ethwire.types import PeerId
from tests.support.chain_peers import BodyGate, dial_in, honest
from tests.support.deadlines import until
from tests.support.mainnet import HEAD_HASH, HEAD_NUMBER, NETWORK_ID, mainnet_chain
from tests.support.processes import has_ended, kill, mainnet_stack, outcome_of, ready_pid, trisync
from tests.support.scripted_peer import ScriptedListener, ScriptedPeer
from tests.support.stack import in_one_loop
from tests.support.wire import local_node
from trisync.cli.data_dir import DataDir
from trisync.client import AsyncCoordinator, CoordinatorError
from trisync.node_status import Peer

pytestmark = pytest.mark.integration

GATEWAYS: Final = 3
STATIC_PEERS: Final = 9
"""With fewer a gateway may by chance be nobody's."""


def gated_mainnet(limit: int | None) -> BodyGate:
    chain = mainnet_chain()
    return BodyGate(chain, limit, honest(chain, status=chain.status(NETWORK_ID)))


@contextlib.asynccontextmanager
async def listeners(limit: int | None) -> AsyncIterator[tuple[list[ScriptedListener], list[BodyGate]]]:
    """Nodes with the whole chain, which answer for bodies up to `limit`."""
    async with contextlib.AsyncExitStack() as running:
        gates = [gated_mainnet(limit) for _ in range(STATIC_PEERS)]
        nodes = [ScriptedListener(local_node(f"static-{index}"), gate.answer) for index, gate in enumerate(gates)]
        for node in nodes:
            await running.enter_async_context(node)
        yield nodes, gates


async def peers_of(client: AsyncCoordinator) -> Mapping[PeerId, Peer]:
    try:
        return {PeerId(peer.node_id): peer for peer in await client.peers()}
    except CoordinatorError:
        return {}


async def until_connected(client: AsyncCoordinator, count: int) -> Mapping[PeerId, Peer]:
    async def read() -> Mapping[PeerId, Peer] | None:
        found = await peers_of(client)
        return found if len(found) == count else None

    return await until(read, f"{count} peers")


async def is_answered(peer: ScriptedPeer) -> bool:
    peer.send(GetBlockHeaders(0, 1, 0, False))
    return len((await peer.receive(BlockHeaders)).headers_rlp) == 1


def enodes_of(nodes: list[ScriptedListener]) -> tuple[str, ...]:
    return tuple(str(node.enode) for node in nodes)


def same_connections(before: Mapping[PeerId, Peer], after: Mapping[PeerId, Peer]) -> bool:
    """Whether these are the same peers, at the same gateways, in the same roles, connected all the while."""

    def fixed(peer: Peer) -> tuple[object, ...]:
        roles = (peer.inbound, peer.static, peer.trusted, peer.eth_version)
        return (peer.gateway_id, peer.remote_address, *roles, peer.head_hash, peer.total_difficulty)

    return {node_id: fixed(peer) for node_id, peer in before.items()} == {
        node_id: fixed(peer) for node_id, peer in after.items()
    } and all(after[node_id].connected_s >= peer.connected_s for node_id, peer in before.items())


@in_one_loop
async def test_peers_are_spread_and_only_those_of_a_killed_gateway_are_lost(tmp_path: Path) -> None:
    async with listeners(2000) as (nodes, gates), contextlib.AsyncExitStack() as running:
        flags = ["--network", "mainnet", "--host", "127.0.0.1", "--port", 0, "--nodiscover", "--gateways", GATEWAYS]
        flags += ["--seal-check", "none", "--force-sync-cycle", 0.5, "--static-peer", ",".join(enodes_of(nodes))]
        up = await running.enter_async_context(
            trisync("up", "--datadir", tmp_path, *flags, "--until", "head", "--json")
        )
        assert up.stdout is not None
        enodes = [parse_enode((await up.stdout.readline()).decode()) for _ in range(GATEWAYS)]
        client = await running.enter_async_context(AsyncCoordinator(DataDir(tmp_path).coordinator_address()))
        before = await until_connected(client, STATIC_PEERS)
        assert len({peer.gateway_id for peer in before.values()}) == GATEWAYS
        visitor = await dial_in(enodes[0], "visitor", mainnet_chain(), network_id=NETWORK_ID)
        before = await until_connected(client, STATIC_PEERS + 1)
        assert before[visitor.local.node_id].gateway_id == "gateway-0"

        killed = await ready_pid(DataDir(tmp_path).run_dir / "gateway-1", "peer_gateway")
        kill(killed)
        await until(partial(has_ended, killed), "the end of the gateway")
        lost = {node_id for node_id, peer in before.items() if peer.gateway_id == "gateway-1"}
        kept = {node_id: peer for node_id, peer in before.items() if node_id not in lost}
        await until(lambda: lost == {node.local.node_id for node in nodes if len(node.peers) > 1}, "its peers again")
        after = await until_connected(client, STATIC_PEERS + 1)
        assert same_connections(kept, {node_id: after[node_id] for node_id in kept})
        assert lost == {node.local.node_id for node in nodes if len(node.peers) > 1}
        assert await is_answered(visitor)

        async def is_back() -> bool:
            return len((await client.status()).gateways) == GATEWAYS

        await until(is_back, "the gateway")

        for node, gate in zip(nodes, gates, strict=True):
            gate.limit = None
            gate.release(node.peers[-1])
        ended = await outcome_of(up)
    assert ended.exit_code == 0, ended.err
    assert (ended.last_json["head_number"], ended.last_json["head_hash"]) == (HEAD_NUMBER, HEAD_HASH)
    said = [line for line in ended.err if "gateway-1" in line]
    assert said[0] == "gateway-1 was killed by signal 9; starting it again in 0.2 s"
    # With --port 0 it has another port now, which others have to be told.
    assert [line.startswith("gateway-1 listens elsewhere now: enode://") for line in said[1:]] == [True]


@in_one_loop
async def test_no_connection_is_closed_when_coordinator_and_broadcaster_are_killed(tmp_path: Path) -> None:
    async with (
        listeners(2000) as (nodes, gates),
        mainnet_stack(tmp_path, gateways=GATEWAYS, static_peers=enodes_of(nodes), force_sync_cycle=0.5) as stack,
        AsyncCoordinator(stack.plan.coordinator_address) as client,
    ):
        await until_connected(client, STATIC_PEERS)
        third = parse_enode(str(stack.gateways[2].facts["enode"]))
        visitor = await dial_in(third, "visitor", mainnet_chain(), network_id=NETWORK_ID)
        before = await until_connected(client, STATIC_PEERS + 1)
        for killed in (stack.coordinator, stack.broadcaster, stack.coordinator):
            kill(killed.pid)
            await killed.wait_end()
            await killed.start()
            await killed.wait_ready()
            after = await until_connected(client, STATIC_PEERS + 1)
            assert same_connections(before, after), (before, after)
            before = after

        async def has_resumed() -> bool:
            return (await client.status()).progress.current_block > 0

        await until(has_resumed, "a sync that has resumed")
        for node, gate in zip(nodes, gates, strict=True):
            gate.limit = None
            gate.release(node.peers[-1])

        async def is_synced() -> bool:
            return (await client.status()).full_block_head.number == HEAD_NUMBER

        await until(is_synced, "our head")
        assert Counter(len(node.peers) for node in nodes) == {1: STATIC_PEERS}
        assert all(node.peers[0].is_connected for node in nodes)
        assert await asyncio.gather(*(is_answered(peer) for peer in [visitor, *(node.peers[0] for node in nodes)]))
        assert same_connections(before, await peers_of(client))
    logs = [log.read_text() for log in DataDir(tmp_path).logs_dir.glob("*.log")]
    assert [log for log in logs if "Traceback" in log or "connected to another gateway" in log] == []


@in_one_loop
async def test_siblings_are_never_each_others_peers(tmp_path: Path) -> None:
    mirror = local_node("mirror")
    (tmp_path / "nodekey-1").write_text(mirror.key.to_hex())
    async with (
        ScriptedListener(mirror) as elsewhere,
        listeners(None) as (nodes, _),
        mainnet_stack(tmp_path, gateways=2, static_peers=(str(elsewhere.enode), *enodes_of(nodes))) as stack,
        AsyncCoordinator(stack.plan.coordinator_address) as client,
    ):
        first, second = (parse_enode(str(gateway.facts["enode"])) for gateway in stack.gateways)
        assert second.node_id == mirror.node_id
        peers = await until_connected(client, STATIC_PEERS)
        assert not {first.node_id, second.node_id} & set(peers)
        # The static node that is a sibling is not dialled by either, wherever it may be.
        assert elsewhere.peers == []
        assert isinstance(second, Enode)
        impostor = await ScriptedPeer.dial(first, mirror)
        assert (await impostor.refusal()) is not None
