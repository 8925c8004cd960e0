"""The published client, in threads and in an event loop: every RPC, restarts, reorgs, deadlines."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import inspect
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc
import pytest
from blocksync.v1 import blocks_pb2, coordinator_pb2, transactions_pb2
from google.protobuf.message_factory import GetMessageClass

from tests.support.chain_peers import dial_in
from tests.support.deadlines import DEADLINE_S, until
from tests.support.small_network import chain_blocks, peer_chain
from tests.support.stack import Stack, in_one_loop, running_stack
from trisync.client import Apply, AsyncCoordinator, Coordinator, CoordinatorError, Step

pytestmark = pytest.mark.integration

CHAIN = peer_chain(chain_blocks(60))
OTHER = peer_chain(chain_blocks(70, fork_at=50))
HASH = bytes(32)
ENODE = "enode://" + "ab" * 64 + "@127.0.0.1:30303"

SERVICES: Final = (
    coordinator_pb2.DESCRIPTOR.services_by_name["CoordinatorService"],
    blocks_pb2.DESCRIPTOR.services_by_name["BlockService"],
    transactions_pb2.DESCRIPTOR.services_by_name["TransactionService"],
)

METHODS: Final[dict[str, Callable[[Any], Any]]] = {
    "GetStatus": lambda node: node.status(),
    "WatchStatus": lambda node: node.watch_status(),
    "ListPeers": lambda node: node.peers(),
    "ListDisconnects": lambda node: node.disconnects(limit=3, node_id=HASH, offence="stalling"),
    "GetBlock": lambda node: node.block(5),
    "GetHeader": lambda node: node.header(HASH),
    "GetReceipts": lambda node: node.receipts(5),
    "GetCanonicalHash": lambda node: node.canonical_hash(5),
    "StreamBlocks": lambda node: node.stream_blocks("cursor", include_bodies=True),
    "StartSync": lambda node: node.start_sync(),
    "BestPeer": lambda node: node.best_peer(7),
    "ExplainSync": lambda node: node.explain_sync(),
    "AddPeer": lambda node: node.add_peer(ENODE),
    "RemovePeer": lambda node: node.remove_peer(ENODE),
    "AddTrustedPeer": lambda node: node.add_trusted_peer(ENODE),
    "RemoveTrustedPeer": lambda node: node.remove_trusted_peer(ENODE),
    "SubmitBlock": lambda node: node.blocks.submit(b"block"),
    "GetPropagation": lambda node: node.blocks.propagation(HASH),
    "WatchPropagations": lambda node: node.blocks.watch_propagations(3),
    "RankPeers": lambda node: node.blocks.rank_peers(3),
    "SubmitTransaction": lambda node: node.transactions.submit(b"transaction"),
    "PoolStatus": lambda node: node.transactions.pools(),
    "PoolContent": lambda node: node.transactions.pending(with_raw=True),
    "WatchTransaction": lambda node: node.transactions.watch(HASH),
}
"""How each operator RPC is called; the same for both clients."""


class AnyService(grpc.GenericRpcHandler):
    """Answers every RPC of the operators with an empty message of its type, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, object]] = []
        self._methods = {f"/{service.full_name}/{each.name}": each for service in SERVICES for each in service.methods}

    def service(self, details: Any) -> grpc.RpcMethodHandler[Any, Any] | None:
        method = self._methods.get(details.method)
        if method is None:
            return None
        request, answer = GetMessageClass(method.input_type), GetMessageClass(method.output_type)

        def one(asked: object, context: object) -> object:
            self.asked.append((method.name, asked))
            return answer()

        def many(asked: object, context: object) -> Iterator[object]:
            yield one(asked, context)

        make, answering = (
            (grpc.unary_stream_rpc_method_handler, many)
            if method.server_streaming
            else (grpc.unary_unary_rpc_method_handler, one)
        )
        return make(answering, request.FromString, answer.SerializeToString)


@contextlib.contextmanager
def any_service() -> Iterator[tuple[AnyService, str]]:
    handler, server = AnyService(), grpc.server(ThreadPoolExecutor(4), handlers=[])
    server.add_generic_rpc_handlers([handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield handler, f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


async def result_of(call: Any) -> object:
    """What a call of the asyncio client gives; of a stream its items."""
    if inspect.iscoroutine(call):
        return await call
    items = []
    with contextlib.suppress(CoordinatorError):
        async for item in call:
            items.append(item)  # noqa: PERF401 - kept when the stream fails
    return items


def read(call: Any) -> object:
    if not hasattr(call, "__next__"):
        return call
    items = []
    with contextlib.suppress(CoordinatorError):
        for item in call:
            items.append(item)  # noqa: PERF402 - kept when the stream fails
    return items


def test_every_operator_rpc_has_a_method_in_both_clients_that_asks_the_same_and_gives_the_same():
    names = [method.name for service in SERVICES for method in service.methods]
    assert sorted(METHODS) == sorted(names)

    async def all_of(address: str) -> list[object]:
        async with AsyncCoordinator(address) as node:
            return [await result_of(METHODS[name](node)) for name in names]

    with any_service() as (service, address):
        with Coordinator(address) as node:
            given = [read(METHODS[name](node)) for name in names]
        asked, service.asked = service.asked, []
        assert [name for name, _ in asked] == names
        assert asyncio.run(all_of(address)) == given
        assert service.asked == asked
    for name, result in zip(names, given, strict=True):
        for value in result if isinstance(result, list) else [result]:
            is_value = dataclasses.is_dataclass(value) or isinstance(value, bool | tuple | None)
            assert is_value, f"{name} gives {value!r}"


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
