"""Whether all gateways that were there before the coordinator restarted are there again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from services.shared.ethwire.types import PeerId

REUNION_S: Final = 3.0
"""How long gateways may take from the first to the last: they try again every 2 s at the latest, and wait for an
answer to an admission for 5 s."""


class Reunion:
    """Until it is over, who is connected to an absent gateway is not known: a peer admitted then may be connected
    already, and one of its two connections would have to be cut."""

    def __init__(self) -> None:
        self._seen: set[PeerId] = set()
        self._missing: set[PeerId] = set()
        self._until: float | None = None

    def attached(self, node_id: PeerId, knows: Iterable[PeerId], now: float) -> None:
        """A gateway came, and says which gateways there were."""
        if self._until is None:
            self._until = now + REUNION_S
        self._seen.add(node_id)
        if now < self._until:
            self._missing |= set(knows)
        self._missing -= self._seen

    def waits_until(self, now: float) -> float | None:
        """When to stop waiting for who is missing; None where nobody is, or it is over."""
        return self._until if self._missing and self._until is not None and now < self._until else None
