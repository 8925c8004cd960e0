"""The three services together, real in everything but the processes, against peers that follow a script."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import pytest

from services.shared.ethwire.bodies import join_block
from services.shared.ethwire.faults import DisconnectReason
from services.shared.ethwire.headers import decode_header
from services.shared.ethwire.messages import (
    BlockBodies,
    BlockHeaders,
    EthMessage,
    GetBlockBodies,
    GetBlockHeaders,
    GetNodeData,
    GetReceipts,
    NewBlock,
    NewBlockHashes,
    NodeData,
    Receipts,
)
from services.shared.ethwire.types import Announce, Block, BlockHash, StateEntry
from services.sync_coordinator import opened_chain
from services.sync_coordinator.core.fork_choice import extend_blocks
from services.sync_coordinator.edges.broadcaster_client import BroadcasterClient
from services.sync_coordinator.store.lmdb_store import LmdbChainStore, store_path
from tests.support.chain_peers import BodyGate, RelayEar, dial_in, honest, until_shown
from tests.support.deadlines import until
from tests.support.ruled_chain import ListedSeals
from tests.support.scripted_peer import ScriptedListener, ScriptedPeer
from tests.support.small_network import NETWORK_ID, chain_blocks, next_block, peer_chain
from tests.support.stack import Stack, in_one_loop, running_stack
from tests.support.state_trie import seeded_state
from tests.support.wire import local_node
from trisync.node_status import SyncAnswer, SyncMode

pytestmark = pytest.mark.integration

M = TypeVar("M", bound=EthMessage)

ALICE = local_node("alice")
UNKNOWN_HASH = BlockHash(b"\x77" * 32)
CHAIN = peer_chain(chain_blocks(700))
"""Three skeleton anchors and a tail."""
HEAD = CHAIN.headers[-1]
GENESIS_ONLY = peer_chain(())


async def ask(peer: ScriptedPeer, question: EthMessage, kind: type[M]) -> M:
    peer.send(question)
    return await peer.receive(kind)


async def until_broadcaster_has(stack: Stack, peers: int) -> None:
    """Only peers it knows of are sent blocks."""

    async def has() -> bool:
        return await stack.broadcaster.metric("broadcaster_peers") == peers

    await until(has, f"{peers} peers at the broadcaster")


@pytest.mark.parametrize("version", [62, 63])
@pytest.mark.parametrize("mode", ["full", "light"])
@in_one_loop
async def test_chain_is_synced_when_a_static_peer_has_it(mode: str, version: int) -> None:
    alice_node = local_node("alice", eth_versions=(version,))
    async with (
        ScriptedListener(alice_node, honest(CHAIN, version=version)) as alice,
        running_stack(static_peers=[str(alice.enode)], syncmode=mode) as stack,
    ):
        status = await stack.until_head(HEAD)
        assert (status.mode, status.syncs_done, status.syncs_failed) == (SyncMode(mode), 1, 0)
        assert status.head.total_difficulty == CHAIN.total_difficulties[-1]
        assert (status.blocks_synced, status.at_best_peer_head) == (700, True)
        for number in (1, 192, 699):
            block = await stack.client.block(number)
            assert block is not None
            assert (block.head.block_hash, block.canonical) == (CHAIN.headers[number].hash, True)
            assert block.body_rlp == (CHAIN.bodies_rlp[number] if mode == "full" else b"")
        [peer] = await stack.client.peers()
        assert (peer.node_id, peer.eth_version, peer.is_best) == (alice_node.node_id, version, True)


@in_one_loop
async def test_every_peer_gives_a_share_when_several_have_the_chain() -> None:
    long_chain = peer_chain(chain_blocks(2500))
    nodes = [local_node(name) for name in ("alice", "bob", "carol")]
    async with running_stack(min_sync_peers=3, force_sync_cycle=60) as stack:
        for node in nodes:
            await dial_in(stack.enode, node.client_name, long_chain)
        await stack.until_head(long_chain.headers[-1])
        shares = {peer.node_id: peer.headers_delivered for peer in await stack.client.peers()}
        assert shares.keys() == {node.node_id for node in nodes}
        assert all(count >= 192 for count in shares.values()), shares


@in_one_loop
async def test_sync_waits_for_enough_peers_unless_an_operator_asks() -> None:
    async with running_stack(min_sync_peers=2, force_sync_cycle=60) as stack:
        assert (await stack.client.start_sync())[0] is SyncAnswer.NO_PEERS
        await dial_in(stack.enode, "alice", CHAIN)
        await stack.until_peers(1)
        assert (await stack.status()).head.number == 0
        assert (await stack.client.start_sync())[0] is SyncAnswer.STARTED
        await stack.until_head(HEAD)
        assert (await stack.client.start_sync())[0] is SyncAnswer.NOT_ABOVE_OURS


@in_one_loop
async def test_heavier_branch_is_taken_when_it_comes_later() -> None:
    other = peer_chain(chain_blocks(720, fork_at=650))
    async with running_stack() as stack:
        await dial_in(stack.enode, "alice", CHAIN)
        await stack.until_head(HEAD)
        await dial_in(stack.enode, "bob", other)
        await stack.until_head(other.headers[-1])
        ours, left = await stack.client.block(650), await stack.client.block(CHAIN.headers[650].hash)
        assert ours is not None
        assert left is not None
        assert (ours.head.block_hash, left.canonical) == (other.headers[650].hash, False)
        assert left.body_rlp == CHAIN.bodies_rlp[650]
        assert await stack.coordinator.metric("coordinator_reorgs_total") == 1
        assert await stack.coordinator.metric("coordinator_reorg_depth_blocks_sum") == 51


@pytest.mark.parametrize(("is_sampled", "most"), [(False, 700), (True, 7 + 9)])
@in_one_loop
async def test_light_node_checks_every_seal_unless_it_is_told_to_sample(
    is_sampled: bool, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sample is one of each hundred, and the last of each batch, of which there may be a few."""
    seals = RecordedSeals()
    monkeypatch.setattr(opened_chain, "open_seal_check", lambda *_: seals)
    async with running_stack(syncmode="light", seal_sample=is_sampled) as stack:
        await dial_in(stack.enode, "alice", CHAIN)
        await stack.until_head(HEAD)
    checked = [header.number for batch in seals.checked for header in batch]
    assert 700 in checked
    assert 4 <= len(checked) <= most
    assert is_sampled or checked == list(range(1, 701))


