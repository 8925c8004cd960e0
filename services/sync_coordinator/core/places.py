"""Places for peers: who asks for one, and how they are counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from services.shared.ethwire.types import PeerId

DIAL_RATIO: Final = 3
"""One place in so many may be taken by peers that gateways dialled of their own accord (geth defaultDialRatio)."""

ADMISSION_LASTS_S: Final = 30.0
"""How long an admitted peer may take to finish its eth handshake before its place is free again: more than
the 10 s that both handshakes have together, so that no peer still shaking hands loses its place."""


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
    static: bool
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


class Places:
    """Counts joined and admitted peers together, by direction, and keeps those that are admitted and not joined yet."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._inbound = Tally()
        self.dialled = Tally()
        """Outbound and not static: what the dial quota counts."""
        self.admitted: dict[PeerId, Place] = {}

    def quota(self, *, discovers: bool) -> int:
        """Places for peers that gateways find themselves."""
        return self._most // DIAL_RATIO if discovers else 0

    def are_full_for(self, applicant: Applicant, quota: int) -> bool:
        """All places, inbound ones, and those of the dial quota."""
        if self._taken >= self._most:
            return True
        if applicant.inbound:
            return self._inbound.total >= self._most - quota
        return applicant.is_dynamic and self.dialled.total >= quota

    def count(self, gateway_id: str, by: int, *, inbound: bool, static: bool) -> None:
        """A peer of this gateway takes a place (`by` is 1), or gives it back (-1)."""
        self._taken += by
        if inbound:
            self._inbound.add(gateway_id, by)
        elif not static:
            self.dialled.add(gateway_id, by)

    def admit(self, applicant: Applicant, now: float) -> None:
        """Hold a place for a peer that is to join soon."""
        place = Place(applicant.gateway_id, applicant.inbound, applicant.static, now + ADMISSION_LASTS_S)
        self.admitted[applicant.node_id] = place
        self._count_place(place, 1)

    def free(self, node_id: PeerId) -> None:
        """The peer has joined, and is counted as such, or never will."""
        place = self.admitted.pop(node_id, None)
        if place is not None:
            self._count_place(place, -1)

    def free_of(self, gateway_id: str) -> None:
        """A gateway that comes back asks again for those it still waits for; they must not be in their own way."""
        for node_id in [node_id for node_id, place in self.admitted.items() if place.gateway_id == gateway_id]:
            self.free(node_id)

    def forget_late(self, now: float) -> None:
        # Every admission lasts equally long, so they end in the order in which they were given.
        while self.admitted:
            node_id, place = next(iter(self.admitted.items()))
            if place.until > now:
                return
            self.free(node_id)

    def _count_place(self, place: Place, by: int) -> None:
        self.count(place.gateway_id, by, inbound=place.inbound, static=place.static)
