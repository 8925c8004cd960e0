"""What new peers are still owed of the transactions that were pending when they came (geth `txsyncLoop`)."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator

from services.broadcaster.core.transaction import TransactionHash
from services.shared.ethwire.types import PeerId


class TransactionSync:
    """One peer's turn at a time, the next one by chance, so that a crowd of newcomers is served evenly."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._owed: dict[PeerId, deque[TransactionHash]] = {}

    def __len__(self) -> int:
        return len(self._owed)

    def owe(self, peer: PeerId, pending: Iterable[TransactionHash]) -> None:
        """A peer that came anew is owed anew."""
        self._owed.pop(peer, None)
        hashes = deque(pending)
        if hashes:
            self._owed[peer] = hashes

    def forget(self, peer: PeerId) -> None:
        self._owed.pop(peer, None)

    def pick(self) -> PeerId | None:
        """Whose turn it is, or None when nobody is owed anything."""
        return self._rng.choice(list(self._owed)) if self._owed else None

    def take(self, peer: PeerId) -> Iterator[TransactionHash]:
        """What it is owed, oldest first; what is not taken stays owed."""
        owed = self._owed[peer]
        while owed:
            transaction_hash = owed.popleft()
            if not owed:
                del self._owed[peer]
            yield transaction_hash