@in_one_loop
async def test_seals_after_the_head_are_prepared_for_when_the_node_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    seals = RecordedSeals()
    monkeypatch.setattr(opened_chain, "open_seal_check", lambda *_: seals)
    async with running_stack() as stack:
        await dial_in(stack.enode, "alice", CHAIN)
        await stack.until_head(HEAD)
        await stack.coordinator.stop()
        await stack.coordinator.start()
        assert seals.prepared == [1, 701]


class RecordedSeals(ListedSeals):
    async def close(self) -> None:
        """Nothing to do."""


@in_one_loop
async def test_light_node_shows_genesis_and_serves_headers_only_when_it_has_synced() -> None:
    async with running_stack(syncmode="light") as stack:
        await dial_in(stack.enode, "alice", CHAIN)
        await stack.until_head(HEAD)
        bob = await ScriptedPeer.dial(stack.enode, local_node("bob"))
        shown = await bob.join(GENESIS_ONLY.status(NETWORK_ID))
        assert (shown.head_hash, shown.total_difficulty) == (CHAIN.headers[0].hash, CHAIN.total_difficulties[0])
        assert await ask(bob, GetBlockHeaders(700, 1, 0, False), BlockHeaders) == BlockHeaders([HEAD.header_rlp])
        assert await ask(bob, GetBlockBodies([HEAD.hash]), BlockBodies) == BlockBodies([])
        assert not (await stack.status()).serves_bodies


