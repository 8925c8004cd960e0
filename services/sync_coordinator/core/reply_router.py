"""Who asked: sends each tagged reply to the one of challenges, fetcher and downloader that waits for it."""

from __future__ import annotations

import enum
import itertools
from collections import defaultdict
from collections.abc import Collection

from services.shared.ethwire.types import PeerId


class Asker(enum.Enum):
    """The parts of the coordinator that ask peers for something."""

    CHALLENGE = "challenge"
    FETCHER = "fetcher"
    DOWNLOADER = "downloader"


class ReplyRouter:
    """Gives out request ids and remembers who holds each until its reply, its loss, or its peer's end.

    An asker that stops waiting need not say so: it gets the late reply and ignores it as stale, and the
    entry goes when the gateway reports the reply or the peer's end.
    """

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._open: dict[int, tuple[Asker, PeerId]] = {}
        self._by_peer: defaultdict[PeerId, set[int]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._open)

    def next_id(self) -> int:
        """A request id never given before; it routes nowhere until `asked`."""
        return next(self._ids)

    def asked(self, request_id: int, asker: Asker, peer: PeerId) -> None:
        self._open[request_id] = (asker, peer)
        self._by_peer[peer].add(request_id)

    def take(self, request_id: int, peer: PeerId) -> Asker | None:
        """The asker this reply is for, once; None when nobody asked that peer for it (any more)."""
        entry = self._open.get(request_id)
        if entry is None or entry[1] != peer:
            return None
        self._forget(request_id, peer)
        return entry[0]

    def lost(self, request_id: int) -> Asker | None:
        """Like `take`, for a request that will never be answered."""
        entry = self._open.get(request_id)
        if entry is None:
            return None
        self._forget(request_id, entry[1])
        return entry[0]

    def peer_left(self, peer: PeerId) -> Collection[int]:
        """Forget what the peer held; returns which requests that were."""
        held = self._by_peer.pop(peer, set())
        for request_id in held:
            del self._open[request_id]
        return held

    def _forget(self, request_id: int, peer: PeerId) -> None:
        del self._open[request_id]
        waiting = self._by_peer[peer]
        waiting.discard(request_id)
        if not waiting:
            del self._by_peer[peer]
