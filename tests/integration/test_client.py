"""The published client, in threads and in an event loop: restarts, reorgs, deadlines, and who may end what."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from tests.support.chain_peers import dial_in
from tests.support.deadlines import DEADLINE_S, until
from tests.support.small_network import chain_blocks, peer_chain
from tests.support.stack import Stack, in_one_loop, running_stack
from trisync.client import Apply, AsyncCoordinator, Coordinator, CoordinatorError, Step

pytestmark = pytest.mark.integration

CHAIN = peer_chain(chain_blocks(60))
OTHER = peer_chain(chain_blocks(70, fork_at=50))


def test_every_call_has_a_deadline():
    """A server that takes connections and says nothing: nobody waits for longer than was said."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"

        async def asked() -> None:
            async with AsyncCoordinator(address, timeout_s=0.2) as node:
                for call in (node.status(), anext(node.stream_blocks(0, follow=True, timeout_s=0.2))):
                    with pytest.raises(CoordinatorError, match="does not answer") as failed:
                        await call
                    assert failed.value.retryable

        asyncio.run(asyncio.wait_for(asked(), DEADLINE_S))
        with Coordinator(address, timeout_s=0.2) as node:
            for call in (node.status, lambda: next(node.stream_blocks(0, follow=True, timeout_s=0.2))):
                with pytest.raises(CoordinatorError, match="does not answer") as failed:
                    call()
                assert failed.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


class Copy:
    """What an indexer has: each step must fit it."""

    def __init__(self) -> None:
        self.hashes: list[bytes] = []
        self.undone = 0

    def take(self, step: Step) -> None:
        if isinstance(step, Apply):
            assert step.head.number == len(self.hashes)
            self.hashes.append(step.head.block_hash)
        else:
            assert self.hashes.pop() == step.block_hash
            self.undone += 1

    def is_copy_of(self, chain: Any) -> bool:
        return self.hashes == [header.hash for header in chain.headers]


@in_one_loop
async def test_followers_of_both_kinds_go_on_over_a_restart_and_a_reorg_and_end_when_they_are_closed() -> None:
    copies, interruptions = [Copy(), Copy()], [0, 0]

    async with running_stack() as stack, AsyncCoordinator(stack.coordinator_address) as node:
        with Coordinator(stack.coordinator_address) as thread_node:
            following = thread_node.follow_blocks(0, on_interruption=lambda _: count(interruptions, 0))

            def follow() -> None:
                for step in following:
                    copies[0].take(step)

            async def follow_in_loop() -> None:
                async for step in loop_following:
                    copies[1].take(step)

            loop_following = node.follow_blocks(0, on_interruption=lambda _: count(interruptions, 1))
            thread = asyncio.create_task(asyncio.to_thread(follow))
            task = asyncio.create_task(follow_in_loop())
            await dial_in(stack.enode, "alice", CHAIN)
            await until(lambda: all(copy.is_copy_of(CHAIN) for copy in copies), "the chain at both")
            await stack.coordinator.stop()
            await until(lambda: all(interruptions), "both interrupted")
            await stack.coordinator.start()
            await dial_in(stack.enode, "bob", OTHER)
            await until(lambda: all(copy.is_copy_of(OTHER) for copy in copies), "the heavier chain at both")
            assert [copy.undone for copy in copies] == [11, 11]
            following.close()
            await loop_following.aclose()
            await asyncio.gather(thread, task)


def count(numbers: list[int], at: int) -> None:
    numbers[at] += 1


@in_one_loop
async def test_a_follower_raises_what_will_not_be_better_later_and_when_its_patience_is_over() -> None:
    async with running_stack() as stack, AsyncCoordinator(stack.coordinator_address) as node:
        with pytest.raises(CoordinatorError, match="84 characters"):
            await anext(node.follow_blocks("no cursor"))
        await stack.coordinator.stop()
        for patience_s in (0.0, 0.3):
            with pytest.raises(CoordinatorError, match="does not answer"):
                await anext(node.follow_blocks(0, patience_s=patience_s))


@in_one_loop
async def test_a_stream_that_its_deadline_ends_is_replaced_without_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("async_coordinator", "chain_place"):
        monkeypatch.setattr(f"trisync.client.{module}.STREAM_S", 0.2)
    interruptions = [0]
    async with running_stack() as stack, AsyncCoordinator(stack.coordinator_address) as node:
        copy = Copy()
        steps = node.follow_blocks(0, patience_s=0.0, on_interruption=lambda _: count(interruptions, 0))
        copy.take(await anext(steps))
        waiting = asyncio.ensure_future(anext(steps))
        await asyncio.sleep(0.5)
        await dial_in(stack.enode, "alice", CHAIN)
        copy.take(await waiting)
        while not copy.is_copy_of(CHAIN):
            copy.take(await anext(steps))
        assert interruptions == [0]


@in_one_loop
async def test_one_client_serves_many_threads_and_a_stream_is_closed_from_another_one() -> None:
    async with running_stack() as stack:
        await asyncio.to_thread(use_from_threads, stack)


def use_from_threads(stack: Stack) -> None:
    with Coordinator(stack.coordinator_address) as node:
        with ThreadPoolExecutor(8) as pool:
            numbers = list(pool.map(lambda _: node.status().head.number, range(40)))
        assert numbers == [0] * 40
        stream = node.watch_status()
        assert next(stream).head.number == 0
        read_on: list[object] = []
        reader = threading.Thread(target=lambda: read_on.extend(stream))
        reader.start()
        stream.close()
        reader.join(DEADLINE_S)
        assert not reader.is_alive()
        assert list(stream) == []
        assert [step.head.number for step in node.stream_blocks(0) if isinstance(step, Apply)] == [0]
        assert node.block(5) is None
        with pytest.raises(CoordinatorError, match="84 characters") as refused:
            next(node.stream_blocks("no cursor"))
        assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT


@in_one_loop
async def test_a_task_that_is_cancelled_while_it_waits_for_a_stream_ends_it() -> None:
    async with running_stack() as stack, AsyncCoordinator(stack.coordinator_address) as node:
        stream = node.watch_status()
        await anext(stream)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(stream)
        assert [one async for one in stream] == []


def test_a_closed_client_is_asked_in_vain() -> None:
    async def closed() -> AsyncCoordinator:
        async with AsyncCoordinator("127.0.0.1:1") as node:
            return node

    async def asked() -> None:
        node = await closed()
        with pytest.raises(ValueError, match=r"the client of \S+ is closed"):
            await node.status()
        with pytest.raises(ValueError, match="is closed"):
            node.watch_status()

    asyncio.run(asked())
    with Coordinator("127.0.0.1:1") as node:
        pass
    with pytest.raises(ValueError, match=r"the client of \S+ is closed"):
        node.status()
    with pytest.raises(ValueError, match="is closed"):
        next(node.follow_blocks(0))
