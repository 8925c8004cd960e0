"""The nonces that recent blocks used: what stands in for state when a transaction comes too late."""

from __future__ import annotations

from typing import Final

from services.broadcaster.core.transaction import Address

SENDERS_KEPT: Final = 32_768
"""Senders remembered, those seen last: the last hours of a busy network, for about 6 MB."""


class UsedNonces:
    """For each recent sender the highest nonce that the chain has used.

    Not knowing one is safe: a transaction that can never be included then waits in the pool until it expires.
    """

    def __init__(self, kept: int = SENDERS_KEPT) -> None:
        self._kept = kept
        self._highest: dict[Address, int] = {}

    def __len__(self) -> int:
        return len(self._highest)

    def highest(self, sender: Address) -> int | None:
        return self._highest.get(sender)

    def use(self, sender: Address, nonce: int) -> None:
        """A block was applied that has this transaction."""
        before = self._highest.pop(sender, -1)
        self._highest[sender] = max(before, nonce)
        if len(self._highest) > self._kept:
            del self._highest[next(iter(self._highest))]

    def give_back(self, sender: Address, nonce: int) -> None:
        """A block was undone that had it: this nonce and all above it are free again."""
        before = self._highest.get(sender)
        if before is None or before < nonce:
            return
        if nonce:
            self._highest[sender] = nonce - 1
        else:
            del self._highest[sender]

    def clear(self) -> None:
        """Blocks were missed: what was known may have been undone."""
        self._highest.clear()
