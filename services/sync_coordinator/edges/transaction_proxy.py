"""Passes what operators ask about transactions on to the broadcasters, where the pools are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn, TypeAlias, TypeVar

import grpc
from blocksync.v1 import transactions_pb2, transactions_pb2_grpc

from services.shared.rpc.deadlines import within
from services.shared.rpc.error_details import DETAILS_KEY
from services.shared.rpc.errors import NotAllowedNow

CALL_DEADLINE_S: Final = 4.0
"""For one broadcaster's answer; clients wait for five seconds."""

Context = grpc.aio.ServicerContext[Any, Any]
Stub: TypeAlias = "transactions_pb2_grpc.TransactionServiceAsyncStub"
A = TypeVar("A")


class TransactionProxy(transactions_pb2_grpc.TransactionServiceServicer):
    """With several broadcasters a transaction goes to all of them, for each has its own peers; a list is theirs one
    after the other, and a watch is the first one's that can be reached."""

    def __init__(self, stubs: Mapping[str, Stub]) -> None:
        self._stubs = dict(stubs)

    async def SubmitTransaction(
        self, request: transactions_pb2.SubmitTransactionRequest, context: Context
    ) -> transactions_pb2.SubmitTransactionResponse:
        answers = await _all(
            stub.SubmitTransaction(request, timeout=within(CALL_DEADLINE_S)) for stub in self._reachable().values()
        )
        good = [answer for answer in answers if not isinstance(answer, grpc.aio.AioRpcError)]
        if not good:
            await _refuse(context, [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)])
        merged = good[0]
        merged.sent_to_peers = sum(answer.sent_to_peers for answer in good)
        merged.journalled = any(answer.journalled for answer in good)
        return merged

    async def PoolStatus(
        self, request: transactions_pb2.PoolStatusRequest, context: Context
    ) -> transactions_pb2.PoolStatusResponse:
        stubs = self._reachable()
        answers = await _all(stub.PoolStatus(request, timeout=within(CALL_DEADLINE_S)) for stub in stubs.values())
        merged = transactions_pb2.PoolStatusResponse()
        for address, answer in zip(stubs, answers, strict=True):
            if isinstance(answer, grpc.aio.AioRpcError):
                merged.pools.add(broadcaster=address, problem=answer.details() or answer.code().name.lower())
            else:
                state = merged.pools.add()
                state.CopyFrom(answer.pools[0])
                state.broadcaster = address
        return merged

    async def PoolContent(
        self, request: transactions_pb2.PoolContentRequest, context: Context
    ) -> transactions_pb2.PoolContentResponse:
        """The token says which broadcaster's turn it is, before that one's own token."""
        stubs = list(self._reachable().values())
        turn, _, token = request.page_token.rpartition("/")
        index = int(turn) if turn.isascii() and turn.isdecimal() else 0
        if index >= len(stubs):
            return transactions_pb2.PoolContentResponse()
        asked = transactions_pb2.PoolContentRequest()
        asked.CopyFrom(request)
        asked.page_token = token
        try:
            answer = await stubs[index].PoolContent(asked, timeout=within(CALL_DEADLINE_S))
        except grpc.aio.AioRpcError as error:
            await _refuse(context, [error])
        if answer.next_page_token:
            answer.next_page_token = f"{index}/{answer.next_page_token}"
        elif index + 1 < len(stubs):
            answer.next_page_token = f"{index + 1}/"
        return answer

    async def WatchTransaction(
        self, request: transactions_pb2.WatchTransactionRequest, context: Context
    ) -> AsyncIterator[transactions_pb2.WatchTransactionResponse]:
        failures = []
        for stub in self._reachable().values():
            call = stub.WatchTransaction(request, timeout=context.time_remaining())
            try:
                async for answer in call:
                    yield answer
            except grpc.aio.AioRpcError as error:
                failures.append(error)
            finally:
                call.cancel()
        await _refuse(context, failures)

    def _reachable(self) -> dict[str, Stub]:
        if not self._stubs:
            raise NotAllowedNow(
                "this coordinator has no broadcaster, which keeps the pool; start one, and name it by --broadcaster",
                reason="NO_BROADCASTER",
            )
        return self._stubs


async def _all(calls: Iterable[Awaitable[A]]) -> list[A | grpc.aio.AioRpcError]:
    return list(await asyncio.gather(*(_answer_or_error(call) for call in calls)))


async def _answer_or_error(call: Awaitable[A]) -> A | grpc.aio.AioRpcError:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        return error


async def _refuse(context: Context, errors: Sequence[grpc.aio.AioRpcError]) -> NoReturn:
    """End the call as the broadcaster did; one that is not there is said to be so."""
    refusals = [
        error
        for error in errors
        if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    ]
    if not refusals:
        raise NotAllowedNow(
            "no broadcaster answers, which keeps the pool; see that it runs, and try again", reason="NO_BROADCASTER"
        )
    # What its details say of the value and the rule is as good from us.
    told = [(key, value) for key, value in refusals[0].trailing_metadata() or () if key == DETAILS_KEY]
    await context.abort(refusals[0].code(), refusals[0].details() or "", tuple(told))
    raise AssertionError("abort raises")
