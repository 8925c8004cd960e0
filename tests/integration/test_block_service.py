"""Blocks that operators hand in, and how blocks spread, over the whole stack."""

from __future__ import annotations

import asyncio
import functools

import grpc
import pytest
from blocksync.v1 import blocks_pb2, blocks_pb2_grpc

from services.shared.ethwire.bodies import join_block
from services.shared.ethwire.headers import with_hash
from services.shared.ethwire.messages import GetBlockHeaders, NewBlock, NewBlockHashes
from services.shared.ethwire.types import Announce, Block
from services.shared.rpc.channel import open_channel
from tests.support.chain_peers import BodyGate, RelayEar, dial_in
from tests.support.deadlines import until
from tests.support.processes import run_trisync
from tests.support.ruled_chain import GENESIS, ruled_block
from tests.support.small_network import chain_blocks, next_block, peer_chain
from tests.support.stack import Stack, in_one_loop, running_stack
from trisync.blocks import BlockSource, Propagation
from trisync.client import CoordinatorError

pytestmark = pytest.mark.integration

BLOCKS = chain_blocks(40)
CHAIN = peer_chain(BLOCKS)
NEXT = next_block(BLOCKS)
TOTAL_DIFFICULTY = CHAIN.total_difficulties[-1] + NEXT.header.difficulty


def rlp_of(block: Block) -> bytes:
    return join_block(block.header.header_rlp, block.body_rlp)


async def until_broadcaster_has(stack: Stack, peers: int) -> None:
    async def has() -> bool:
        return await stack.broadcaster.metric("broadcaster_peers") == peers

    await until(has, f"{peers} peers at the broadcaster")


async def with_ears(stack: Stack, count: int) -> list[RelayEar]:
    ears = [RelayEar(await dial_in(stack.enode, f"peer-{index}", CHAIN)) for index in range(count)]
    await stack.until_head(BLOCKS[-1].header)
    await until_broadcaster_has(stack, count)
    return ears


async def refused(stack: Stack, block_rlp: bytes) -> tuple[grpc.StatusCode, str]:
    async with open_channel(stack.coordinator_address) as channel:
        stub = blocks_pb2_grpc.BlockServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stub.SubmitBlock(blocks_pb2.SubmitBlockRequest(block_rlp=block_rlp))
        return failed.value.code(), str(failed.value.details())


@in_one_loop
async def test_submitted_block_reaches_every_peer_once_and_becomes_the_head() -> None:
    async with running_stack() as stack:
        ears = await with_ears(stack, 7)
        submitted = await stack.client.blocks.submit(rlp_of(NEXT))
        assert (submitted.is_new, submitted.canonical) == (True, True)
        assert (submitted.block.block_hash, submitted.block.total_difficulty) == (NEXT.header.hash, TOTAL_DIFFICULTY)
        assert (submitted.propagated, submitted.announced) == (4, 3)
        await until(lambda: all(ear.knows(NEXT.header.hash) for ear in ears), "the block at every peer")
        again = await stack.client.blocks.submit(rlp_of(NEXT))
        assert (again.is_new, again.propagated, again.announced) == (False, 0, 0)
        whole = NewBlock(NEXT.header.header_rlp, NEXT.body_rlp, TOTAL_DIFFICULTY)
        assert [ear.blocks for ear in ears if ear.blocks] == [[whole]] * 4
        assert [ear.announced(41) for ear in ears if not ear.blocks] == [[NEXT.header.hash]] * 3
        assert (await stack.status()).head.number == 41
        for outcome in ("imported", "known"):
            assert await stack.coordinator.metric(f'coordinator_submitted_blocks_total{{outcome="{outcome}"}}') == 1


@in_one_loop
async def test_a_block_is_imported_and_sent_once_when_it_is_submitted_by_many_at_once() -> None:
    async with running_stack() as stack:
        ears = await with_ears(stack, 7)
        answers = await asyncio.gather(*(stack.client.blocks.submit(rlp_of(NEXT)) for _ in range(5)))
        assert [answer.block.number for answer in answers] == [41] * 5
        await until(lambda: all(ear.knows(NEXT.header.hash) for ear in ears), "the block at every peer")
        assert sum(len(ear.blocks) for ear in ears) == 4
        assert sum(len(ear.announced(41)) for ear in ears) == 3


