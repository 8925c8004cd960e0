"""Fast sync by the three services as they run, from peers that have receipts and state."""

from __future__ import annotations

import contextlib

from services.shared.ethwire.messages import EthMessage, GetNodeData, GetReceipts, NodeData, Receipts
from services.sync_coordinator.store.lmdb_store import LmdbChainStore, store_path
from services.sync_coordinator.store.problems import Problem
from services.sync_coordinator.store.verify import StoreCheck
from tests.support.chain_maker import state_at
from tests.support.chain_peers import dial_in
from tests.support.ruled_chain import RULES, ListedSeals
from tests.support.scripted_chain import ScriptedChain
from tests.support.scripted_peer import ScriptedPeer
from tests.support.small_network import NETWORK_ID
from tests.support.stack import Stack, in_one_loop, running_stack
from tests.support.stateful_chain import StatefulChain, executed_blocks
from tests.support.wire import local_node
from trisync.node_status import SyncMode

BLOCKS = executed_blocks(300)
CHAIN = StatefulChain(BLOCKS)
HEAD = CHAIN.headers[-1]
PIVOT = 300 - 64


async def check_store(stack: Stack) -> None:
    """`trisync verify` finds nothing wrong in it."""
    problems: list[Problem] = []
    with (
        contextlib.closing(LmdbChainStore.open(store_path(stack.datadir), None, read_only=True)) as store,
        store.snapshot() as snapshot,
    ):
        await StoreCheck(snapshot, RULES, ListedSeals(), problems.append).run(lambda done, total, what: None)
    assert problems == []


class StatelessChain(ScriptedChain):
    """The same blocks from a peer that has forgotten all states."""

    def __init__(self) -> None:
        super().__init__(
            [(header.header_rlp, body) for header, body in zip(CHAIN.headers, CHAIN.bodies_rlp, strict=True)]
        )

    def answer(self, message: EthMessage) -> EthMessage | None:
        return NodeData([]) if isinstance(message, GetNodeData) else CHAIN.answer(message)


@in_one_loop
async def test_fast_node_has_receipts_and_state_and_serves_them_when_it_has_synced() -> None:
    async with running_stack(syncmode="fast") as stack:
        await dial_in(stack.enode, "alice", CHAIN)
        status = await stack.until_head(HEAD)
        assert status.mode is SyncMode.FULL, "a fast sync is followed by full ones"
        assert (status.blocks_synced, status.syncs_failed) == (300, 0)
        assert status.progress.receipts_fetched == 200
        assert status.progress.pulled_states == status.progress.known_states == len(state_at(PIVOT))
        bob = await ScriptedPeer.dial(stack.enode, local_node("bob"))
        await bob.join(CHAIN.status(NETWORK_ID))
        bob.send(GetReceipts([CHAIN.headers[1].hash, CHAIN.headers[3].hash, HEAD.hash]))
        expected = [each.receipts.receipts_rlp for each in (BLOCKS[0], BLOCKS[2], BLOCKS[-1])]
        assert await bob.receive(Receipts) == Receipts(expected)
        bob.send(GetNodeData([CHAIN.headers[PIVOT].state_root]))
        assert await bob.receive(NodeData) == NodeData([state_at(PIVOT).entries[CHAIN.headers[PIVOT].state_root]])


@in_one_loop
async def test_sync_goes_on_where_it_was_when_the_coordinator_restarts_before_the_pivot_is_committed() -> None:
    async with running_stack(syncmode="fast", request_timeout=2.0) as stack:
        mallory = await dial_in(stack.enode, "mallory", StatelessChain())
        await stack.until_status(lambda status: status.fast_block_head.number == PIVOT, "all fast blocks")
        status = await stack.status()
        assert (status.mode, status.full_block_head.number) == (SyncMode.FAST, 0)
        await stack.coordinator.stop()
        await check_store(stack)
        await stack.coordinator.start()
        assert (await stack.status()).fast_block_head.number == PIVOT
        mallory.hang_up()
        await dial_in(stack.enode, "alice", CHAIN)
        status = await stack.until_head(HEAD)
        assert status.progress.bodies_fetched < 100
        await stack.coordinator.stop()
        await check_store(stack)
        with contextlib.closing(LmdbChainStore.open(store_path(stack.datadir), None, read_only=True)) as store:
            assert store.pivot() == CHAIN.headers[PIVOT].hash
            assert all(store.has_state(list(state_at(PIVOT).entries)))
        await stack.coordinator.start()
        assert (await stack.status()).mode is SyncMode.FULL
        assert any("fast sync is off" in line["event"] for line in stack.log.lines)


@in_one_loop
async def test_everything_is_full_when_the_chain_is_too_short_for_a_pivot() -> None:
    short = StatefulChain(executed_blocks(300)[:40])
    async with running_stack(syncmode="fast") as stack:
        await dial_in(stack.enode, "alice", short)
        status = await stack.until_head(short.headers[-1])
        assert status.blocks_synced == 40
        assert status.progress.known_states == 0
