"""What became of the announces and whole blocks that peers sent, in numbers."""

from __future__ import annotations

from typing import Literal

Source = Literal["announce", "broadcast"]
Fate = Literal["in", "out", "dropped", "dos"]


class FetcherTally:
    """Everything that comes `in` goes `out` to the import's queue, is `dropped`, is `dos`, or waits or is given up.

    A block that was announced and then came whole is out as what it came as.
    """

    def __init__(self) -> None:
        sources: tuple[Source, ...] = ("announce", "broadcast")
        fates: tuple[Fate, ...] = ("in", "out", "dropped", "dos")
        self.counts: dict[tuple[str, ...], float] = {(source, fate): 0 for source in sources for fate in fates}
        self.header_timeouts = self.body_timeouts = 0
        """Requests that took too long."""

    def add(self, source: Source, fate: Fate) -> None:
        self.counts[source, fate] += 1