@in_one_loop
async def test_submitted_block_is_refused_with_value_and_rule_and_sent_to_nobody() -> None:
    header = NEXT.header
    invalid, denied = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION
    heavier = Block(with_hash(header._replace(difficulty=header.difficulty + 1)), NEXT.body_rlp)
    with_uncle = ruled_block(BLOCKS[-1].header, uncles=[GENESIS])
    orphan = next_block([*BLOCKS, next_block(BLOCKS, branch=3)])
    old = ruled_block(BLOCKS[30].header, branch=5)
    early = ruled_block(BLOCKS[-1].header, seconds=2**40)
    cases = [
        (b"not a block", invalid, "these 11 bytes are no block"),
        (rlp_of(NEXT)[:-1], invalid, "no block"),
        (rlp_of(Block(header, BLOCKS[0].body_rlp)), invalid, "transactions root: its header says 0x"),
        (rlp_of(heavier), invalid, f"difficulty: is {header.difficulty + 1}, must be {header.difficulty}"),
        (rlp_of(orphan), denied, f"its parent 0x{orphan.header.parent_hash.hex()} is not stored"),
        (rlp_of(old), denied, "block 32 0x"),
        (rlp_of(early), denied, "ahead of our clock"),
        (rlp_of(with_uncle), invalid, "uncles: "),
    ]
    async with running_stack() as stack:
        [ear] = await with_ears(stack, 1)
        for block_rlp, code, text in cases:
            found, details = await refused(stack, block_rlp)
            assert (found, text in details) == (code, True), details
        assert (await stack.status()).head.number == 40
        # Only the last one's header was valid: a block is sent on once its header is.
        assert [block.header_rlp for block in ear.blocks] == [with_uncle.header.header_rlp]
        for outcome, count in {"undecodable": 2, "other_body": 1, "rule_broken": 2, "too_old": 1}.items():
            sample = f'coordinator_submitted_blocks_total{{outcome="{outcome}"}}'
            assert await stack.coordinator.metric(sample) == count
        with pytest.raises(CoordinatorError, match="its parent"):
            await stack.client.blocks.submit(rlp_of(orphan))


@in_one_loop
async def test_submitted_block_is_refused_by_a_light_node_and_during_the_first_sync() -> None:
    async with running_stack(syncmode="light") as stack:
        code, details = await refused(stack, rlp_of(NEXT))
        assert (code, "light mode" in details) == (grpc.StatusCode.FAILED_PRECONDITION, True)
    gate = BodyGate(CHAIN, limit=10)
    async with running_stack() as stack:
        alice = await dial_in(stack.enode, "alice", CHAIN)
        alice.answer = gate.answer
        await until(lambda: gate.held, "bodies that are held back")
        code, details = await refused(stack, rlp_of(ruled_block(GENESIS, branch=9)))
        assert (code, "first sync is not done" in details) == (grpc.StatusCode.FAILED_PRECONDITION, True)
        gate.limit = None
        gate.release(alice)
        await stack.until_head(BLOCKS[-1].header)
        assert (await stack.client.blocks.submit(rlp_of(NEXT))).is_new


@in_one_loop
async def test_submitted_block_is_imported_when_there_is_no_broadcaster() -> None:
    async with running_stack() as stack:
        await with_ears(stack, 1)
        await stack.broadcaster.stop()
        submitted = await stack.client.blocks.submit(rlp_of(NEXT))
        assert (submitted.is_new, submitted.propagated, submitted.announced) == (True, 0, 0)
        with pytest.raises(CoordinatorError, match="no broadcaster answers"):
            await stack.client.blocks.rank_peers()


@in_one_loop
async def test_the_way_of_blocks_is_told_by_hash_as_a_stream_and_by_peer() -> None:
    after = next_block([*BLOCKS, NEXT])
    seen: list[Propagation] = []
    async with running_stack() as stack:
        ears = await with_ears(stack, 6)

        async def watch() -> None:
            async for one in stack.client.blocks.watch_propagations(10, follow=True):
                seen.append(one)  # noqa: PERF401 - read while it grows

        watching = asyncio.create_task(watch())
        first, second = ears[0].peer, ears[1].peer
        first.send(NewBlock(NEXT.header.header_rlp, NEXT.body_rlp, TOTAL_DIFFICULTY))
        await until(lambda: seen[1:], "the block on the stream, so all peers were told of it")
        second.send(NewBlockHashes([Announce(NEXT.header.hash, 41)]))
        await stack.client.blocks.submit(rlp_of(after))
        await until(lambda: seen[2:], "the other block on the stream")
        watching.cancel()
        assert [(one.number, one.source) for one in seen] == [
            (40, BlockSource.SYNCED),
            (41, BlockSource.PEER),
            (42, BlockSource.SUBMITTED),
        ]

        async def with_duplicate() -> Propagation | None:
            found = await stack.client.blocks.propagation(NEXT.header.hash)
            return found if found is not None and found.duplicates else None

        one = await until(with_duplicate, "the second arrival in the ledger")
        assert (one.first_seen_from, one.first_seen_whole) == (first.local.node_id, True)
        assert (one.whole_arrivals, one.hash_arrivals, one.duplicates) == (1, 1, 1)
        assert (one.propagated_to, one.lacked_by, one.announced_to) == (4, 5, 1)
        started = [one.first_seen_us or 0, one.header_valid_us or 0, one.imported_us or 0, one.announced_us or 0]
        assert min(started) > 0
        assert started == sorted(started)
        assert started[1] <= (one.propagated_us or 0) <= started[3]
        newest = await stack.client.blocks.propagation()
        assert newest is not None
        assert newest.block_hash == after.header.hash
        assert await stack.client.blocks.propagation(b"\x77" * 32) is None
        ranked, blocks = await stack.client.blocks.rank_peers()
        assert [(peer.node_id, peer.first, peer.connected) for peer in ranked] == [(first.local.node_id, 1, True)]
        assert blocks == 1
        assert await stack.broadcaster.metric('broadcaster_block_stage_seconds_count{stage="seen_to_valid"}') == 1
        assert await stack.broadcaster.metric('broadcaster_block_stage_seconds_count{stage="valid_to_imported"}') == 2


