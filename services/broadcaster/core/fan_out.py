"""How many of the peers that lack a block get all of it at once, and which."""

from __future__ import annotations

import enum
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

PeerT = TypeVar("PeerT")

MIN_SEED_PEERS: Final = 4
"""Fewer full copies than this in a small network, and one slow peer holds the block back."""


class FanOut(enum.Enum):
    """The policies, by the name they have as a flag and in metrics."""

    SEED = "seed"
    """The square root, with a floor of four: this protocol's own rule."""
    SQRT = "sqrt"
    """The square root without a floor, as later proof-of-work clients do it."""
    ALL = "all"
    """Everyone: for small private networks."""


_WANTED: Final[Mapping[FanOut, Callable[[int], int]]] = {
    FanOut.SEED: lambda lacking: max(MIN_SEED_PEERS, math.isqrt(lacking)),
    FanOut.SQRT: math.isqrt,
    FanOut.ALL: lambda lacking: lacking,
}


def fan_out_count(policy: FanOut, lacking: int) -> int:
    """To how many of `lacking` peers a block is propagated."""
    return min(lacking, _WANTED[policy](lacking))


@dataclass(frozen=True, slots=True)
class PlaceInRow:
    """Where several broadcasters send one block: how many peers lack it at those before this one, and at all."""

    lacking_before: int
    lacking_everywhere: int


def share_of(policy: FanOut, lacking: int, place: PlaceInRow | None = None) -> int:
    """To how many of its `lacking` peers this broadcaster sends a block.

    The shares of a row add up to the fan-out over all its peers, as long as all were counted alike.
    """
    if place is None:
        return fan_out_count(policy, lacking)
    everywhere = max(place.lacking_everywhere, place.lacking_before + lacking)
    wanted = fan_out_count(policy, everywhere)
    start, end = place.lacking_before, place.lacking_before + lacking
    return wanted * end // everywhere - wanted * start // everywhere if everywhere else 0


def choose_propagation_peers(
    policy: FanOut, lacking: Sequence[PeerT], rng: random.Random, place: PlaceInRow | None = None
) -> list[PeerT]:
    """Pick who gets the whole block; the rest hear its hash once it is imported."""
    return rng.sample(lacking, k=share_of(policy, len(lacking), place))