@in_one_loop
async def test_propagated_block_is_imported_and_relayed_when_the_node_is_synced() -> None:
    block = next_block(chain_blocks(700))
    total_difficulty = CHAIN.total_difficulties[-1] + block.header.difficulty
    async with running_stack() as stack:
        alice = await dial_in(stack.enode, "alice", CHAIN)
        await stack.until_head(HEAD)
        ears = [RelayEar(await dial_in(stack.enode, f"peer-{index}", CHAIN)) for index in range(6)]
        alice_ear = RelayEar(alice)
        await until_broadcaster_has(stack, 7)
        alice.send(NewBlock(block.header.header_rlp, block.body_rlp, total_difficulty))
        await stack.until_head(block.header)
        await until(lambda: all(ear.knows(block.header.hash) for ear in ears), "the block at every peer")
        # What is sent of one block to one gateway's peers goes out at once, so alice's answer comes after it.
        await ask(alice, GetBlockHeaders(701, 1, 0, False), BlockHeaders)
        whole, announced = NewBlock(block.header.header_rlp, block.body_rlp, total_difficulty), [block.header.hash]
        assert [ear.blocks for ear in ears if ear.blocks] == [[whole]] * 4
        assert [ear.announced(701) for ear in ears if not ear.blocks] == [announced] * 2
        assert not alice_ear.knows(block.header.hash)


@in_one_loop
async def test_announced_block_is_fetched_and_relayed_when_the_node_is_synced() -> None:
    blocks = [*chain_blocks(700)]
    blocks += [next_block(blocks)]
    blocks += [next_block(blocks)]
    longer = peer_chain(blocks)
    async with running_stack() as stack:
        alice = await dial_in(stack.enode, "alice", CHAIN)
        await stack.until_head(HEAD)
        bob = await dial_in(stack.enode, "bob", CHAIN)
        await until_broadcaster_has(stack, 2)
        alice.answer = longer.answer
        for number in (702, 701):
            alice.send(NewBlockHashes([Announce(longer.headers[number].hash, number)]))
        await stack.until_head(longer.headers[-1])
        for number in (701, 702):
            relayed = await bob.receive(NewBlock)
            assert relayed == NewBlock(
                longer.headers[number].header_rlp, longer.bodies_rlp[number], longer.total_difficulties[number]
            )
        assert (await stack.status()).syncs_done == 1


@in_one_loop
async def test_head_is_announced_to_all_when_a_sync_is_done() -> None:
    async with running_stack() as stack:
        bob = await dial_in(stack.enode, "bob", GENESIS_ONLY)
        await until_broadcaster_has(stack, 1)
        await dial_in(stack.enode, "alice", CHAIN)
        assert await bob.receive(NewBlockHashes) == NewBlockHashes([Announce(HEAD.hash, 700)])


@in_one_loop
async def test_new_peer_is_shown_the_new_head_when_a_sync_is_done() -> None:
    async with running_stack() as stack:
        carol = await ScriptedPeer.dial(stack.enode, local_node("carol"))
        carol.answer = GENESIS_ONLY.answer
        before = await carol.join(GENESIS_ONLY.status(NETWORK_ID))
        assert (before.head_hash, before.total_difficulty) == (CHAIN.headers[0].hash, CHAIN.total_difficulties[0])
        await dial_in(stack.enode, "alice", CHAIN)
        await stack.until_head(HEAD)
        await until_shown(stack.enode, CHAIN.status(NETWORK_ID))


