"""What the coordinator tells those who follow its chain, over real gRPC."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from functools import partial

import pytest
from blocksync.v1 import coordinator_pb2, coordinator_pb2_grpc

from services.shared.ethwire.messages import NewBlock
from services.shared.ethwire.types import Block
from services.shared.rpc.channel import open_channel
from tests.support.chain_peers import dial_in
from tests.support.deadlines import until
from tests.support.scripted_peer import ScriptedPeer
from tests.support.small_network import NETWORK_ID, chain_blocks, peer_chain
from tests.support.stack import Stack, in_one_loop, running_stack
from tests.support.transaction_blocks import FORKS, block_with
from tests.support.transactions import Draft

pytestmark = pytest.mark.integration

CHAIN = peer_chain(chain_blocks(20))
HEAD = CHAIN.headers[-1]


class Watch:
    """One stream."""

    def __init__(self, address: str, newest: tuple[int, bytes] | None) -> None:
        self._channel = open_channel(address)
        request = coordinator_pb2.WatchChainRequest()
        if newest is not None:
            request.newest_number, request.newest_hash = newest
        stub = coordinator_pb2_grpc.ChainWatchServiceStub(self._channel)
        self._messages = aiter(stub.WatchChain(request))

    async def snapshot(self) -> coordinator_pb2.ChainSnapshot:
        return (await anext(self._messages)).snapshot

    async def moved_to(self, number: int) -> list[coordinator_pb2.ChainMoved]:
        """All moves up to the one that ends at this number."""
        moves = [(await anext(self._messages)).moved]
        while moves[-1].head.number != number:
            moves.append((await anext(self._messages)).moved)
        return moves

    async def close(self) -> None:
        await self._channel.close()


@contextlib.asynccontextmanager
async def watch(stack: Stack, newest: tuple[int, bytes] | None = None) -> AsyncIterator[Watch]:
    stream = Watch(stack.coordinator_address, newest)
    try:
        yield stream
    finally:
        await stream.close()


def propagate(peer: ScriptedPeer, block: Block, total_difficulty: int) -> None:
    peer.send(NewBlock(block.header.header_rlp, block.body_rlp, total_difficulty))


def places(blocks) -> list[tuple[int, bytes, bytes]]:
    return [(block.number, block.block_hash, block.body_rlp) for block in blocks]


def place(block: Block) -> tuple[int, bytes, bytes]:
    return block.header.number, block.header.hash, block.body_rlp


@in_one_loop
async def test_snapshot_has_what_a_pool_needs_and_a_sync_is_told_without_its_blocks() -> None:
    chain = peer_chain(chain_blocks(300))
    async with running_stack(genesis_config={**FORKS, "istanbulBlock": 40}) as stack, watch(stack) as stream:
        snapshot = await stream.snapshot()
        forks = snapshot.forks
        assert int.from_bytes(forks.chain_id) == NETWORK_ID
        assert (forks.homestead_block, forks.eip155_block, forks.istanbul_block) == (0, 0, 40)
        assert not forks.HasField("berlin_block")
        assert (snapshot.head.number, snapshot.accepts_transactions) == (0, False)
        assert snapshot.gas_limit == CHAIN.headers[0].gas_limit
        await dial_in(stack.enode, "alice", chain)
        moves = await stream.moved_to(300)
        while not moves[-1].accepts_transactions:
            moves += await stream.moved_to(300)
        assert not any(move.applied or move.undone for move in moves)
        assert moves[-1].blocks_skipped
        assert moves[-1].gas_limit == HEAD.gas_limit


@in_one_loop
async def test_blocks_near_the_head_come_with_their_bodies_and_a_reorg_as_undone_and_applied() -> None:
    async with running_stack(genesis_config=FORKS) as stack:
        alice = await dial_in(stack.enode, "alice", CHAIN)
        await stack.until_head(HEAD)
        ours = CHAIN.total_difficulties[-1]
        first = block_with(HEAD, [Draft().wire()], seconds=40)
        second = block_with(first.header, seconds=40)
        other = block_with(HEAD, [Draft(account=1).wire()], seconds=2, branch=1)
        third = block_with(other.header, seconds=2, branch=1)
        fourth = block_with(third.header, seconds=2, branch=1)
        async with watch(stack) as stream:
            assert (await stream.snapshot()).accepts_transactions
            total = ours + first.header.difficulty
            propagate(alice, first, total)
            [move] = await stream.moved_to(21)
            assert (places(move.applied), places(move.undone)) == ([place(first)], [])
            propagate(alice, second, total + second.header.difficulty)
            [move] = await stream.moved_to(22)
            assert places(move.applied) == [place(second)]
            total = ours
            for block in (other, third, fourth):
                total += block.header.difficulty
                propagate(alice, block, total)
                await until(partial(stack.client.block, block.header.hash), "the block in the store")
            moves = await stream.moved_to(23)
            assert [one for move in moves for one in places(move.undone)] == [place(second), place(first)]
            assert [one for move in moves for one in places(move.applied)] == [
                place(one) for one in (other, third, fourth)
            ]
        # A reader that took the block of the other branch last is told the way from there.
        async with watch(stack, (22, second.header.hash)) as stream:
            assert (await stream.snapshot()).head.number == 23
            [move] = await stream.moved_to(23)
            assert places(move.undone) == [place(second), place(first)]
            assert places(move.applied) == [place(one) for one in (other, third, fourth)]
        async with watch(stack, (22, b"\x77" * 32)) as stream:
            await stream.snapshot()
            [move] = await stream.moved_to(23)
            assert (move.blocks_skipped, len(move.undone), len(move.applied)) == (True, 0, 0)


@in_one_loop
async def test_reader_that_is_far_behind_is_told_that_blocks_are_skipped() -> None:
    chain = peer_chain(chain_blocks(300))
    async with running_stack(genesis_config=FORKS) as stack:
        await dial_in(stack.enode, "alice", chain)
        await stack.until_head(chain.headers[-1])
        async with watch(stack, (10, chain.headers[10].hash)) as stream:
            await stream.snapshot()
            [move] = await stream.moved_to(300)
            assert (move.blocks_skipped, len(move.applied)) == (True, 0)
        async with watch(stack, (250, chain.headers[250].hash)) as stream:
            await stream.snapshot()
            applied: list[int] = []
            while applied[-1:] != [300]:
                applied += [block.number for move in await stream.moved_to(300) for block in move.applied]
            assert applied == list(range(251, 301))


@in_one_loop
async def test_light_node_accepts_no_transactions() -> None:
    async with running_stack(syncmode="light") as stack:
        await dial_in(stack.enode, "alice", CHAIN)
        await stack.until_status(lambda status: status.syncs_done > 0, "the end of a sync")
        async with watch(stack) as stream:
            assert not (await stream.snapshot()).accepts_transactions


@in_one_loop
async def test_transactions_are_accepted_without_a_sync_once_a_block_came_alone() -> None:
    async with running_stack(genesis_config=FORKS) as stack, watch(stack) as stream:
        assert not (await stream.snapshot()).accepts_transactions
        alice = await dial_in(stack.enode, "alice", peer_chain(()))
        first = block_with(CHAIN.headers[0])
        propagate(alice, first, CHAIN.total_difficulties[0] + first.header.difficulty)
        moves = await stream.moved_to(1)
        while not moves[-1].accepts_transactions:
            moves += await stream.moved_to(1)
        # What a restart of the coordinator would else have hidden from the pool.
        assert [one for move in moves for one in places(move.applied)] == [place(first)]
        assert (await stack.status()).syncs_done == 0
