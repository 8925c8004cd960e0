"""Places for peers: who asks for one, and how they are counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from services.shared.ethwire.types import PeerId

DIAL_RATIO: Final = 3
"""One place in so many may be taken by peers that gateways dialled of their own accord (geth defaultDialRatio)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applicant:
    """A peer that has said Hello and asks for a place."""

    node_id: PeerId
    gateway_id: str
    inbound: bool = True
    """It takes an inbound place: it connected to its gateway, or had before that restarted and dialled it for that."""
    static: bool = False
    trusted: bool = False
    former: bool = False
    """Its gateway had it before a restart; the dial back is outside of the quota."""

    @property
    def is_dynamic(self) -> bool:
        """Whether it was dialled because discovery found it."""
        return not (self.inbound or self.static or self.trusted or self.former)


class Place(NamedTuple):
    """What an admitted peer holds until it joins."""

    gateway_id: str
    inbound: bool
    is_dialled: bool
    until: float


class Tally:
    """A number for each gateway, and their sum."""

    def __init__(self) -> None:
        self.total = 0
        self._of: dict[str, int] = {}

    def of(self, gateway_id: str) -> int:
        return self._of.get(gateway_id, 0)

    def add(self, gateway_id: str, by: int) -> None:
        self.total += by
        count = self.of(gateway_id) + by
        if count:
            self._of[gateway_id] = count
        else:
            self._of.pop(gateway_id, None)
