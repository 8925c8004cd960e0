"""How much each peer is asked for at once: its measured throughput times the round trip aimed at.

The rules are those of geth 1.8, `eth/downloader/peer.go`.
"""

from __future__ import annotations

import enum
import itertools
import random
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from services.shared.ethwire.types import PeerId
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.round_trip import RoundTripEstimate

MEASUREMENT_IMPACT: Final = 0.1
"""Weight of one reply in a peer's moving averages."""

GUESSED_FROM: Final = 16
"""Peers that a newcomer's speed is guessed from: more would not change the guess, only what a join costs."""

_SHORTEST_REPLY_S: Final = 1e-9
"""A reply in no time at all counts as this long."""


class PartKind(enum.IntEnum):
    """What a request asks for. Each peer has one throughput per kind."""

    HEADERS = 0
    BODIES = 1
    RECEIPTS = 2
    STATE = 3


OLDEST_ETH_VERSION: Final[Mapping[PartKind, int]] = {
    PartKind.HEADERS: 62,
    PartKind.BODIES: 62,
    PartKind.RECEIPTS: 63,
    PartKind.STATE: 63,
}
"""Peers of an earlier version have no message to ask for a kind."""


class PeerCapacity:
    """One peer's measured speed."""

    __slots__ = ("eth_version", "peer", "rtt_s", "throughput")

    def __init__(self, peer: PeerId, eth_version: int, rtt_s: float, throughput: list[float]) -> None:
        self.peer, self.eth_version = peer, eth_version
        self.rtt_s = rtt_s
        self.throughput = throughput
        """Parts per second, by kind."""

    def measure(self, kind: PartKind, delivered: int, elapsed_s: float) -> None:
        """Learn from a reply; nothing delivered brings the peer back to the smallest batches."""
        if not delivered:
            self.throughput[kind] = 0.0
            return
        elapsed_s = max(elapsed_s, _SHORTEST_REPLY_S)
        self.throughput[kind] += MEASUREMENT_IMPACT * (delivered / elapsed_s - self.throughput[kind])
        self.rtt_s += MEASUREMENT_IMPACT * (elapsed_s - self.rtt_s)

    def parts(self, kind: PartKind, target_s: float, most: int) -> int:
        """How many parts to ask for: always one more than measured, so that growth shows, and at least two."""
        return int(min(1 + max(1.0, self.throughput[kind] * target_s), most))


class DownloadPeers:
    """Every peer the downloader may ask. Lives as long as the coordinator; one sync after another uses it.

    While a sync runs, tell the downloader of joins and leaves instead: it passes them on to here.
    """

    def __init__(self, config: DownloaderConfig) -> None:
        self._peers: dict[PeerId, PeerCapacity] = {}
        self._paused_until: dict[PeerId, float] = {}
        self.timeouts = dict.fromkeys(PartKind, 0)
        """Requests of all syncs that took too long, by kind."""
        self.round_trip = RoundTripEstimate(
            rtt_min_s=config.rtt_min_s, rtt_max_s=config.rtt_max_s, timeout_max_s=config.request_timeout_max_s
        )

    def __len__(self) -> int:
        return len(self._peers)

    def __iter__(self) -> Iterator[PeerCapacity]:
        return iter(self._peers.values())

    def get(self, peer: PeerId) -> PeerCapacity | None:
        return self._peers.get(peer)

    def join(self, peer: PeerId, eth_version: int) -> None:
        """Add a peer, guessed to be as fast as the others are on average; a known one stays as it is."""
        if peer in self._peers:
            return
        some = list(itertools.islice(self._peers.values(), GUESSED_FROM))
        sums = [0.0] * len(PartKind)
        for known in some:
            sums = [total + rate for total, rate in zip(sums, known.throughput, strict=True)]
        rtt_s = self.round_trip.median_s([known.rtt_s for known in some])
        self._peers[peer] = PeerCapacity(peer, eth_version, rtt_s, [total / max(len(some), 1) for total in sums])
        self.round_trip.on_peer_joined(len(self._peers))

    def leave(self, peer: PeerId) -> None:
        self._peers.pop(peer, None)
        self._paused_until.pop(peer, None)

    def reset(self) -> None:
        """Forget what each peer delivered: a new sync starts with small batches. Round trips stay."""
        for known in self._peers.values():
            known.throughput = [0.0] * len(PartKind)
        self._paused_until.clear()

    def pause(self, peer: PeerId, until: float) -> None:
        """Ask `peer` for nothing before `until`."""
        if peer in self._peers:
            self._paused_until[peer] = until

    def is_paused(self, peer: PeerId) -> bool:
        return peer in self._paused_until

    @property
    def any_paused(self) -> bool:
        return bool(self._paused_until)

    def on_time(self, now: float) -> None:
        """Let pauses and estimates follow the clock; cheap when nothing is due."""
        if self._paused_until:
            self._paused_until = {peer: until for peer, until in self._paused_until.items() if until > now}
        due = self.round_trip.next_tuning
        if due is None or now >= due:
            self.round_trip.tune(self._round_trips(), now)

    def next_wakeup(self) -> float | None:
        """When `on_time` has something to do; None before its first call."""
        due = self.round_trip.next_tuning
        return due if due is None else min([due, *self._paused_until.values()])

    def capacity(self, kind: PartKind) -> float:
        """Parts a second that all peers together were measured to deliver in the running or last sync."""
        return sum([known.throughput[kind] for known in self._peers.values()])

    def fastest_first(self, kind: PartKind, rng: random.Random) -> list[PeerCapacity]:
        """All peers that serve `kind` and are not paused, by their throughput of it; equal ones in random order."""
        oldest = OLDEST_ETH_VERSION[kind]
        peers: Iterable[PeerCapacity] = [known for known in self._peers.values() if known.eth_version >= oldest]
        if self._paused_until:
            peers = [known for known in peers if known.peer not in self._paused_until]
        return sorted(peers, key=lambda known: (-known.throughput[kind], rng.random()))

    def _round_trips(self) -> list[float]:
        return [known.rtt_s for known in self._peers.values()]
