"""Whose chain is heaviest, at a cost of O(log n) for each change."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import TYPE_CHECKING

from services.shared.ethwire.types import PeerId

if TYPE_CHECKING:
    from services.sync_coordinator.core.peer_set import Peer

Rank = tuple[int, float, PeerId]
"""Total difficulty, negative; when the peer joined; who it is."""


class PeerRanking:
    """A heap of all candidates, whose outdated entries are skipped when they come up.

    Caller's duty: `add` for every peer that joins or whose total difficulty changed. What left, or is being
    disconnected, needs no call.
    """

    def __init__(self, peers: Mapping[PeerId, Peer]) -> None:
        self._peers = peers
        self._heap: list[Rank] = []

    def add(self, peer: Peer) -> None:
        heapq.heappush(self._heap, _rank(peer))
        if len(self._heap) > 64 + 4 * len(self._peers):
            # Outdated entries that never came up: build anew, at a cost spread over as many changes.
            self._heap = [_rank(each) for each in self._peers.values() if each.dismissal is None]
            heapq.heapify(self._heap)

    def best(self) -> Peer | None:
        """The candidate with the most total difficulty; of equals, the one that joined first."""
        while self._heap:
            peer = self._current(self._heap[0])
            if peer is not None:
                return peer
            heapq.heappop(self._heap)
        return None

    def heaviest(self, most: int) -> list[Peer]:
        """The first `most` candidates, in the order in which `best` would choose them."""
        found: dict[PeerId, Peer] = {}
        heap = self._heap
        # The edge of the part of the heap that was seen: the next one in order is on it.
        edge = [(heap[0], 0)] if heap else []
        while edge and len(found) < most:
            rank, at = heapq.heappop(edge)
            peer = self._current(rank)
            if peer is not None:
                found[peer.node_id] = peer
            for child in (2 * at + 1, 2 * at + 2):
                if child < len(heap):
                    heapq.heappush(edge, (heap[child], child))
        return list(found.values())

    def _current(self, rank: Rank) -> Peer | None:
        """The candidate that this entry is about; None when it is outdated."""
        negative, joined_at, node_id = rank
        peer = self._peers.get(node_id)
        if peer is None or peer.dismissal is not None:
            return None
        return peer if (-negative, joined_at) == (peer.total_difficulty, peer.joined_at) else None


def _rank(peer: Peer) -> Rank:
    return -peer.total_difficulty, peer.joined_at, peer.node_id
