"""Pending transactions of a node: handed in, listed, followed."""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Final

import grpc
import grpc.aio
from blocksync.v1 import transactions_pb2, transactions_pb2_grpc

CALL_TIMEOUT_S: Final = 5.0
"""How long an answer may take; a transaction is checked and written to disk meanwhile."""


class FateKind(enum.Enum):
    """Where a transaction stands."""

    UNKNOWN = "unknown"
    POOLED = "pooled"
    INCLUDED = "included"
    DROPPED = "dropped"


_KINDS: Final = {
    transactions_pb2.TRANSACTION_FATE_POOLED: FateKind.POOLED,
    transactions_pb2.TRANSACTION_FATE_INCLUDED: FateKind.INCLUDED,
    transactions_pb2.TRANSACTION_FATE_DROPPED: FateKind.DROPPED,
}


@dataclass(frozen=True, slots=True)
class SubmittedTransaction:
    """A transaction that is pooled. `replaced` is the hash of the one whose place it took; empty without one."""

    transaction_hash: bytes
    sender: bytes
    already_pooled: bool
    replaced: bytes
    sent_to_peers: int
    journalled: bool


@dataclass(frozen=True, slots=True)
class PoolState:
    """One broadcaster's pool. With a `problem` it did not answer, and the numbers mean nothing."""

    broadcaster: str
    problem: str
    accepts_transactions: bool
    transactions: int
    local_transactions: int
    senders: int
    size_bytes: int
    most_transactions: int
    known_hashes: int
    peers: int
    syncing_peers: int


@dataclass(frozen=True, slots=True)
class PendingTransaction:
    """A pooled transaction; fees are wei per gas. `raw` is empty unless it was asked for."""

    transaction_hash: bytes
    sender: bytes
    nonce: int
    fee_cap: int
    tip_cap: int
    gas_limit: int
    size_bytes: int
    local: bool
    pooled_seconds: float
    sent_to_peers: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class Fate:
    """Where a transaction stands now; the block is that which includes it."""

    kind: FateKind
    sent_to_peers: int
    local: bool
    block_number: int
    block_hash: bytes
    explanation: str
    """Why it was dropped."""


class TransactionCalls:
    """The calls of the Transaction service. Failed ones raise what `failed` makes of them."""

    def __init__(self, channel: grpc.aio.Channel, failed: Callable[[grpc.aio.AioRpcError], Exception]) -> None:
        self._stub = transactions_pb2_grpc.TransactionServiceStub(channel)
        self._failed = failed

    async def submit(self, raw: bytes) -> SubmittedTransaction:
        """Pool a signed transaction and send it to all peers."""
        request = transactions_pb2.SubmitTransactionRequest(raw=raw)
        try:
            answer = await self._stub.SubmitTransaction(request, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise self._failed(error) from error
        return SubmittedTransaction(
            answer.transaction_hash,
            answer.sender,
            answer.already_pooled,
            answer.replaced,
            answer.sent_to_peers,
            answer.journalled,
        )

    async def pools(self) -> list[PoolState]:
        """How full the pool of each broadcaster is."""
        try:
            answer = await self._stub.PoolStatus(transactions_pb2.PoolStatusRequest(), timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise self._failed(error) from error
        return [_pool_from_proto(pool) for pool in answer.pools]

    async def pending(self, *, sender: bytes = b"", with_raw: bool = False) -> AsyncGenerator[PendingTransaction, None]:
        """What is pooled, by sender and nonce; of one sender alone if given. With several broadcasters one pool after
        the other, so that a transaction may come twice."""
        request = transactions_pb2.PoolContentRequest(limit=1000, sender=sender, include_raw=with_raw)
        while True:
            try:
                page = await self._stub.PoolContent(request, timeout=CALL_TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                raise self._failed(error) from error
            for entry in page.transactions:
                yield _pending_from_proto(entry)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def watch(self, transaction_hash: bytes) -> AsyncGenerator[Fate, None]:
        """Where a transaction stands, at once and whenever that changes; for ever."""
        call = self._stub.WatchTransaction(transactions_pb2.WatchTransactionRequest(transaction_hash=transaction_hash))
        try:
            async for answer in call:
                yield Fate(
                    _KINDS.get(answer.fate, FateKind.UNKNOWN),
                    answer.sent_to_peers,
                    answer.local,
                    answer.block_number,
                    answer.block_hash,
                    answer.explanation,
                )
        except grpc.aio.AioRpcError as error:
            raise self._failed(error) from error
        finally:
            call.cancel()


def _pool_from_proto(message: transactions_pb2.PoolState) -> PoolState:
    return PoolState(
        message.broadcaster,
        message.problem,
        message.accepts_transactions,
        message.transactions,
        message.local_transactions,
        message.senders,
        message.size_bytes,
        message.most_transactions,
        message.known_hashes,
        message.peers,
        message.syncing_peers,
    )


def _pending_from_proto(message: transactions_pb2.PoolEntry) -> PendingTransaction:
    return PendingTransaction(
        message.transaction_hash,
        message.sender,
        message.nonce,
        int.from_bytes(message.fee_cap),
        int.from_bytes(message.tip_cap),
        message.gas_limit,
        message.size_bytes,
        message.local,
        message.pooled_seconds,
        message.sent_to_peers,
        message.raw,
    )
