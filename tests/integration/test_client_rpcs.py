"""Every operator RPC has a method in both clients, which ask and give the same."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc
import pytest
from blocksync.v1 import blocks_pb2, coordinator_pb2, transactions_pb2
from google.protobuf.message_factory import GetMessageClass

from trisync.client import AsyncCoordinator, Coordinator, CoordinatorError

pytestmark = pytest.mark.integration

HASH = bytes(32)
MOST_S: Final = 60.0
"""The longest deadline of a call that has one answer."""

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

        def one(asked: object, context: grpc.ServicerContext) -> object:
            if not method.server_streaming:
                assert context.time_remaining() < MOST_S + 1, f"{method.name} is asked without a deadline"
            self.asked.append((method.name, asked))
            return answer()

        def many(asked: object, context: grpc.ServicerContext) -> Iterator[object]:
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