@in_one_loop
async def test_commands_submit_a_block_and_tell_how_it_spread() -> None:
    async with running_stack() as stack:
        await with_ears(stack, 2)
        at = ("--coordinator", stack.coordinator.facts["grpc"][0], "--json")
        path = stack.datadir / "block.rlp"
        path.write_bytes(rlp_of(NEXT))
        told = (await run_trisync("submit-block", str(path), *at)).last_json
        assert (told["result"], told["number"], told["propagated"]) == ("imported", 41, 2)
        path.write_text("0x" + rlp_of(NEXT).hex() + "\n")
        told = (await run_trisync("submit-block", str(path), *at)).last_json
        assert told["result"] == "known"
        path.write_bytes(rlp_of(next_block([next_block(BLOCKS, branch=3)])))
        failed = await run_trisync("submit-block", str(path), *at)
        assert failed.exit_code == 1
        assert "is not stored with its body; submit that first" in failed.err[-1]
        told = (await run_trisync("propagation", f"0x{NEXT.header.hash.hex()}", *at)).last_json
        assert (told["number"], told["source"], told["propagated_to"]) == (41, "submitted", 2)
        plain = await run_trisync("propagation", *at[:2])
        assert f"0x{NEXT.header.hash.hex()}  submitted  " in plain.out[-1]
        assert "sent to 2 of 2, announced to 0" in plain.out[-1]
        ranked = (await run_trisync("rank-peers", *at)).last_json
        assert ranked == {"blocks": 0, "peers": []}


@in_one_loop
async def test_a_block_with_a_huge_claim_is_relayed_with_its_true_total_difficulty() -> None:
    async with running_stack() as stack:
        ears = await with_ears(stack, 3)
        mallory = ears[0].peer
        mallory.answer = lambda message: None if isinstance(message, GetBlockHeaders) else CHAIN.answer(message)
        mallory.send(NewBlock(NEXT.header.header_rlp, NEXT.body_rlp, 2**200))
        await until(lambda: all(ear.blocks for ear in ears[1:]), "the block at the others")
        assert {block.total_difficulty for ear in ears[1:] for block in ear.blocks} == {TOTAL_DIFFICULTY}


@in_one_loop
async def test_blocks_with_unknown_parent_or_from_the_future_are_counted_and_sent_to_nobody() -> None:
    orphan = next_block([next_block(BLOCKS, branch=3)], branch=3)
    # Its number lets it pass the queue; its parent is a block we do not have.
    unknown = Block(with_hash(orphan.header._replace(number=41)), orphan.body_rlp)
    early = ruled_block(BLOCKS[-1].header, seconds=2**40)

    async def counted(stack: Stack, outcome: str) -> bool:
        return await stack.coordinator.metric(f'coordinator_fetched_blocks_total{{outcome="{outcome}"}}') == 1

    async with running_stack() as stack:
        ears = await with_ears(stack, 3)
        mallory = ears[0].peer
        for block, outcome in ((unknown, "parent_unknown"), (early, "refused")):
            mallory.send(NewBlock(block.header.header_rlp, block.body_rlp, TOTAL_DIFFICULTY))
            await until(functools.partial(counted, stack, outcome), outcome)
        assert not any(ear.blocks or ear.knows(block.header.hash) for ear in ears for block in (unknown, early))
        assert mallory.is_connected
