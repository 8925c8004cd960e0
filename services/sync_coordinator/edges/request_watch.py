"""Measures what peers are asked for: how many requests are open, and how long each kind takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal

from services.sync_coordinator.core.capacity import DownloadPeers, PartKind
from services.sync_coordinator.core.fetcher_tally import FetcherTally
from services.sync_coordinator.metrics import CoordinatorMetrics

RequestKind = Literal["headers", "bodies", "receipts", "node_data"]
"""What is asked for; the label in metrics."""


KIND_OF_PART: Final[Mapping[PartKind, RequestKind]] = {
    PartKind.HEADERS: "headers",
    PartKind.BODIES: "bodies",
    PartKind.RECEIPTS: "receipts",
    PartKind.STATE: "node_data",
}


class RequestWatch:
    """A request is open from `asked` until one of the others names it; what is not open is no matter."""

    def __init__(self, metrics: CoordinatorMetrics, clock: Callable[[], float] = time.perf_counter) -> None:
        self._metrics, self._clock = metrics, clock
        self._open: dict[int, tuple[RequestKind, float]] = {}

    def asked(self, request_id: int, kind: RequestKind) -> None:
        self._open[request_id] = kind, self._clock()
        self._metrics.requests.labels(kind).inc()
        self._metrics.requests_in_flight.labels(kind).inc()

    def answered(self, request_id: int) -> None:
        """The whole reply is here, also one that nobody waits for any more."""
        entry = self._open.get(request_id)
        if entry is not None:
            kind, asked_at = entry
            self._metrics.request_seconds.labels(kind).observe(self._clock() - asked_at)
            self.lost([request_id])

    def lost(self, request_ids: Iterable[int]) -> None:
        """These will never be answered: they got lost, or their peer is gone."""
        for request_id in request_ids:
            entry = self._open.pop(request_id, None)
            if entry is not None:
                self._metrics.requests_in_flight.labels(entry[0]).dec()


def timeouts(peers: DownloadPeers, fetcher: FetcherTally) -> Mapping[tuple[str, ...], float]:
    """Requests that took too long, by kind, for the metric."""
    counts: dict[tuple[str, ...], float] = {(kind,): peers.timeouts[part] for part, kind in KIND_OF_PART.items()}
    counts["headers",] += fetcher.header_timeouts
    counts["bodies",] += fetcher.body_timeouts
    return counts
