"""Transactions through all three services, against peers that follow a script."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE

import pytest

from services.shared.ethwire.faults import DisconnectReason
from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.messages import NewBlock, Transactions
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import Block
from tests.support.chain_peers import dial_in
from tests.support.deadlines import until
from tests.support.scripted_peer import ScriptedPeer
from tests.support.small_network import chain_blocks, peer_chain
from tests.support.stack import Stack, in_one_loop, running_stack
from tests.support.transaction_blocks import FORKS, block_with
from tests.support.transactions import Draft
from tests.support.wire import local_node
from trisync.client import CoordinatorError
from trisync.transactions import FateKind

pytestmark = pytest.mark.integration

BLOCKS = chain_blocks(20)
CHAIN = peer_chain(BLOCKS)
DRAFT = Draft(account=1, gas_limit=30_000)


async def synced(stack: Stack, *names: str) -> list[ScriptedPeer]:
    """These peers, all of one chain, once we have it and the broadcaster knows that."""
    peers = [await dial_in(stack.enode, name, CHAIN) for name in names]
    await stack.until_head(CHAIN.headers[-1])

    async def is_open() -> bool:
        [pool] = await stack.client.transactions.pools()
        return pool.accepts_transactions and pool.peers == len(names)

    await until(is_open, "a pool that accepts transactions")
    return peers


async def until_pooled(stack: Stack, *drafts: Draft) -> None:
    wanted = {keccak256(draft.raw()) for draft in drafts}

    async def are_pooled() -> bool:
        return {one.transaction_hash async for one in stack.client.transactions.pending()} == wanted

    await until(are_pooled, f"{len(wanted)} transactions in the pool")


def total_difficulty(*blocks: Block) -> int:
    return int(CHAIN.total_difficulties[-1]) + sum(block.header.difficulty for block in blocks)


@in_one_loop
async def test_transaction_of_one_peer_reaches_the_others_and_one_of_the_operator_all() -> None:
    async with running_stack(genesis_config=FORKS, gateways=2) as stack:
        alice, bob = await synced(stack, "alice", "bob")
        carol = await dial_in(stack.enode_of(stack.gateways[1]), "carol", CHAIN)
        alice.send(Transactions([DRAFT.wire()]))
        assert (await bob.receive(Transactions)).transactions_rlp == [DRAFT.wire()]
        assert (await carol.receive(Transactions)).transactions_rlp == [DRAFT.wire()]
        own = Draft(account=2, chain_id=None)
        done = await stack.client.transactions.submit(own.raw())
        assert (done.transaction_hash, done.sent_to_peers) == (keccak256(own.raw()), 3)
        for peer in (alice, bob, carol):
            assert (await peer.receive(Transactions)).transactions_rlp == [own.wire()]
        dave = await dial_in(stack.enode, "dave", CHAIN)
        pending = (await dave.receive(Transactions)).transactions_rlp
        assert sorted(pending) == sorted([DRAFT.wire(), own.wire()])


@in_one_loop
async def test_included_transaction_leaves_the_pool_and_a_reorg_gives_it_back() -> None:
    async with running_stack(genesis_config=FORKS) as stack:
        alice, bob = await synced(stack, "alice", "bob")
        second = Draft(account=2)
        alice.send(Transactions([DRAFT.wire(), second.wire()]))
        await bob.receive(Transactions)
        await until_pooled(stack, DRAFT, second)
        head = CHAIN.headers[-1]
        first = block_with(head, [DRAFT.wire()], seconds=40)
        alice.send(NewBlock(first.header.header_rlp, first.body_rlp, total_difficulty(first)))
        await until_pooled(stack, second)
        async for fate in stack.client.transactions.watch(keccak256(DRAFT.raw())):
            assert (fate.kind, fate.block_number) == (FateKind.INCLUDED, first.header.number)
            assert fate.block_hash == first.header.hash
            break
        heavier = block_with(head, [second.wire()], seconds=5, branch=1)
        assert heavier.header.difficulty > first.header.difficulty
        bob.send(NewBlock(heavier.header.header_rlp, heavier.body_rlp, total_difficulty(heavier)))
        await until_pooled(stack, DRAFT)


@pytest.mark.parametrize(
    ("bad", "told"), [(b"\xc3\x01\x02\x03", "3 fields, 9 are needed"), (b"\x80", "nil")], ids=["short", "nil"]
)
@in_one_loop
async def test_peer_that_sends_what_is_no_transaction_is_dropped_and_one_that_sends_an_invalid_one_is_not(
    bad: bytes, told: str
) -> None:
    async with running_stack(genesis_config=FORKS) as stack:
        alice, mallory = await synced(stack, "alice", "mallory")
        alice.send(Transactions([Draft(chain_id=1).wire(), Draft(data=b"\x01" * 33_000, gas_limit=10**6).wire()]))
        mallory.send(Transactions([DRAFT.wire()]))
        assert (await alice.receive(Transactions)).transactions_rlp == [DRAFT.wire()]
        mallory.send(Transactions([bad]))
        assert await mallory.refusal() is DisconnectReason.SUBPROTOCOL_ERROR
        [ended, *_] = await stack.ends_of(local_node("mallory").node_id)
        assert ended.offence == Offence.ETH_MESSAGE_UNDECODABLE.name.lower()
        assert told in ended.explanation
        counted = 'peer_gateway_offences_total{offence="invalid_transaction"}'
        await until(lambda: is_metric(stack, counted, 2), "both invalid transactions counted")


async def is_metric(stack: Stack, sample: str, value: float) -> bool:
    return await stack.gateway.metric(sample) == value


@in_one_loop
async def test_submitted_transaction_is_refused_in_words_when_it_breaks_a_rule() -> None:
    async with running_stack(genesis_config=FORKS) as stack:
        with pytest.raises(CoordinatorError, match="not accepted before the node's first sync is done"):
            await stack.client.transactions.submit(DRAFT.raw())
        await synced(stack, "alice")
        with pytest.raises(CoordinatorError, match="signed for chain id 7, this network's is 1337"):
            await stack.client.transactions.submit(Draft(chain_id=7).raw())
        await stack.client.transactions.submit(Draft(price=1000).raw())
        with pytest.raises(CoordinatorError, match="a replacement pays a tenth more: offer 1100 or more"):
            await stack.client.transactions.submit(Draft(price=1099).raw())
        await stack.broadcaster.stop()
        with pytest.raises(CoordinatorError, match="no broadcaster answers"):
            await stack.client.transactions.submit(DRAFT.raw())
        [pool] = await stack.client.transactions.pools()
        assert pool.problem


@in_one_loop
async def test_commands_hand_in_show_and_follow_transactions() -> None:
    async with running_stack(genesis_config=FORKS) as stack:
        await synced(stack, "alice")
        where = ["--coordinator", stack.coordinator_address]

        async def run(*words: str) -> str:
            command = [sys.executable, "-m", "trisync.cli", *words, *where]
            process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
            shown, errors = await process.communicate()
            assert process.returncode == 0, errors.decode()
            return shown.decode()

        assert "pooled, sent to 1 peer" in await run("submit-tx", DRAFT.raw().hex())
        (answer,) = (await run("submit-tx", "0x" + Draft(account=5).raw().hex(), "--json")).splitlines()
        assert json.loads(answer)["sent_to_peers"] == 1
        shown = json.loads(await run("pool", "--content", "--json"))
        assert [pool["local_transactions"] for pool in shown["pools"]] == [2]
        assert f"0x{keccak256(DRAFT.raw()).hex()}" in {one["hash"] for one in shown["transactions"]}
        assert "2 of 4096 transactions, 2 of them local" in await run("pool")
        watching = asyncio.create_task(run("watch-tx", keccak256(DRAFT.raw()).hex()))
        block = block_with(CHAIN.headers[-1], [DRAFT.wire()])
        bob = await dial_in(stack.enode, "bob", CHAIN)
        bob.send(NewBlock(block.header.header_rlp, block.body_rlp, total_difficulty(block)))
        lines = (await watching).splitlines()
        assert lines[-1] == f"included in block 21 0x{block.header.hash.hex()}"
