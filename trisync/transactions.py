"""Pending transactions of a node, as values."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from blocksync.v1 import transactions_pb2


class FateKind(enum.Enum):
    """Where a transaction stands."""

    UNKNOWN = "unknown"
    POOLED = "pooled"
    INCLUDED = "included"
    DROPPED = "dropped"


class DropCause(enum.Enum):
    """Why a transaction is not pooled any more."""

    REFUSED = "refused"
    REPLACED = "replaced"
    EVICTED = "evicted"
    EXPIRED = "expired"
    OUTDATED = "outdated"


_KINDS: Final = {
    transactions_pb2.TRANSACTION_FATE_POOLED: FateKind.POOLED,
    transactions_pb2.TRANSACTION_FATE_INCLUDED: FateKind.INCLUDED,
    transactions_pb2.TRANSACTION_FATE_DROPPED: FateKind.DROPPED,
}

_CAUSES: Final = {
    transactions_pb2.DROP_CAUSE_REFUSED: DropCause.REFUSED,
    transactions_pb2.DROP_CAUSE_REPLACED: DropCause.REPLACED,
    transactions_pb2.DROP_CAUSE_EVICTED: DropCause.EVICTED,
    transactions_pb2.DROP_CAUSE_EXPIRED: DropCause.EXPIRED,
    transactions_pb2.DROP_CAUSE_OUTDATED: DropCause.OUTDATED,
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
    drop_cause: DropCause | None = None


def submitted_from_proto(message: transactions_pb2.SubmitTransactionResponse) -> SubmittedTransaction:
    return SubmittedTransaction(
        message.transaction_hash,
        message.sender,
        message.already_pooled,
        message.replaced,
        message.sent_to_peers,
        message.journalled,
    )


def fate_from_proto(message: transactions_pb2.WatchTransactionResponse) -> Fate:
    return Fate(
        _KINDS.get(message.fate, FateKind.UNKNOWN),
        message.sent_to_peers,
        message.local,
        message.block_number,
        message.block_hash,
        message.explanation,
        _CAUSES.get(message.drop_cause),
    )


def pool_from_proto(message: transactions_pb2.PoolState) -> PoolState:
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


def pending_from_proto(message: transactions_pb2.PoolEntry) -> PendingTransaction:
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
