"""How many new transactions one peer may have us look at."""

from __future__ import annotations

from typing import Final

from services.shared.ethwire.types import PeerId

TRANSACTIONS_PER_S: Final = 200
"""New transactions of one peer that are looked at in a second; a tenth of them is a busy network's whole flow."""

POOLED_PER_PEER: Final = 512
"""Pooled transactions that came from one peer: an eighth of the pool, so that eight peers are needed to fill it."""


class PeerAllowance:
    """A bucket for each peer: 200 at once, refilled by 200 a second. What we have already costs nothing."""

    def __init__(self, per_s: int = TRANSACTIONS_PER_S) -> None:
        self._per_s = per_s
        self._left: dict[PeerId, tuple[float, float]] = {}

    def __len__(self) -> int:
        return len(self._left)

    def take(self, peer: PeerId, now: float) -> bool:
        """Whether one more may be looked at now."""
        left, at = self._left.get(peer, (float(self._per_s), now))
        left = min(float(self._per_s), left + max(0.0, now - at) * self._per_s)
        if left < 1:
            self._left[peer] = left, max(at, now)
            return False
        self._left[peer] = left - 1, max(at, now)
        return True

    def forget(self, peer: PeerId) -> None:
        """The peer left. One that comes back at once starts with a full bucket, as a new one would."""
        self._left.pop(peer, None)
