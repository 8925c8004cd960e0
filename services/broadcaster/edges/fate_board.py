"""What became of transactions, for those who ask and those who wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from services.broadcaster.core.fates import UNKNOWN, DropCause, Fate, FateKind, Fates
from services.shared.ethwire.types import BlockHash, TransactionHash
from services.shared.rpc.errors import LimitReached

MAX_WATCHERS: Final = 256
"""Streams open at once."""


class FateBoard:
    """Every watcher has one flag: however many changes it missed, it wakes once and reads the newest fate."""

    def __init__(self, fates: Fates) -> None:
        self._fates = fates
        self._watchers: dict[TransactionHash, set[asyncio.Event]] = {}
        self._open = 0

    def of(self, transaction_hash: TransactionHash) -> Fate:
        return self._fates.of(transaction_hash)

    def pooled(self, transaction_hash: TransactionHash, *, is_local: bool) -> None:
        self._fates.pooled(transaction_hash, is_local=is_local)
        self._tell(transaction_hash)

    def sent(self, transaction_hash: TransactionHash, peers: int) -> None:
        self._fates.sent(transaction_hash, peers)
        self._tell(transaction_hash)

    def dropped(self, transaction_hash: TransactionHash, cause: DropCause, explanation: str) -> None:
        self._fates.dropped(transaction_hash, cause, explanation)
        self._tell(transaction_hash)

    def refused(self, transaction_hash: TransactionHash, explanation: str) -> None:
        """Never pooled: remembered only where somebody waits for it, for there may be any number of these."""
        if transaction_hash in self._watchers and self.of(transaction_hash).kind in (
            FateKind.UNKNOWN,
            FateKind.DROPPED,
        ):
            self.dropped(transaction_hash, DropCause.REFUSED, explanation)

    def included(self, transaction_hash: TransactionHash, number: int, block_hash: BlockHash) -> None:
        """Of the many transactions of blocks only those are remembered that were heard of or waited for."""
        if transaction_hash in self._watchers or self.of(transaction_hash) is not UNKNOWN:
            self._fates.included(transaction_hash, number, block_hash)
            self._tell(transaction_hash)

    async def watch(self, transaction_hash: TransactionHash) -> AsyncGenerator[Fate, None]:
        """The fate at once, and then whenever it changed. Raises LimitReached."""
        if self._open >= MAX_WATCHERS:
            raise LimitReached(
                f"{self._open} transactions are watched, {MAX_WATCHERS} may be; end one, or try again later",
                value=str(self._open),
                rule=f"at most {MAX_WATCHERS}",
                reason="TOO_MANY_STREAMS",
            )
        changed = asyncio.Event()
        self._open += 1
        self._watchers.setdefault(transaction_hash, set()).add(changed)
        try:
            while True:
                changed.clear()
                yield self._fates.of(transaction_hash)
                await changed.wait()
        finally:
            self._open -= 1
            self._watchers[transaction_hash].discard(changed)
            if not self._watchers[transaction_hash]:
                del self._watchers[transaction_hash]

    def _tell(self, transaction_hash: TransactionHash) -> None:
        for changed in self._watchers.get(transaction_hash, ()):
            changed.set()
