"""How many peers lack a block at each of several broadcasters, so that one fan-out is shared out over all of them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class PlaceInRow(NamedTuple):
    """One broadcaster's place: peers that lack the block at those before it, and at all of them."""

    broadcaster: str
    lacking_before: int
    lacking_everywhere: int


class LackingCounts:
    """The last count of each broadcaster stands where it does not answer in time. One that takes no block has none."""

    def __init__(self, broadcasters: Sequence[str], rng: random.Random) -> None:
        self._rng = rng
        self._last = dict.fromkeys(broadcasters, 0)

    def on_count(self, broadcaster: str, lacking: int) -> None:
        self._last[broadcaster] = lacking

    def row(self, counted: Mapping[str, int]) -> list[PlaceInRow]:
        """Every broadcaster's place for one block, in an order by chance: where shares are rounded, each gains in turn.

        `counted` are those that answered.
        """
        for broadcaster, lacking in counted.items():
            self.on_count(broadcaster, lacking)
        order = list(self._last)
        self._rng.shuffle(order)
        everywhere, before = sum(self._last.values()), 0
        places: list[PlaceInRow] = []
        for broadcaster in order:
            places.append(PlaceInRow(broadcaster, before, everywhere))
            before += self._last[broadcaster]
        return places