@in_one_loop
async def test_questions_are_answered_from_the_chain_when_it_is_synced() -> None:
    async with running_stack() as stack:
        await dial_in(stack.enode, "alice", CHAIN)
        await stack.until_head(HEAD)
        bob = await dial_in(stack.enode, "bob", GENESIS_ONLY)
        for question in (
            GetBlockHeaders(0, 1000, 0, False),
            GetBlockHeaders(10, 5, 99, False),
            GetBlockHeaders(HEAD.hash, 50, 1, True),
            GetBlockHeaders(3, 10, 0, True),
            GetBlockHeaders(701, 1, 0, False),
            GetBlockHeaders(UNKNOWN_HASH, 1, 0, False),
        ):
            assert await ask(bob, question, BlockHeaders) == CHAIN.answer(question)
        wanted = [header.hash for header in CHAIN.headers[500:600]]
        bodies = GetBlockBodies([UNKNOWN_HASH, *wanted])
        assert await ask(bob, bodies, BlockBodies) == CHAIN.answer(bodies)
        empty_list = b"\xc0"
        assert await ask(bob, GetReceipts([*wanted, UNKNOWN_HASH]), Receipts) == Receipts([empty_list] * 100)
        assert await ask(bob, GetNodeData([HEAD.state_root]), NodeData) == NodeData([])


@in_one_loop
async def test_state_and_receipts_that_the_store_holds_are_served() -> None:
    state = seeded_state(1, 300)
    receipts = {
        header.hash: bytes((0xC0 + header.number % 3,)) + b"\xc0" * (header.number % 3)
        for header in CHAIN.headers[1:40]
    }
    async with running_stack() as stack:
        await stack.coordinator.stop()
        store = LmdbChainStore.open(store_path(stack.datadir), None)
        blocks = [Block(header, body) for header, body in zip(CHAIN.headers, CHAIN.bodies_rlp, strict=True)][1:40]
        update = extend_blocks(store, blocks, receipts)
        entries = [StateEntry(value, entry_hash) for entry_hash, value in state.entries.items()]
        store.commit(dataclasses.replace(update, state_entries=entries, pivot=blocks[-1].header.hash))
        store.close()
        await stack.coordinator.start()
        bob = await dial_in(stack.enode, "bob", GENESIS_ONLY)
        wanted = [UNKNOWN_HASH, *state.entries]
        known = list(state.entries.values())
        assert await ask(bob, GetNodeData(wanted[:200]), NodeData) == NodeData(known[:199])
        assert await ask(bob, GetNodeData(wanted[:600]), NodeData) == NodeData(known[:383])
        asked = [UNKNOWN_HASH, *receipts]
        assert await ask(bob, GetReceipts(asked), Receipts) == Receipts(list(receipts.values()))
        assert bob.is_connected


@in_one_loop
async def test_sync_ends_when_the_gateway_died_in_the_middle_and_came_back() -> None:
    gate = BodyGate(CHAIN, limit=300)
    async with (
        ScriptedListener(ALICE, gate.answer) as alice,
        running_stack(static_peers=[str(alice.enode)]) as stack,
    ):
        first = await alice.next_peer()
        await stack.until_status(lambda status: status.head.number > 0, "a part of the chain")
        await stack.gateway.stop()
        assert await first.refusal() is DisconnectReason.CLIENT_QUITTING
        await stack.until_status(lambda status: not status.gateways and status.peer_count == 0, "no gateway")
        gate.limit = None
        gate.held.clear()
        half_way = (await stack.status()).head.number
        assert 0 < half_way <= 300
        await stack.gateway.start()
        await stack.until_head(HEAD)
        assert (await stack.status()).progress.starting_block <= half_way


@in_one_loop
async def test_peer_stays_connected_when_the_coordinator_restarts_in_the_middle_of_a_sync() -> None:
    gate = BodyGate(CHAIN, limit=300)
    async with (
        ScriptedListener(ALICE, gate.answer) as alice,
        running_stack(static_peers=[str(alice.enode)]) as stack,
    ):
        peer = await alice.next_peer()
        await stack.until_status(lambda status: status.head.number > 0, "a part of the chain")
        await until(lambda: gate.held, "a question that waits")
        await stack.coordinator.stop()
        peer.send(GetBlockHeaders(0, 1, 0, False))
        gate.limit = None
        gate.release(peer)
        await stack.coordinator.start()
        assert stack.coordinator.facts["head"] > 0
        assert await peer.receive(BlockHeaders) == BlockHeaders([CHAIN.headers[0].header_rlp])
        await stack.until_head(HEAD)
        assert peer.is_connected
        assert alice.peers == [peer]
        await until_broadcaster_has(stack, 1)


