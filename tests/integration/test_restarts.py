"""Services that restart while blocks and transactions are on their way, against peers that follow a script."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter

import pytest

from services.shared.ethwire.headers import decode_header
from services.shared.ethwire.messages import EthMessage, NewBlock, NewBlockHashes, Transactions
from services.shared.ethwire.types import BlockHash
from tests.support.chain_peers import dial_in, honest
from tests.support.deadlines import until
from tests.support.scripted_peer import ScriptedListener, ScriptedPeer
from tests.support.small_network import chain_blocks, next_block, peer_chain
from tests.support.stack import Stack, in_one_loop, running_stack
from tests.support.transaction_blocks import FORKS
from tests.support.transactions import Draft
from tests.support.wire import local_node

pytestmark = pytest.mark.integration

BLOCKS = chain_blocks(20)
CHAIN = peer_chain(BLOCKS)


class TransactionEar:
    """Notes which transactions a peer is sent."""

    def __init__(self, peer: ScriptedPeer) -> None:
        self.peer = peer
        self._answer = peer.answer
        self.heard: Counter[bytes] = Counter()
        peer.answer = self._hear

    def _hear(self, message: EthMessage) -> EthMessage | None:
        if isinstance(message, Transactions):
            self.heard.update(message.transactions_rlp)
        return self._answer(message) if self._answer is not None else None


async def until_pool_is_open(stack: Stack, peers: int) -> None:
    """Transactions are accepted, and nobody is owed any."""

    async def is_open() -> bool:
        [pool] = await stack.client.transactions.pools()
        waiting = await stack.broadcaster.metric("broadcaster_transaction_syncing_peers")
        return pool.accepts_transactions and pool.peers == peers and not waiting

    await until(is_open, "a pool that accepts transactions")


@in_one_loop
async def test_transactions_are_not_sent_again_because_the_broadcaster_restarted() -> None:
    own = [Draft(account=account) for account in range(60)]
    relayed = [Draft(account=account) for account in range(100, 240)]
    wires = [draft.wire() for draft in (*own, *relayed)]
    async with running_stack(genesis_config=FORKS, gateways=2) as stack:
        ears = []
        for index in range(8):
            gateway = stack.enode_of(stack.gateways[index % 2])
            ears.append(TransactionEar(await dial_in(gateway, f"peer-{index}", CHAIN)))
        await stack.until_head(CHAIN.headers[-1])
        await until_pool_is_open(stack, 8)
        for draft in own:
            await stack.client.transactions.submit(draft.raw())
        ears[0].peer.send(Transactions([draft.wire() for draft in relayed]))
        await until(lambda: all(len(ear.heard) >= len(own) for ear in ears), "the operator's at every peer")
        await until(lambda: all(set(wires) == set(ear.heard) for ear in ears[1:]), "all transactions at every peer")
        await stack.broadcaster.stop()
        await stack.broadcaster.start()
        await until_pool_is_open(stack, 8)

        async def restored() -> bool:
            return await stack.broadcaster.metric("broadcaster_pool_local_transactions") == len(own)

        await until(restored, "the journal's transactions in the pool")
        # A newcomer brings all that is pending elsewhere too: all of it is new to the broadcaster.
        newcomer = TransactionEar(await dial_in(stack.enode, "newcomer", CHAIN))
        newcomer.peer.send(Transactions([draft.wire() for draft in relayed]))

        async def pooled() -> bool:
            return await stack.broadcaster.metric("broadcaster_pool_transactions") == len(wires)

        await until(pooled, "all transactions in the pool again")
        await until(lambda: len(newcomer.heard) == len(own), "what is pending at the newcomer")
        last = Draft(account=999)
        await stack.client.transactions.submit(last.raw())
        await until(lambda: all(last.wire() in ear.heard for ear in (*ears, newcomer)), "the last one at every peer")
        pairs = sum([ear.heard.total() for ear in ears])
        wanted = (len(ears) * len(own)) + (len(ears) - 1) * len(relayed) + len(ears)
        assert pairs - wanted <= wanted // 100


class Flow:
    """A peer that has a further block and a further transaction every moment, and sends both whenever it can."""

    def __init__(self) -> None:
        self._blocks = list(BLOCKS)
        self._drafts = (Draft(account=account).wire() for account in itertools.count(1))
        self.chain = peer_chain(BLOCKS)
        self.said: list[bytes] = []

    def answer(self, message: EthMessage) -> EthMessage | None:
        return honest(self.chain)(message)

    async def run(self, listener: ScriptedListener) -> None:
        while True:
            block = next_block(self._blocks)
            self._blocks.append(block)
            self.chain.append(block)
            self.said.append(next(self._drafts))
            message = NewBlock(block.header.header_rlp, block.body_rlp, self.chain.total_difficulties[-1])
            for peer in listener.peers:
                if peer.is_connected and "Status" in peer.seen:
                    peer.send(message)
                    peer.send(Transactions(self.said[-1:]))
            await asyncio.sleep(0.05)


def heard_by(peer: ScriptedPeer) -> tuple[Counter[BlockHash], Counter[bytes]]:
    """The blocks that a peer was sent or told of, and the transactions."""
    blocks, transactions = Counter[BlockHash](), Counter[bytes]()
    for message in peer.unread:
        match message:
            case NewBlock():
                blocks[decode_header(message.header_rlp).hash] += 1
            case NewBlockHashes(announces):
                blocks.update([announce.block_hash for announce in announces])
            case Transactions(wires):
                transactions.update(wires)
    return blocks, transactions


async def until_all_is_well(stack: Stack, flow: Flow, bob: ScriptedListener) -> None:
    """What is said from now on reaches our chain and bob."""
    height, said = len(flow.chain.headers), len(flow.said)
    await stack.until_status(lambda status: status.head.number > height, f"a head above {height}")

    def arrived() -> bool:
        blocks, transactions = heard_by(bob.peers[-1])
        newest = {header.hash for header in flow.chain.headers[height:]}
        return not newest.isdisjoint(blocks) and not set(flow.said[said:]).isdisjoint(transactions)

    await until(arrived, "new blocks and transactions at bob")


@in_one_loop
async def test_blocks_and_transactions_flow_again_when_services_restart_in_any_order() -> None:
    flow = Flow()
    async with (
        ScriptedListener(local_node("alice"), flow.answer) as alice,
        ScriptedListener(local_node("bob"), honest(CHAIN)) as bob,
        running_stack(genesis_config=FORKS, static_peers=[str(alice.enode), str(bob.enode)]) as stack,
    ):
        flowing = asyncio.create_task(flow.run(alice))
        try:
            await until_all_is_well(stack, flow, bob)
            for order in itertools.permutations((stack.broadcaster, stack.coordinator, stack.gateway)):
                for service in order:
                    await service.stop()
                for service in order:
                    await service.start(wait=False)
                for service in order:
                    await service.until_ready()
                await until_all_is_well(stack, flow, bob)
            for service in (stack.broadcaster, stack.coordinator):
                connections = len(bob.peers)
                await service.stop()
                await service.start()
                await until_all_is_well(stack, flow, bob)
                assert len(bob.peers) == connections
        finally:
            flowing.cancel()
        for peer in bob.peers:
            blocks, transactions = heard_by(peer)
            assert max(blocks.values(), default=1) == 1
            assert transactions.total() - len(transactions) <= len(transactions) // 100
