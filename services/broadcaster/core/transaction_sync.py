"""What new peers are still owed of the transactions that were pending when they came (geth `txsyncLoop`)."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from services.shared.ethwire.types import PeerId, TransactionHash


class _Owed(NamedTuple):
    """All that was pending, one list for all who came together, and where one of them stands in it."""

    pending: Sequence[TransactionHash]
    position: int


class TransactionSync:
    """One peer's turn at a time, the next one by chance, so that a crowd of newcomers is served evenly."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._owed: dict[PeerId, _Owed] = {}

    def __len__(self) -> int:
        return len(self._owed)

    def owe(self, peer: PeerId, pending: Sequence[TransactionHash]) -> None:
        """A peer that came anew is owed anew. Caller's duty: `pending` does not change any more."""
        self._owed.pop(peer, None)
        if pending:
            self._owed[peer] = _Owed(pending, 0)

    def forget(self, peer: PeerId) -> None:
        self._owed.pop(peer, None)

    def pick(self) -> PeerId | None:
        """Whose turn it is, or None when nobody is owed anything."""
        return self._rng.choice(list(self._owed)) if self._owed else None

    def take(self, peer: PeerId) -> Iterator[TransactionHash]:
        """What it is owed, oldest first; what is not taken stays owed."""
        pending, start = self._owed[peer]
        for position in range(start, len(pending)):
            if position + 1 < len(pending):
                self._owed[peer] = _Owed(pending, position + 1)
            else:
                del self._owed[peer]
            yield pending[position]
