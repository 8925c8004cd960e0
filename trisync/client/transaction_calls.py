"""The calls of the Transaction service: requests made, answers read."""

from __future__ import annotations

from typing import Final, NamedTuple

from blocksync.v1 import transactions_pb2 as pb

from trisync.client.calls import Call, Lasting, Service, StreamCall
from trisync.transactions import (
    Fate,
    PendingTransaction,
    PoolState,
    SubmittedTransaction,
    fate_from_proto,
    pending_from_proto,
    pool_from_proto,
    submitted_from_proto,
)

SERVICE: Final = Service(pb.DESCRIPTOR.services_by_name["TransactionService"].full_name)

PAGE_TRANSACTIONS: Final = 1000
"""Asked for at once; the most that a coordinator sends."""


class Page(NamedTuple):
    """Some pending transactions; the next page is named by the token, which is empty after the last one."""

    transactions: list[PendingTransaction]
    next_token: str


def submit(raw: bytes) -> Call[SubmittedTransaction]:
    request = pb.SubmitTransactionRequest(raw=raw)
    return SERVICE.call("SubmitTransaction", request, pb.SubmitTransactionResponse, submitted_from_proto)


def pools() -> Call[list[PoolState]]:
    def read(answer: pb.PoolStatusResponse) -> list[PoolState]:
        return [pool_from_proto(pool) for pool in answer.pools]

    return SERVICE.call("PoolStatus", pb.PoolStatusRequest(), pb.PoolStatusResponse, read)


def pending_page(sender: bytes, token: str, *, with_raw: bool) -> Call[Page]:
    def read(answer: pb.PoolContentResponse) -> Page:
        return Page([pending_from_proto(entry) for entry in answer.transactions], answer.next_page_token)

    request = pb.PoolContentRequest(limit=PAGE_TRANSACTIONS, sender=sender, page_token=token, include_raw=with_raw)
    return SERVICE.call("PoolContent", request, pb.PoolContentResponse, read)


def watch(transaction_hash: bytes, timeout_s: float | None) -> StreamCall[Fate]:
    def read(answer: pb.WatchTransactionResponse) -> tuple[Fate]:
        return (fate_from_proto(answer),)

    request = pb.WatchTransactionRequest(transaction_hash=transaction_hash)
    return SERVICE.stream("WatchTransaction", request, pb.WatchTransactionResponse, read, Lasting(timeout_s))
