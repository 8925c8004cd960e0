"""Bad transactions and blocks of peers, against the whole stack: what the sender gets, others see, and is counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import rlp

from services.shared.ethwire.bodies import body_roots
from services.shared.ethwire.faults import DisconnectReason
from services.shared.ethwire.headers import with_hash
from services.shared.ethwire.messages import (
    BlockBodies,
    BlockHeaders,
    EthMessage,
    GetBlockBodies,
    GetBlockHeaders,
    MessageCode,
    NewBlock,
    NewBlockHashes,
    Transactions,
)
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.rlp_slices import join_list
from services.shared.ethwire.types import Announce, Block, BlockHash
from tests.support.chain_peers import RelayEar, dial_in
from tests.support.deadlines import until
from tests.support.ruled_chain import ruled_block
from tests.support.scripted_peer import ScriptedPeer
from tests.support.small_network import chain_blocks, next_block, peer_chain
from tests.support.stack import Stack, in_one_loop, running_stack
from tests.support.transaction_blocks import FORKS
from tests.support.transactions import Draft

pytestmark = pytest.mark.integration

BLOCKS = chain_blocks(40)
CHAIN = peer_chain(BLOCKS)
HEAD = CHAIN.headers[-1]
TOTAL_DIFFICULTY = CHAIN.total_difficulties[-1]
GOOD = [Draft(account=account).wire() for account in range(20)]

COUNTED = {
    "signature": rlp.encode([0, 10**9, 21_000, b"\x22" * 20, 1, b"", 27, 0, 0]),
    "chain-id": Draft(account=30, chain_id=1).wire(),
    "oversized": Draft(account=31, data=b"\x01" * 33_000, gas_limit=10**6).wire(),
    "intrinsic-gas": Draft(account=32, gas_limit=100).wire(),
}
"""What is no peer's fault for sure: known clients may have passed it on."""


def stranger(message: bytes | Transactions) -> Callable[[ScriptedPeer], None]:
    """Sends this, whatever it is, as a Transactions message."""

    def send(peer: ScriptedPeer) -> None:
        if isinstance(message, bytes):
            peer.send_payload(MessageCode.TRANSACTIONS, message)
        else:
            peer.send(message)

    return send


DROPPED = {
    "too few fields": stranger(Transactions([b"\xc3\x01\x02\x03"])),
    "nil": stranger(Transactions([b"\x80"])),
    "nil as a list": stranger(Transactions([b"\xc0"])),
    "nil of a type": stranger(Transactions([b"\x01"])),
    "no list": stranger(b"\x83abc"),
    "cut off": stranger(b"\xf9\xff"),
    "a number that is too large": lambda peer: peer.send(NewBlock(HEAD.header_rlp, b"\xc2\xc0\xc0", 2**256)),
}


async def synced(stack: Stack, *names: str) -> list[ScriptedPeer]:
    """These peers, once their chain is ours and the broadcaster takes transactions."""
    peers = [await dial_in(stack.enode, name, CHAIN) for name in names]
    await stack.until_head(HEAD)

    async def is_open() -> bool:
        [pool] = await stack.client.transactions.pools()
        return pool.accepts_transactions and pool.peers == len(names)

    await until(is_open, "a pool that accepts transactions")
    return peers


async def until_counted(stack: Stack, service: str, sample: str, value: float) -> None:
    counting = {"gateway": stack.gateway, "coordinator": stack.coordinator, "broadcaster": stack.broadcaster}[service]

    async def is_counted() -> bool:
        return await counting.metric(sample) == value

    await until(is_counted, f"{sample} {value:g}")


@in_one_loop
async def test_bad_transaction_that_others_may_have_passed_on_is_refused_and_counted_and_its_sender_kept() -> None:
    async with running_stack(genesis_config=FORKS) as stack:
        mallory, bob = await synced(stack, "mallory", "bob")
        for index, (rule, bad) in enumerate(COUNTED.items()):
            mallory.send(Transactions([bad, GOOD[index]]))
            assert (await bob.receive(Transactions)).transactions_rlp == [GOOD[index]]
            await until_counted(stack, "broadcaster", f'broadcaster_transactions_refused_total{{rule="{rule}"}}', 1)
            offence = 'peer_gateway_offences_total{offence="invalid_transaction"}'
            await until_counted(stack, "gateway", offence, index + 1)
        assert mallory.is_connected
        [pool] = await stack.client.transactions.pools()
        assert pool.transactions == len(COUNTED)


