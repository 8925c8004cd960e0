"""What became of each transaction: pooled, sent, included, dropped, and why."""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from services.shared.ethwire.types import BlockHash, TransactionHash

FATES_KEPT: Final = 16_384
"""Fates remembered, those that changed last: the pool's four times over, for about 8 MB."""


class FateKind(enum.Enum):
    """Where a transaction stands."""

    UNKNOWN = "unknown"
    """Never heard of, or so long ago that it is forgotten."""
    POOLED = "pooled"
    INCLUDED = "included"
    DROPPED = "dropped"


class DropCause(enum.Enum):
    """Why a transaction left the pool, other than into a block; the label in metrics."""

    REFUSED = "refused"
    REPLACED = "replaced"
    EVICTED = "evicted"
    EXPIRED = "expired"
    OUTDATED = "outdated"


class Fate(NamedTuple):
    """Where a transaction stands now. `peers` is to how many it was sent since it was last pooled."""

    kind: FateKind
    peers: int = 0
    is_local: bool = False
    block_number: int = 0
    block_hash: BlockHash = BlockHash(b"")
    drop_cause: DropCause | None = None
    explanation: str = ""


UNKNOWN: Final = Fate(FateKind.UNKNOWN)


class Fates:
    """The latest fate of each transaction heard of lately; the oldest change is forgotten first."""

    def __init__(self, kept: int = FATES_KEPT) -> None:
        self._kept = kept
        self._fates: dict[TransactionHash, Fate] = {}

    def __len__(self) -> int:
        return len(self._fates)

    def of(self, transaction_hash: TransactionHash) -> Fate:
        return self._fates.get(transaction_hash, UNKNOWN)

    def pooled(self, transaction_hash: TransactionHash, *, is_local: bool) -> Fate:
        before = self.of(transaction_hash)
        peers = before.peers if before.kind is FateKind.POOLED else 0
        return self._set(transaction_hash, Fate(FateKind.POOLED, peers=peers, is_local=is_local))

    def sent(self, transaction_hash: TransactionHash, peers: int) -> Fate:
        before = self.of(transaction_hash)
        return self._set(transaction_hash, before._replace(peers=before.peers + peers))

    def included(self, transaction_hash: TransactionHash, number: int, block_hash: BlockHash) -> Fate:
        fate = self.of(transaction_hash)._replace(
            kind=FateKind.INCLUDED, block_number=number, block_hash=block_hash, drop_cause=None, explanation=""
        )
        return self._set(transaction_hash, fate)

    def dropped(self, transaction_hash: TransactionHash, cause: DropCause, explanation: str) -> Fate:
        fate = self.of(transaction_hash)._replace(
            kind=FateKind.DROPPED,
            block_number=0,
            block_hash=BlockHash(b""),
            drop_cause=cause,
            explanation=explanation,
        )
        return self._set(transaction_hash, fate)

    def _set(self, transaction_hash: TransactionHash, fate: Fate) -> Fate:
        self._fates.pop(transaction_hash, None)
        self._fates[transaction_hash] = fate
        if len(self._fates) > self._kept:
            del self._fates[next(iter(self._fates))]
        return fate
