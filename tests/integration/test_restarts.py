"""Services that restart while blocks and transactions are on their way, against peers that follow a script."""

from __future__ import annotations

from collections import Counter

import pytest

from services.shared.ethwire.messages import (
    EthMessage,
    Transactions,
)
from tests.support.chain_peers import dial_in
from tests.support.deadlines import until
from tests.support.scripted_peer import ScriptedPeer
from tests.support.small_network import chain_blocks, peer_chain
from tests.support.stack import Stack, in_one_loop, running_stack
from tests.support.transaction_blocks import FORKS
from tests.support.transactions import Draft

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