@in_one_loop
async def test_duplicates_in_one_message_in_the_next_and_of_another_peer_are_sent_on_once_and_counted() -> None:
    async with running_stack(genesis_config=FORKS) as stack:
        mallory, bob, carol = await synced(stack, "mallory", "bob", "carol")
        mallory.send(Transactions([GOOD[0], GOOD[0]]))
        assert (await bob.receive(Transactions)).transactions_rlp == [GOOD[0]]
        assert (await carol.receive(Transactions)).transactions_rlp == [GOOD[0]]
        mallory.send(Transactions([GOOD[0]]))
        bob.send(Transactions([GOOD[0]]))
        await until_counted(stack, "broadcaster", "broadcaster_transactions_known_total", 3)
        carol.send(Transactions([GOOD[1]]))
        for peer in (mallory, bob):
            assert (await peer.receive(Transactions)).transactions_rlp == [GOOD[1]]
            assert peer.seen.count("Transactions") == (1 if peer is mallory else 2)
        assert await stack.broadcaster.metric("broadcaster_pool_transactions") == 2
        assert all(peer.is_connected for peer in (mallory, bob, carol))


@in_one_loop
async def test_message_with_more_transactions_than_may_cross_is_dropped_and_counted_and_its_sender_kept() -> None:
    large = [bytes(rlp.encode([b"\x01" * 100_000, number])) for number in range(45)]
    async with running_stack(genesis_config=FORKS) as stack:
        mallory, bob = await synced(stack, "mallory", "bob")
        mallory.send(Transactions(large))
        mallory.send(Transactions(GOOD[:1]))
        assert (await bob.receive(Transactions)).transactions_rlp == GOOD[:1]
        await until_counted(stack, "gateway", 'peer_gateway_dropped_total{cause="oversized",kind="transactions"}', 45)
        assert mallory.is_connected


@in_one_loop
async def test_sender_of_what_cannot_be_decoded_is_dropped_and_banned_and_nothing_of_it_is_taken() -> None:
    async with running_stack(genesis_config=FORKS) as stack:
        [bob] = await synced(stack, "bob")
        for count, (name, send) in enumerate(DROPPED.items(), 1):
            mallory = await dial_in(stack.enode, name, CHAIN)
            await stack.until_peers(2)
            send(mallory)
            assert await mallory.refusal() is DisconnectReason.SUBPROTOCOL_ERROR, name
            [ended] = await stack.ends_of(mallory.local.node_id)
            assert (ended.offence, ended.ban_s) == (Offence.ETH_MESSAGE_UNDECODABLE.name.lower(), 600), name
            await until_counted(
                stack, "gateway", 'peer_gateway_offences_total{offence="eth_message_undecodable"}', count
            )
        last = await dial_in(stack.enode, "carol", CHAIN)
        await stack.until_peers(2)
        last.send(Transactions([GOOD[0], b"\x80"]))
        assert await last.refusal() is DisconnectReason.SUBPROTOCOL_ERROR
        dave = await dial_in(stack.enode, "dave", CHAIN)
        await stack.until_peers(2)
        dave.send(Transactions([GOOD[1]]))
        # A message that cannot be decoded has no transactions.
        assert (await bob.receive(Transactions)).transactions_rlp == [GOOD[1]]


def whole(block: Block, total_difficulty: int = TOTAL_DIFFICULTY) -> NewBlock:
    return NewBlock(block.header.header_rlp, block.body_rlp, total_difficulty + block.header.difficulty)


def orphan(number: int) -> Block:
    """A block of a branch that we do not have, under another number."""
    block = next_block([next_block(BLOCKS, branch=3)], branch=3)
    return Block(with_hash(block.header._replace(number=number)), block.body_rlp)


def too_large() -> Block:
    transactions = [bytes(rlp.encode([b"\x01" * 1_000_000, number])) for number in range(5)]
    body = body_roots(join_list([join_list(transactions), join_list([])]))
    block = next_block(BLOCKS)
    header = block.header._replace(transactions_root=body.transactions_root)
    return Block(with_hash(header), body.body_rlp)


