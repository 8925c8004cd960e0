"""The coordinator's side of the transaction service, in front of several broadcasters."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from blocksync.v1 import transactions_pb2, transactions_pb2_grpc

from services.shared.ethwire.hashing import keccak256
from services.shared.rpc.channel import open_channel
from services.shared.runtime.grpc_server import RpcServer
from services.sync_coordinator.edges.broadcaster_client import BroadcasterClient
from services.sync_coordinator.edges.transaction_proxy import TransactionProxy
from tests.integration.test_broadcaster import ALICE, BOB, attached, in_one_loop
from tests.integration.test_transactions import PoolCoordinator, following
from tests.support.transactions import Draft
from trisync.error_reason import reason_of

pytestmark = pytest.mark.integration

NOBODY = "127.0.0.1:1"


@contextlib.asynccontextmanager
async def proxy(*broadcasters: str) -> AsyncIterator[transactions_pb2_grpc.TransactionServiceAsyncStub]:
    client, server = BroadcasterClient(broadcasters), RpcServer()
    server.add(
        transactions_pb2_grpc.add_TransactionServiceServicer_to_server,
        TransactionProxy(client.transaction_stubs()),
        transactions_pb2.DESCRIPTOR.services_by_name["TransactionService"],
    )
    address = server.listen("127.0.0.1:0")
    await server.start()
    try:
        async with open_channel(address) as channel:
            yield transactions_pb2_grpc.TransactionServiceStub(channel)
    finally:
        await server.stop(0.1)
        await client.close()


def submit(draft: Draft) -> transactions_pb2.SubmitTransactionRequest:
    return transactions_pb2.SubmitTransactionRequest(raw=draft.raw())


def test_transaction_goes_to_all_broadcasters_and_their_pools_are_listed_one_after_the_other():
    async def scenario() -> None:
        async with (
            following(PoolCoordinator()) as (first, _),
            following(PoolCoordinator()) as (second, alone),
            attached(first, "east", ALICE),
            attached(second, "west", BOB),
            proxy(first.address, second.address, NOBODY) as calls,
        ):
            done = await calls.SubmitTransaction(submit(Draft()))
            assert (done.sent_to_peers, done.transaction_hash) == (2, keccak256(Draft().raw()))
            await alone.SubmitTransaction(submit(Draft(account=5)))
            states = (await calls.PoolStatus(transactions_pb2.PoolStatusRequest())).pools
            assert [state.broadcaster for state in states] == [first.address, second.address, NOBODY]
            assert [state.transactions for state in states] == [1, 2, 0]
            assert [bool(state.problem) for state in states] == [False, False, True]
        async with (
            following(PoolCoordinator()) as (first, one),
            following(PoolCoordinator()) as (second, other),
            proxy(first.address, second.address) as calls,
        ):
            for number in range(3):
                await one.SubmitTransaction(submit(Draft(account=number)))
                await other.SubmitTransaction(submit(Draft(account=number + 10)))
            seen: list[bytes] = []
            request = transactions_pb2.PoolContentRequest(limit=2)
            while True:
                page = await calls.PoolContent(request)
                seen += [entry.transaction_hash for entry in page.transactions]
                request.page_token = page.next_page_token
                if not request.page_token:
                    break
            assert sorted(seen) == sorted(keccak256(Draft(account=number).raw()) for number in (0, 1, 2, 10, 11, 12))

    in_one_loop(scenario)


def test_watch_falls_to_the_next_broadcaster_when_one_is_away():
    async def scenario() -> None:
        async with following(PoolCoordinator()) as (there, own), proxy(NOBODY, there.address) as calls:
            await own.SubmitTransaction(submit(Draft()))
            request = transactions_pb2.WatchTransactionRequest(transaction_hash=keccak256(Draft().raw()))
            seen = await anext(aiter(calls.WatchTransaction(request)))
            assert seen.fate == transactions_pb2.TRANSACTION_FATE_POOLED

    in_one_loop(scenario)


@pytest.mark.parametrize(
    ("broadcasters", "told"), [((), "name it by --broadcaster"), ((NOBODY,), "no broadcaster answers")]
)
def test_call_is_refused_in_words_when_no_broadcaster_is_there(broadcasters, told):
    async def scenario() -> None:
        async with proxy(*broadcasters) as calls:
            content = calls.PoolContent(transactions_pb2.PoolContentRequest())
            watch = anext(
                aiter(calls.WatchTransaction(transactions_pb2.WatchTransactionRequest(transaction_hash=bytes(32))))
            )
            for call in (calls.SubmitTransaction(submit(Draft())), content, watch):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call
                assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
                assert told in str(caught.value.details())
                assert reason_of(caught.value.trailing_metadata()) == "NO_BROADCASTER"

    in_one_loop(scenario)


def test_refusal_of_a_broadcaster_is_passed_on_as_it_is():
    async def scenario() -> None:
        async with following(PoolCoordinator()) as (there, _), proxy(NOBODY, there.address) as calls:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await calls.SubmitTransaction(submit(Draft(chain_id=9)))
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "signed for chain id 9" in str(caught.value.details())
            assert reason_of(caught.value.trailing_metadata()) == "TRANSACTION_CHAIN_ID"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await calls.PoolContent(transactions_pb2.PoolContentRequest(page_token="1/nonsense"))
            assert "page_token 'nonsense' is refused" in str(caught.value.details())
            beyond = await calls.PoolContent(transactions_pb2.PoolContentRequest(page_token="9/"))
            assert (len(beyond.transactions), beyond.next_page_token) == (0, "")

    in_one_loop(scenario)
