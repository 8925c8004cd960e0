"""Reports that a gateway may send twice, because it cannot know whether the first one arrived."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Final

NUMBERS_KEPT: Final = 512
"""Of each gateway, the newest: twice what it keeps for another try."""


class ReadOnce:
    """Tells by its number whether a gateway's report is new."""

    def __init__(self) -> None:
        self._read: defaultdict[str, deque[int]] = defaultdict(lambda: deque(maxlen=NUMBERS_KEPT))

    def is_new(self, gateway_id: str, number: int) -> bool:
        """True the first time."""
        read = self._read[gateway_id]
        if number in read:
            return False
        read.append(number)
        return True