UNWANTED = {
    "unknown parent": (orphan(41), "coordinator", 'coordinator_fetched_blocks_total{outcome="parent_unknown"}'),
    "far future": (
        ruled_block(BLOCKS[-1].header, seconds=2**40),
        "coordinator",
        'coordinator_fetched_blocks_total{outcome="refused"}',
    ),
    "too large": (too_large(), "gateway", 'peer_gateway_dropped_total{cause="oversized",kind="block"}'),
    "far above our head": (orphan(41 + 32), "coordinator", 'coordinator_fetcher_refused{kind="blocks"}'),
}


@in_one_loop
async def test_block_that_is_nobody_s_fault_is_refused_counted_and_sent_to_nobody_and_its_sender_kept() -> None:
    async with running_stack() as stack:
        mallory, *others = [RelayEar(await dial_in(stack.enode, f"peer-{index}", CHAIN)) for index in range(4)]
        await stack.until_head(HEAD)
        await until_counted(stack, "broadcaster", "broadcaster_peers", 4)
        for block, service, sample in UNWANTED.values():
            mallory.peer.send(whole(block, 0))
            await until_counted(stack, service, sample, 1)
        # Told of by hash they are asked for, and go the same way; the last is too far away to be asked for.
        for block, _, _ in UNWANTED.values():
            mallory.peer.send(NewBlockHashes([Announce(block.header.hash, block.header.number)]))
        good = next_block(BLOCKS)
        mallory.peer.send(whole(good))
        await until(lambda: all(ear.knows(good.header.hash) for ear in others), "a good block at the others")
        assert not any(ear.knows(block.header.hash) for ear in others for block, _, _ in UNWANTED.values())
        assert mallory.peer.is_connected


@in_one_loop
async def test_unwanted_block_that_was_announced_is_asked_for_and_sent_to_nobody() -> None:
    unwanted = [block for name, (block, _, _) in UNWANTED.items() if name in ("unknown parent", "far future")]
    known = {block.header.hash: block for block in unwanted}

    def answer(message: EthMessage) -> EthMessage | None:
        match message:
            case GetBlockHeaders(bytes() as block_hash) if block_hash in known:
                return BlockHeaders([known[BlockHash(block_hash)].header.header_rlp])
            case GetBlockBodies(hashes) if hashes[0] in known:
                return BlockBodies([known[block_hash].body_rlp for block_hash in hashes])
        return CHAIN.answer(message)

    async with running_stack() as stack:
        mallory, bob = [RelayEar(await dial_in(stack.enode, f"peer-{index}", CHAIN)) for index in range(2)]
        mallory.peer.answer = answer
        await stack.until_head(HEAD)
        await until_counted(stack, "broadcaster", "broadcaster_peers", 2)
        for block in unwanted:
            mallory.peer.send(NewBlockHashes([Announce(block.header.hash, block.header.number)]))
        for outcome in ("parent_unknown", "refused"):
            await until_counted(stack, "coordinator", f'coordinator_fetched_blocks_total{{outcome="{outcome}"}}', 1)
        assert not any(bob.knows(block.header.hash) for block in unwanted)
        assert mallory.peer.is_connected


@in_one_loop
async def test_total_difficulty_that_a_block_claims_and_its_sender_cannot_show_ends_its_connection() -> None:
    block = next_block(BLOCKS)
    async with running_stack(request_timeout=2.0) as stack:
        mallory, *others = [RelayEar(await dial_in(stack.enode, f"peer-{index}", CHAIN)) for index in range(4)]
        await stack.until_head(HEAD)
        await until_counted(stack, "broadcaster", "broadcaster_peers", 4)
        mallory.peer.send(whole(block, 2**200))
        await until(lambda: all(ear.knows(block.header.hash) for ear in others), "the block at the others")
        sent = {one.total_difficulty for ear in others for one in ear.blocks}
        assert sent == {TOTAL_DIFFICULTY + block.header.difficulty}
        assert await mallory.peer.refusal() is DisconnectReason.USELESS_PEER
        [ended] = await stack.ends_of(mallory.peer.local.node_id)
        assert (ended.offence, ended.ban_s) == (Offence.STALLING.name.lower(), 60)
        assert await stack.coordinator.metric('coordinator_offences_total{offence="stalling"}') == 1
        assert all(ear.peer.is_connected for ear in others)
