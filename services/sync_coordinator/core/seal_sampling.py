"""Which seals of a header batch are checked where not all are."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from services.shared.ethwire.types import Header

STRIDE: Final = 100
"""One header of each so many is checked, at random (geth `fsHeaderCheckFrequency`): forging a few in between
pays nothing, since the last of a batch is always checked and descends from them."""

FORCED_BELOW_PIVOT: Final = 24
"""A batch that ends above the pivot less so many blocks has every seal checked (geth `fsHeaderForceVerify`)."""


def sample(headers: Sequence[Header], rng: random.Random, pivot: int | None) -> list[Header]:
    """The headers of one linked batch whose seals are checked, in number order. Without a pivot none are forced."""
    if not headers or (pivot is not None and headers[-1].number + FORCED_BELOW_PIVOT > pivot):
        return list(headers)
    last = len(headers) - 1
    chosen = {start + rng.randrange(STRIDE) for start in range(0, len(headers) - STRIDE + 1, STRIDE)}
    return [headers[index] for index in sorted(chosen | {last})]
