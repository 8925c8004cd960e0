"""The operator's side of the pool: submitted, listed, followed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc.aio
from blocksync.v1 import transactions_pb2, transactions_pb2_grpc

from services.broadcaster.core.fates import DropCause, Fate, FateKind
from services.broadcaster.core.pending_pool import PendingPool
from services.broadcaster.core.pool_limits import POOL_TRANSACTIONS
from services.broadcaster.core.pool_shelves import Pooled
from services.broadcaster.core.transaction import ADDRESS_BYTES, Address, raw_of, wire_of
from services.broadcaster.core.transaction_check import Refusal, Refused
from services.broadcaster.edges.pool_desk import PoolDesk, PoolParts
from services.shared.ethwire.limits import MAX_TRANSACTION_BYTES
from services.shared.ethwire.types import TransactionHash
from services.shared.rpc.convert import big_to_bytes, block_hash_from_proto
from services.shared.rpc.errors import InvalidRequest, LimitReached, NotAllowedNow

DEFAULT_PAGE: Final = 100
MOST_PER_PAGE: Final = 1000
PAGE_BYTES: Final = 4 * 1024 * 1024
"""A page ends with the transaction that reaches this."""

_FATE_OF: Final = {
    FateKind.UNKNOWN: transactions_pb2.TRANSACTION_FATE_UNKNOWN,
    FateKind.POOLED: transactions_pb2.TRANSACTION_FATE_POOLED,
    FateKind.INCLUDED: transactions_pb2.TRANSACTION_FATE_INCLUDED,
    FateKind.DROPPED: transactions_pb2.TRANSACTION_FATE_DROPPED,
}
_CAUSE_OF: Final = {
    None: transactions_pb2.DROP_CAUSE_UNSPECIFIED,
    DropCause.REFUSED: transactions_pb2.DROP_CAUSE_REFUSED,
    DropCause.REPLACED: transactions_pb2.DROP_CAUSE_REPLACED,
    DropCause.EVICTED: transactions_pb2.DROP_CAUSE_EVICTED,
    DropCause.EXPIRED: transactions_pb2.DROP_CAUSE_EXPIRED,
    DropCause.OUTDATED: transactions_pb2.DROP_CAUSE_OUTDATED,
}

Context = grpc.aio.ServicerContext[Any, Any]


class TransactionServicer(transactions_pb2_grpc.TransactionServiceServicer):
    """Translates; the desk and the pool answer."""

    def __init__(self, parts: PoolParts, desk: PoolDesk) -> None:
        self._parts, self._desk = parts, desk

    @property
    def _pool(self) -> PendingPool:
        return self._parts.pool

    async def SubmitTransaction(
        self, request: transactions_pb2.SubmitTransactionRequest, context: Context
    ) -> transactions_pb2.SubmitTransactionResponse:
        if len(request.raw) > MAX_TRANSACTION_BYTES:
            raise InvalidRequest(
                f"the transaction has {len(request.raw)} bytes, {MAX_TRANSACTION_BYTES} may be; send less data",
                field="raw",
                value=f"{len(request.raw)} bytes",
                rule=f"at most {MAX_TRANSACTION_BYTES} bytes",
                reason="TRANSACTION_TOO_LARGE",
            )
        try:
            done = await self._desk.submit(wire_of(request.raw))
        except Refused as refused:
            self._parts.metrics.refused.labels(refused.refusal.value).inc()
            raise _rpc_error(refused) from refused
        added = done.added
        return transactions_pb2.SubmitTransactionResponse(
            transaction_hash=added.pooled.hash,
            sender=added.pooled.sender,
            already_pooled=not added.is_new,
            replaced=added.replaced.hash if added.replaced else b"",
            sent_to_peers=done.sent_to_peers,
            journalled=done.journalled,
        )

    async def PoolStatus(
        self, request: transactions_pb2.PoolStatusRequest, context: Context
    ) -> transactions_pb2.PoolStatusResponse:
        shelves, relay = self._pool.shelves, self._parts.relay
        state = transactions_pb2.PoolState(
            accepts_transactions=self._parts.chain.accepts_transactions,
            transactions=len(shelves),
            local_transactions=shelves.local_count,
            senders=shelves.sender_count,
            size_bytes=shelves.size_bytes,
            most_transactions=POOL_TRANSACTIONS,
            known_hashes=relay.distinct_transactions,
            peers=relay.peers,
            syncing_peers=relay.syncing_peers,
        )
        return transactions_pb2.PoolStatusResponse(pools=[state])

    async def PoolContent(
        self, request: transactions_pb2.PoolContentRequest, context: Context
    ) -> transactions_pb2.PoolContentResponse:
        limit = request.limit or DEFAULT_PAGE
        if limit > MOST_PER_PAGE:
            raise InvalidRequest(
                f"limit {limit} is refused: at most {MOST_PER_PAGE} transactions are on a page",
                field="limit",
                value=str(limit),
                rule=f"at most {MOST_PER_PAGE}",
            )
        sender = Address(request.sender) if request.sender else None
        if sender is not None and len(sender) != ADDRESS_BYTES:
            raise InvalidRequest(
                f"a sender has {ADDRESS_BYTES} bytes, not {len(sender)}",
                field="sender",
                value=f"{len(sender)} bytes",
                rule=f"{ADDRESS_BYTES} bytes",
            )
        after = place_from_token(request.page_token) if request.page_token else None
        page = self._pool.shelves.page(after, limit + 1, sender)
        answer, size_bytes = transactions_pb2.PoolContentResponse(), 0
        for pooled in page[:limit]:
            answer.transactions.append(self._entry(pooled, with_raw=request.include_raw))
            size_bytes += pooled.transaction.size_bytes if request.include_raw else 0
            if size_bytes >= PAGE_BYTES:
                break
        if len(answer.transactions) < len(page):
            last = page[len(answer.transactions) - 1]
            answer.next_page_token = f"{last.sender.hex()}-{last.transaction.nonce}"
        return answer

    async def WatchTransaction(
        self, request: transactions_pb2.WatchTransactionRequest, context: Context
    ) -> AsyncIterator[transactions_pb2.WatchTransactionResponse]:
        transaction_hash = TransactionHash(block_hash_from_proto(request.transaction_hash))
        async with contextlib.aclosing(self._parts.fates.watch(transaction_hash)) as fates:
            async for fate in fates:
                pooled = self._pool.shelves.get(transaction_hash) if fate.kind is FateKind.UNKNOWN else None
                # Pooled for so long that its fate is forgotten?
                known = fate._replace(kind=FateKind.POOLED, is_local=pooled.is_local) if pooled else fate
                yield _fate_to_proto(known)

    def _entry(self, pooled: Pooled, *, with_raw: bool) -> transactions_pb2.PoolEntry:
        transaction = pooled.transaction
        return transactions_pb2.PoolEntry(
            transaction_hash=transaction.hash,
            sender=pooled.sender,
            nonce=transaction.nonce,
            fee_cap=big_to_bytes(transaction.fee_cap),
            tip_cap=big_to_bytes(transaction.tip_cap),
            gas_limit=transaction.gas_limit,
            size_bytes=transaction.size_bytes,
            local=pooled.is_local,
            pooled_seconds=max(0.0, asyncio.get_running_loop().time() - pooled.entered_at),
            sent_to_peers=self._parts.fates.of(transaction.hash).peers,
            raw=raw_of(transaction.wire) if with_raw else b"",
        )


def _rpc_error(refused: Refused) -> Exception:
    reason = f"TRANSACTION_{refused.refusal.name}"
    match refused.refusal:
        case Refusal.NOT_ACCEPTED:
            return NotAllowedNow(str(refused), reason=reason)
        case Refusal.POOL_FULL:
            return LimitReached(str(refused), reason=reason)
        case _:
            return InvalidRequest(f"the transaction is refused: {refused}", field="raw", reason=reason)


def _fate_to_proto(fate: Fate) -> transactions_pb2.WatchTransactionResponse:
    return transactions_pb2.WatchTransactionResponse(
        fate=_FATE_OF[fate.kind],
        sent_to_peers=fate.peers,
        local=fate.is_local,
        block_number=fate.block_number,
        block_hash=fate.block_hash,
        drop_cause=_CAUSE_OF[fate.drop_cause],
        explanation=fate.explanation,
    )


def place_from_token(token: str) -> tuple[Address, int]:
    sender, _, nonce = token.partition("-")
    try:
        place = Address(bytes.fromhex(sender)), int(nonce)
    except ValueError:
        place = Address(b""), 0
    if len(place[0]) != ADDRESS_BYTES:
        raise InvalidRequest(
            f"page_token {token[:64]!r} is refused: it is not one of an answer; give it as it was sent",
            field="page_token",
            value=token[:64],
        )
    return place
