"""How long a request should take, and when it has taken too long (geth `qosTuner` of 1.8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

TUNING_IMPACT: Final = 0.25
"""Weight of a new median in the estimate."""

TUNING_PEERS: Final = 5
"""The best peers, by round trip, that the median is taken of."""

CONFIDENCE_MIN: Final = 0.1
"""Confidence never falls lower: the time-out would lose its meaning."""

CONFIDENCE_PEERS: Final = 10
"""With this many peers one more does not change how well we know them."""

TARGET_SHARE: Final = 0.9
"""Batches aim at this part of the estimate: shorter round trips give a steadier stream."""

TIMEOUT_FACTOR: Final = 3.0
"""A time-out is this many round trips, at full confidence."""

_MAX_CATCH_UP: Final = 32
"""Tunings made up for after an idle time; the estimate has settled by then."""


class RoundTripEstimate:
    """The round trip that requests aim at, tuned once per round trip."""

    def __init__(self, *, rtt_min_s: float, rtt_max_s: float, timeout_max_s: float) -> None:
        self._min_s, self._max_s, self._timeout_max_s = rtt_min_s, rtt_max_s, timeout_max_s
        self._estimate_s = rtt_max_s
        self._tune_at: float | None = None
        self.confidence = 1.0

    @property
    def target_s(self) -> float:
        """The time a batch should take."""
        return self._estimate_s * TARGET_SHARE

    @property
    def timeout_s(self) -> float:
        """The time after which a request is given up."""
        return min(TIMEOUT_FACTOR * self._estimate_s / self.confidence, self._timeout_max_s)

    @property
    def next_tuning(self) -> float | None:
        """When `tune` has work next; None before its first call."""
        return self._tune_at

    def median_s(self, round_trips: Sequence[float]) -> float:
        """The median round trip of the best peers, kept within the limits."""
        if not round_trips:
            return self._max_s
        ranked = sorted(round_trips)
        median = ranked[min(TUNING_PEERS, len(ranked)) // 2]
        return min(max(median, self._min_s), self._max_s)

    def tune(self, round_trips: Sequence[float], now: float) -> None:
        """Move the estimate toward the median, once for each round trip that passed."""
        if self._tune_at is None:
            self._tune_at = now
        if now < self._tune_at:
            return
        median = self.median_s(round_trips)
        for _ in range(_MAX_CATCH_UP):
            self._estimate_s += TUNING_IMPACT * (median - self._estimate_s)
            self.confidence += (1.0 - self.confidence) / 2
            self._tune_at += self._estimate_s
            if now < self._tune_at:
                return
        self._tune_at = now + self._estimate_s

    def on_peer_joined(self, peer_count: int) -> None:
        """Trust the estimate less: the new peer, already counted, may be slower than all others."""
        if peer_count <= 1:
            self.confidence = 1.0
        elif peer_count < CONFIDENCE_PEERS:
            self.confidence = max(self.confidence * (peer_count - 1) / peer_count, CONFIDENCE_MIN)
