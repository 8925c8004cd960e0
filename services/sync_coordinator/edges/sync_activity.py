"""Splits the time of running syncs: is it our own work that a sync waits for, or its peers?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Literal

Activity = Literal["prepare", "wait_for_peer", "handle"]

ACTIVITIES: Final[tuple[Activity, ...]] = ("prepare", "wait_for_peer", "handle")
"""Metric labels."""


class SyncActivity:
    """At each moment one activity runs, or none: then the import works, or no sync runs.

    Replies are handled in `handling`. The downloader calls `prepare_from_here` when it begins to look for what to ask
    next, and whoever carries out what it wants calls `rest` when that is done. Everything happens on one event loop.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._seconds: dict[Activity, float] = dict.fromkeys(ACTIVITIES, 0.0)
        self._current: Activity | None = None
        self._since = 0.0
        self._is_running = self._is_handling = self._waits = False

    def sync_began(self) -> None:
        self._is_running, self._waits = True, False

    def sync_ended(self) -> None:
        self._switch(None)
        self._is_running = False

    @contextmanager
    def handling(self) -> Iterator[None]:
        """Around all that is done with one reply."""
        if not self._is_running:
            yield
            return
        self._is_handling = True
        self._switch("handle")
        try:
            yield
        finally:
            self._is_handling = False
            self._switch(self._idle())

    def prepare_from_here(self) -> None:
        self._switch("prepare")

    def rest(self, *, waits: bool) -> None:
        """Nothing more to ask now. `waits`: requests are open, and the import has nothing to do."""
        self._waits = waits
        self._switch("handle" if self._is_handling else self._idle())

    def read(self) -> Mapping[tuple[str, ...], float]:
        """The seconds so far, by activity, for the metric."""
        self._switch(self._current)
        return {(activity,): seconds for activity, seconds in self._seconds.items()}

    def _idle(self) -> Activity | None:
        return "wait_for_peer" if self._is_running and self._waits else None

    def _switch(self, to: Activity | None) -> None:
        now = self._clock()
        if self._is_running and self._current is not None:
            self._seconds[self._current] += now - self._since
        self._current, self._since = to, now
