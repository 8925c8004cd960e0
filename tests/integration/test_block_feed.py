"""The feed of blocks from a real coordinator: during a sync, over reorgs and restarts, to slow and many readers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from services.sync_coordinator.edges.block_feed import MAX_STREAMS
from tests.support.chain_peers import BodyGate, dial_in
from tests.support.deadlines import until
from tests.support.ruled_chain import ruled_block, ruled_chain
from tests.support.scripted_chain import ScriptedChain
from tests.support.small_network import chain_blocks, peer_chain
from tests.support.stack import Stack, in_one_loop, running_stack
from trisync.block_feed import Apply, Step, Undo
from trisync.client import CoordinatorError

pytestmark = pytest.mark.integration

CHAIN = peer_chain(chain_blocks(700))
OTHER = peer_chain(chain_blocks(720, fork_at=650))
EMPTY_LIST = b"\xc0"


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


class Copy:
    """What an indexer has: a chain that each step must fit, and the last cursor."""

    def __init__(self) -> None:
        self.hashes: list[bytes] = []
        self.cursor: str | None = None
        self.undone: list[int] = []

    def take(self, step: Step) -> None:
        if isinstance(step, Apply):
            assert step.head.number == len(self.hashes)
            self.hashes.append(step.head.block_hash)
        else:
            assert (step.number, step.block_hash) == (len(self.hashes) - 1, self.hashes.pop())
            assert step.parent_hash == self.hashes[-1]
            self.undone.append(step.number)
        self.cursor = step.cursor

    async def follow(self, stack: Stack) -> None:
        """Read until the coordinator goes, or this is cancelled; the cursor is where to go on."""
        start = 0 if self.cursor is None else self.cursor
        with contextlib.suppress(CoordinatorError):
            async for step in stack.client.stream_blocks(start, follow=True):
                self.take(step)

    def is_copy_of(self, chain: ScriptedChain) -> bool:
        return self.hashes == [header.hash for header in chain.headers]


@contextlib.asynccontextmanager
async def following(copy: Copy, stack: Stack) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(copy.follow(stack))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def all_steps(steps: AsyncIterator[Step]) -> Sequence[Step]:
    return [step async for step in steps]


async def refused(steps: AsyncIterator[Step]) -> CoordinatorError:
    with pytest.raises(CoordinatorError) as caught:
        await all_steps(steps)
    return caught.value


@in_one_loop
async def test_reader_follows_a_sync_and_a_reorg_and_resumes_when_the_coordinator_was_restarted() -> None:
    copy = Copy()
    async with running_stack() as stack:
        async with following(copy, stack) as task:
            await until(lambda: copy.hashes, "the genesis block")
            await dial_in(stack.enode, "alice", CHAIN)
            await until(lambda: copy.is_copy_of(CHAIN), "the synced chain")
            assert copy.undone == []
            await stack.coordinator.stop()
            await task
        await stack.coordinator.start()
        async with following(copy, stack):
            await dial_in(stack.enode, "bob", OTHER)
            await until(lambda: copy.is_copy_of(OTHER), "the heavier chain")
        assert copy.undone == list(range(700, 649, -1))


@in_one_loop
async def test_reader_that_was_away_during_a_reorg_and_a_restart_is_told_the_undo_steps_first() -> None:
    async with running_stack() as stack:
        await dial_in(stack.enode, "alice", CHAIN)
        await stack.until_head(CHAIN.headers[-1])
        copy = Copy()
        for step in await all_steps(stack.client.stream_blocks(0)):
            copy.take(step)
        assert copy.is_copy_of(CHAIN)
        await dial_in(stack.enode, "bob", OTHER)
        await stack.until_head(OTHER.headers[-1])
        await stack.coordinator.stop()
        await stack.coordinator.start()
        assert copy.cursor is not None
        steps = await all_steps(stack.client.stream_blocks(copy.cursor))
        assert [type(step) for step in steps] == [Undo] * 51 + [Apply] * 71
        for at in (0, 20, 51, 100):
            again = await all_steps(stack.client.stream_blocks(steps[at].cursor))
            assert again == steps[at + 1 :]
        for step in steps:
            copy.take(step)
        assert copy.is_copy_of(OTHER)


@in_one_loop
async def test_bodies_and_receipts_are_sent_when_they_are_asked_for() -> None:
    async with running_stack() as stack:
        await dial_in(stack.enode, "alice", CHAIN)
        await stack.until_head(CHAIN.headers[-1])
        steps = await all_steps(stack.client.stream_blocks(5, include_bodies=True, include_receipts=True))
        assert len(steps) == 696
        for number, step in enumerate(steps, start=5):
            assert isinstance(step, Apply)
            assert step.header_rlp == CHAIN.headers[number].header_rlp
            assert step.head.total_difficulty == CHAIN.total_difficulties[number]
            # The chain's blocks have no receipts, which is known without storing anything.
            assert (step.body_rlp, step.receipts_rlp) == (CHAIN.bodies_rlp[number], EMPTY_LIST)
        [bare] = await all_steps(stack.client.stream_blocks(700))
        assert isinstance(bare, Apply)
        assert (bare.body_rlp, bare.receipts_rlp) == (None, None)


@in_one_loop
async def test_what_cannot_be_streamed_is_refused_in_one_line() -> None:
    async with running_stack(syncmode="light") as stack:
        await dial_in(stack.enode, "alice", CHAIN)
        await stack.until_head(CHAIN.headers[-1])
        client = stack.client
        for error, parts in (
            (await refused(client.stream_blocks(0, include_bodies=True)), ("include_bodies", "light mode")),
            (await refused(client.stream_blocks(0, include_receipts=True)), ("include_receipts", "light mode")),
            (await refused(client.stream_blocks("700")), ("'700'", "84 characters", "as it was sent")),
            (await refused(client.stream_blocks(701)), ("block 701", "ends at 700", "or follow")),
        ):
            assert all(part in str(error) for part in parts), error
            assert "\n" not in str(error)
            assert not error.retryable
        with pytest.raises(CoordinatorError, match="light mode"):
            await client.receipts(5)
        steps = await all_steps(client.stream_blocks(0))
        assert len(steps) == 701
    async with running_stack() as fresh:
        error = await refused(fresh.client.stream_blocks(steps[-1].cursor))
        assert "NOT_FOUND: block 700 0x" in str(error)
        assert "start from a number" in str(error)


@in_one_loop
async def test_cursor_of_another_network_is_refused() -> None:
    async with running_stack() as stack, running_stack(name="other", network="mordor") as other:
        [step] = await all_steps(other.client.stream_blocks(0))
        error = await refused(stack.client.stream_blocks(step.cursor))
        assert "of a chain whose genesis hash begins with 0xa68ebde7932eccb1" in str(error)


@in_one_loop
async def test_light_reader_is_not_sent_what_a_failed_sync_rolls_back() -> None:
    good = chain_blocks(3000)
    bad = [*good[:2600], ruled_block(good[2599].header, seconds=0)]
    bad += ruled_chain(bad[-1].header, 500)
    copy = Copy()
    async with running_stack(syncmode="light") as stack, following(copy, stack) as task:
        await dial_in(stack.enode, "mallory", peer_chain(bad))
        failed = await stack.until_status(lambda status: status.syncs_failed > 0, "the failed sync")
        kept = failed.head.number
        assert kept < 2600
        await until(lambda: len(copy.hashes) > kept, "the headers that stayed")
        await dial_in(stack.enode, "alice", peer_chain(good))
        await until(lambda: copy.is_copy_of(peer_chain(good)) or task.done(), "all headers")
        assert copy.is_copy_of(peer_chain(good))
        assert copy.undone == []


@in_one_loop
async def test_slow_reader_holds_up_no_sync_and_loses_nothing() -> None:
    long_chain = peer_chain(chain_blocks(6000))
    gate = BodyGate(long_chain, 100)
    async with running_stack() as stack:
        alice = await dial_in(stack.enode, "alice", long_chain)
        alice.answer = gate.answer
        readers = [stack.client.stream_blocks(0, follow=True, include_bodies=True) for _ in range(MAX_STREAMS)]
        first = [await anext(reader) for reader in readers]
        # From here on nobody reads.
        before = resident_bytes()
        gate.limit = None
        gate.release(alice)
        await stack.until_head(long_chain.headers[-1])
        # What gRPC holds of batches on their way, and what the sync itself needs: a chain for each would be 140 MB.
        assert resident_bytes() - before < 64 * 1024 * 1024
        copies = [Copy() for _ in readers[:3]]
        for copy, step, reader in zip(copies, first, readers, strict=False):
            copy.take(step)
            async for step in reader:
                copy.take(step)
                if copy.is_copy_of(long_chain):
                    break
        for reader in readers:
            await reader.aclose()


@in_one_loop
async def test_streams_above_the_bound_are_refused_and_counted_and_places_are_given_back() -> None:
    async with running_stack() as stack:
        await dial_in(stack.enode, "alice", CHAIN)
        await stack.until_head(CHAIN.headers[-1])
        readers = [stack.client.stream_blocks(0, follow=True, include_bodies=True) for _ in range(100)]
        answers = await asyncio.gather(*(anext(reader) for reader in readers), return_exceptions=True)
        refusals = [answer for answer in answers if isinstance(answer, CoordinatorError)]
        assert len(refusals) == 100 - MAX_STREAMS
        assert all("32 may be" in str(each) and each.retryable for each in refusals)
        assert await stack.coordinator.metric("coordinator_feed_refused_total") == 100 - MAX_STREAMS
        assert await stack.coordinator.metric("coordinator_feed_streams") == MAX_STREAMS
        for reader in readers:
            await reader.aclose()

        async def are_free() -> bool:
            return await stack.coordinator.metric("coordinator_feed_streams") == 0

        await until(are_free, "all places free")
        assert len(await all_steps(stack.client.stream_blocks(0))) == 701


@in_one_loop
async def test_blocks_are_read_by_number_and_hash() -> None:
    async with running_stack() as stack:
        for name, chain in (("alice", CHAIN), ("bob", OTHER)):
            await dial_in(stack.enode, name, chain)
            await stack.until_head(chain.headers[-1])
        ours, left = OTHER.headers[660], CHAIN.headers[660]
        for wanted in (660, ours.hash):
            header = await stack.client.header(wanted)
            assert header is not None
            assert (header.header_rlp, header.canonical, header.head.number) == (ours.header_rlp, True, 660)
            assert await stack.client.canonical_hash(wanted) == ours.hash
        side = await stack.client.header(left.hash)
        assert side is not None
        assert (side.header_rlp, side.canonical) == (left.header_rlp, False)
        assert side.head.total_difficulty == CHAIN.total_difficulties[660]
        assert await stack.client.canonical_hash(left.hash) == ours.hash
        receipts = await stack.client.receipts(left.hash)
        assert receipts is not None
        assert (receipts.receipts_rlp, receipts.canonical) == (EMPTY_LIST, False)
        for unknown in (721, b"\x77" * 32):
            assert await stack.client.header(unknown) is None
            assert await stack.client.receipts(unknown) is None
            assert await stack.client.canonical_hash(unknown) is None
        with pytest.raises(CoordinatorError, match="a hash has 32 bytes, not 3"):
            await stack.client.header(b"\x77" * 3)


@in_one_loop
async def test_the_command_shows_a_block_and_says_when_there_is_none() -> None:
    async with running_stack() as stack:
        await dial_in(stack.enode, "alice", CHAIN)
        await stack.until_head(CHAIN.headers[-1])
        for wanted in ("699", f"0x{CHAIN.headers[699].hash.hex()}"):
            code, out, err = await run_block_command(stack, wanted, "--json")
            shown = json.loads(out)
            assert (code, err, shown["number"], shown["canonical"]) == (0, "", 699, True)
            assert shown["body_rlp"] == f"0x{CHAIN.bodies_rlp[699].hex()}"
        code, out, err = await run_block_command(stack, "701")
        assert (code, out, err) == (1, "", "trisync: block 701 is not stored\n")


async def run_block_command(stack: Stack, *arguments: str) -> tuple[int | None, str, str]:
    """Its exit code and what it wrote, run in a process of its own."""
    command = [sys.executable, "-m", "trisync.cli", "block", *arguments, "--coordinator", stack.coordinator_address]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()
