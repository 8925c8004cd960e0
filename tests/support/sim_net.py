"""A network in virtual time."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class SimNet:
    """A seeded clock with events: same seed, same run, to the last event."""

    seed: int
    now: float = 0.0
    rng: random.Random = field(init=False)
    trace: list[str] = field(default_factory=list)
    """What happened, for comparing runs."""

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, when: float, happen: Callable[[], None]) -> None:
        """Let something happen at `when`; things of the same moment happen in the order they were planned."""
        self._count += 1
        heapq.heappush(self._queue, (when, self._count, happen))

    def send(
        self, deliver: Callable[[], None], *, loss: float = 0.0, latency: tuple[float, float] = (0.01, 0.2)
    ) -> None:
        """Deliver after a random latency, or never."""
        if self.rng.random() >= loss:
            self.at(self.now + self.rng.uniform(*latency), deliver)

    def run_until(self, end: float) -> None:
        """Let everything happen up to and including `end`."""
        self.run_while(lambda: bool(self._queue) and self._queue[0][0] <= end)
        self.now = max(self.now, end)

    def run_while(self, wanted: Callable[[], bool]) -> None:
        """Let things happen, one at a time, while `wanted` says so and there are any."""
        while self._queue and wanted():
            when, _, happen = heapq.heappop(self._queue)
            self.now = max(self.now, when)
            happen()

    def log(self, event: str) -> None:
        self.trace.append(f"{self.now:.6f} {event}")