@in_one_loop
async def test_blocks_are_relayed_again_when_the_broadcaster_came_back() -> None:
    block = next_block(chain_blocks(700))
    async with running_stack() as stack:
        alice = await dial_in(stack.enode, "alice", CHAIN)
        bob = await dial_in(stack.enode, "bob", CHAIN)
        await stack.until_head(HEAD)
        await stack.broadcaster.stop()
        await stack.broadcaster.start()
        await until_broadcaster_has(stack, 2)
        total_difficulty = CHAIN.total_difficulties[-1] + block.header.difficulty
        alice.send(NewBlock(block.header.header_rlp, block.body_rlp, total_difficulty))
        assert (await bob.receive(NewBlock)).total_difficulty == total_difficulty
        assert (alice.is_connected, bob.is_connected) == (True, True)


@in_one_loop
async def test_no_block_is_sent_again_because_the_broadcaster_restarted() -> None:
    first = next_block(chain_blocks(700))
    second = next_block([*chain_blocks(700), first])
    hashes = [first.header.hash, second.header.hash]
    async with running_stack(gateways=2) as stack:
        ears = []
        for index in range(8):
            gateway = stack.enode_of(stack.gateways[index % 2])
            ears.append(RelayEar(await dial_in(gateway, f"peer-{index}", CHAIN)))
        await stack.until_head(HEAD)
        await until_broadcaster_has(stack, 8)
        for block in (first, second):
            await stack.client.blocks.submit(join_block(block.header.header_rlp, block.body_rlp))
        await until(lambda: all(ear.knows(block_hash) for ear in ears for block_hash in hashes), "both at every peer")
        await stack.broadcaster.stop()
        await stack.broadcaster.start()
        await until_broadcaster_has(stack, 8)
        # What the coordinator might ask of a broadcaster that has forgotten all.
        client = BroadcasterClient([stack.broadcaster_address])
        for block in (first, second):
            assert await client.propagate(block, 10**9, []) == 0
            assert await client.announce(Announce(block.header.hash, block.header.number)) == 0
        await client.close()
        for ear in ears:
            await ask(ear.peer, GetBlockHeaders(0, 1, 0, False), BlockHeaders)
            heard = [decode_header(block.header_rlp).hash for block in ear.blocks]
            heard += [*ear.announced(701), *ear.announced(702)]
            assert sorted(heard) == sorted(hashes)


@in_one_loop
async def test_two_gateways_have_one_peer_set() -> None:
    async with (
        ScriptedListener(ALICE, honest(CHAIN)) as alice,
        running_stack(static_peers=[str(alice.enode)], gateways=2) as stack,
    ):
        await stack.until_head(HEAD)
        # Whichever gateway is there first may dial before the other is known to own the node.
        await until(lambda: sum(peer.is_connected for peer in alice.peers) == 1, "one connection to alice")
        first, second = (stack.enode_of(gateway) for gateway in stack.gateways)
        bob = await dial_in(first, "bob", GENESIS_ONLY)
        await stack.until_peers(2)
        again = await ScriptedPeer.dial(second, local_node("bob"))
        assert await again.refusal() is DisconnectReason.ALREADY_CONNECTED
        sibling = await ScriptedPeer.dial(second, local_node("gateway-0"))
        assert await sibling.refusal() is DisconnectReason.CONNECTED_TO_SELF
        carol = await dial_in(second, "carol", GENESIS_ONLY)
        for peer in (bob, carol):
            assert await ask(peer, GetBlockHeaders(700, 1, 0, False), BlockHeaders) == BlockHeaders([HEAD.header_rlp])
        gateways = {gateway.gateway_id: gateway.peer_count for gateway in (await stack.status()).gateways}
        assert sum(gateways.values()) == 3
        assert min(gateways.values()) >= 1
