"""Shares the parts of one kind out among all peers, and learns from how they answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final, Generic

from services.shared.ethwire.types import PeerId
from services.sync_coordinator.core.capacity import DownloadPeers, PartKind
from services.sync_coordinator.core.part_queue import Part, PartQueue, Reservation

SHRINKABLE_PARTS: Final = 2
"""A time-out with more parts than this shrinks the peer's batches; with so few it is the peer that is too slow."""


class PartFetch(Generic[Part]):
    """One kind of parts of one sync.

    `most` is the largest batch: 1 where a part is a whole request, as a header gap is. What is in the
    queue, and what a reply is worth, stays the caller's business.
    """

    def __init__(
        self,
        kind: PartKind,
        queue: PartQueue[Part],
        peers: DownloadPeers,
        *,
        most: int,
        rng: random.Random,
        next_request_id: Callable[[], int],
    ) -> None:
        self.queue = queue
        self._kind, self._peers, self._most = kind, peers, most
        self._rng, self._next_request_id = rng, next_request_id

    def assign(self, budget: int, now: float) -> list[Reservation[Part]]:
        """Reserve up to `budget` parts: a request per peer in turn, the fastest first, until no peer takes more."""
        if budget <= 0 or not self.queue.pending:
            return []
        given: list[Reservation[Part]] = []
        target_s = self._peers.round_trip.target_s
        idle = [peer for peer in self._peers.fastest_first(self._kind, self._rng) if self.queue.has_room(peer.peer)]
        while idle:
            still_idle = []
            for peer in idle:
                count = min(peer.parts(self._kind, target_s, self._most), budget)
                reservation = self.queue.reserve(self._next_request_id(), peer.peer, count, now) if count else None
                if reservation is not None:
                    given.append(reservation)
                    budget -= len(reservation.parts)
                    if self.queue.has_room(peer.peer):
                        still_idle.append(peer)
            idle = still_idle
        return given

    def is_stuck(self) -> bool:
        """Whether parts are pending that no peer can serve. Ask after an `assign` that had a budget."""
        return self.queue.pending > 0 and not self.queue.open_requests and not self._peers.any_paused

    def settle(self, reservation: Reservation[Part], missing: Sequence[Part], now: float) -> None:
        """Close an answered request: `missing` goes back to the queue, the peer's speed is measured."""
        self.queue.complete(reservation.request_id, missing)
        peer = self._peers.get(reservation.peer)
        if peer is not None:
            peer.measure(self._kind, len(reservation.parts) - len(missing), now - reservation.asked_at)

    def lose(self, request_id: int, until: float) -> None:
        """Close a request that never got out, and spare its peer for a while."""
        self._peers.pause(self.queue.cancel(request_id).peer, until)

    def expire(self, now: float) -> tuple[int, list[PeerId]]:
        """Close requests that took too long: how many, and the peers that are too slow to keep."""
        oldest = self.queue.oldest_request_at()
        if oldest is None or now < oldest + self._peers.round_trip.timeout_s:
            return 0, []
        expired = self.queue.expire(max(oldest, now - self._peers.round_trip.timeout_s))
        self._peers.timeouts[self._kind] += len(expired)
        too_slow: dict[PeerId, None] = {}
        for reservation in expired:
            peer = self._peers.get(reservation.peer)
            if peer is not None and len(reservation.parts) > SHRINKABLE_PARTS:
                peer.measure(self._kind, 0, 0.0)
            else:
                too_slow[reservation.peer] = None
        return len(expired), list(too_slow)

    def next_wakeup(self) -> float | None:
        """When the oldest request expires."""
        oldest = self.queue.oldest_request_at()
        return None if oldest is None else oldest + self._peers.round_trip.timeout_s
