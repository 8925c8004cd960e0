"""The parts of one kind that a sync needs: reserve, complete, expire, revoke (geth `queue.go` of 1.8)."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from services.shared.ethwire.types import PeerId

Part = TypeVar("Part")

LACKING_SCAN: Final = 64
"""Parts a peer lacks that one reservation passes over. A peer that lacks more waits until others have fetched
some; the lowest part is always looked at, so "no peer can serve" is never said wrongly."""


class Reservation(NamedTuple, Generic[Part]):
    """Parts that one open request asks for."""

    request_id: int
    peer: PeerId
    parts: Sequence[Part]
    asked_at: float


class PartQueue(Generic[Part]):
    """Parts that are pending, in flight or done; a part is in exactly one of these, whatever happens.

    Parts are scheduled in rising order and reserved lowest first. Those that come back from a request
    are kept in a heap: they are lower than everything not yet reserved, so the heap goes first. A queue
    whose parts turn up in any order has all of them in the heap.
    """

    def __init__(
        self,
        *,
        order: Callable[[Part], int],
        key: Callable[[Part], Hashable],
        requests_per_peer: int = 1,
        lacking_per_peer: int = 4096,
    ) -> None:
        self._order, self._key = order, key
        self._requests_per_peer, self._lacking_per_peer = requests_per_peer, lacking_per_peer
        self._fresh: deque[Part] = deque()
        self._returned: list[tuple[int, int, Part]] = []
        self._returns = 0
        self._open: dict[int, Reservation[Part]] = {}
        self._open_of_peer: dict[PeerId, int] = {}
        self._lacking: dict[PeerId, dict[Hashable, None]] = {}
        self.in_flight = 0
        """Parts that an open request asks for."""
        self.done = 0
        """Parts that arrived and were accepted."""

    def __contains__(self, request_id: int) -> bool:
        return request_id in self._open

    @property
    def pending(self) -> int:
        """Parts nobody is asked for."""
        return len(self._fresh) + len(self._returned)

    @property
    def open_requests(self) -> int:
        return len(self._open)

    def has_room(self, peer: PeerId) -> bool:
        """Whether `peer` may get one more request."""
        return self._open_of_peer.get(peer, 0) < self._requests_per_peer

    def oldest_request_at(self) -> float | None:
        """When the request that expires first was sent."""
        return next(iter(self._open.values())).asked_at if self._open else None

    def first_pending(self) -> Part | None:
        """The part that is reserved next."""
        if self._returned:
            return self._returned[0][2]
        return self._fresh[0] if self._fresh else None

    def schedule(self, parts: Iterable[Part]) -> None:
        """Add parts. Caller's duty: each is higher in order than all before."""
        self._fresh.extend(parts)

    def schedule_unordered(self, parts: Iterable[Part]) -> None:
        """Add parts of any order. Caller's duty: never to `schedule` in the same queue."""
        self._give_back(parts)

    def reserve(self, request_id: int, peer: PeerId, count: int, now: float) -> Reservation[Part] | None:
        """Take up to `count` parts that `peer` is not known to lack; None when there are none for it.

        Caller's duty: `now` never goes back, and no request id is used twice.
        """
        if not self.has_room(peer):
            return None
        lacking = self._lacking.get(peer)
        parts = self._take_unlacked(count, lacking) if lacking else self._take(count)
        if not parts:
            return None
        reservation = Reservation(request_id, peer, parts, now)
        self._open[request_id] = reservation
        self._open_of_peer[peer] = self._open_of_peer.get(peer, 0) + 1
        self.in_flight += len(parts)
        return reservation

    def reservation(self, request_id: int) -> Reservation[Part] | None:
        """What an open request asks for; None when it is not (or no longer) open."""
        return self._open.get(request_id)

    def complete(self, request_id: int, missing: Sequence[Part]) -> None:
        """Close a request. Its `missing` parts are pending again, all its others are done."""
        reservation = self._close(request_id)
        self.done += len(reservation.parts) - len(missing)
        self._give_back(missing)

    def cancel(self, request_id: int) -> Reservation[Part]:
        """Close a request that brought nothing; all its parts are pending again."""
        reservation = self._close(request_id)
        self._give_back(reservation.parts)
        return reservation

    def expire(self, asked_until: float) -> list[Reservation[Part]]:
        """Cancel every request sent at or before `asked_until`; oldest first."""
        expired = []
        for reservation in self._open.values():
            if reservation.asked_at > asked_until:
                break
            expired.append(reservation)
        for reservation in expired:
            self.cancel(reservation.request_id)
        return expired

    def revoke(self, peer: PeerId) -> None:
        """Cancel all requests to a peer that is gone, and forget what it lacked."""
        self._lacking.pop(peer, None)
        if peer in self._open_of_peer:
            for reservation in [held for held in self._open.values() if held.peer == peer]:
                self.cancel(reservation.request_id)

    def mark_lacking(self, peer: PeerId, parts: Iterable[Part]) -> None:
        """Do not ask `peer` for these again."""
        lacking = self._lacking.setdefault(peer, {})
        for part in parts:
            lacking[self._key(part)] = None
        while len(lacking) > self._lacking_per_peer:
            del lacking[next(iter(lacking))]

    def lacking_count(self, peer: PeerId) -> int:
        return len(self._lacking.get(peer, ()))

    def _take(self, count: int) -> list[Part]:
        parts: list[Part] = []
        while self._returned and len(parts) < count:
            parts.append(heapq.heappop(self._returned)[2])
        fresh = self._fresh
        parts.extend([fresh.popleft() for _ in range(min(count - len(parts), len(fresh)))])
        return parts

    def _take_unlacked(self, count: int, lacking: dict[Hashable, None]) -> list[Part]:
        parts: list[Part] = []
        skipped: list[Part] = []
        while len(parts) < count and len(skipped) < LACKING_SCAN and self.pending:
            part = heapq.heappop(self._returned)[2] if self._returned else self._fresh.popleft()
            (skipped if self._key(part) in lacking else parts).append(part)
        self._give_back(skipped)
        return parts

    def _close(self, request_id: int) -> Reservation[Part]:
        reservation = self._open.pop(request_id)
        self.in_flight -= len(reservation.parts)
        left = self._open_of_peer[reservation.peer] - 1
        if left:
            self._open_of_peer[reservation.peer] = left
        else:
            del self._open_of_peer[reservation.peer]
        return reservation

    def _give_back(self, parts: Iterable[Part]) -> None:
        for part in parts:
            self._returns += 1
            heapq.heappush(self._returned, (self._order(part), self._returns, part))
