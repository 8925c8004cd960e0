"""Addresses that go on calling however often they are refused. Pure: callers pass `now`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from typing import Final

WINDOW_S: Final = 1.0

DIVERT_AFTER: Final = 40
"""Refusals in a window: a program that waits as long as it is told has a handful, one that hammers has hundreds."""

CALM_S: Final = 2.0
"""A diverted address is let back when it has been calm for so long; also what its clients are told to wait."""

MOST_WATCHED: Final = 1024
"""Addresses whose refusals are counted."""

MOST_DIVERTED: Final = 64
"""Each is looked for in every connection that is opened. More are refused one call at a time."""


class Offenders:
    """Whose new connections are led past gRPC, and for how long."""

    def __init__(self, calm_per_second: float) -> None:
        """So many calls a second are calm: as many as a client may make."""
        self._calm_calls = calm_per_second * CALM_S
        self._refusals: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._diverted: dict[str, tuple[float, int]] = {}

    @property
    def diverted(self) -> Collection[str]:
        return self._diverted.keys()

    def refused(self, address: str, now: float) -> bool:
        """Count a refusal by gRPC; whether the address is to be diverted from now on."""
        began, count = self._refusals.get(address, (now, 0))
        if now - began >= WINDOW_S:
            began, count = now, 0
        self._refusals[address] = (began, count + 1)
        self._refusals.move_to_end(address)
        if len(self._refusals) > MOST_WATCHED:
            self._refusals.popitem(last=False)
        if count + 1 < DIVERT_AFTER or address in self._diverted or len(self._diverted) >= MOST_DIVERTED:
            return False
        del self._refusals[address]
        self._diverted[address] = (now, 0)
        return True

    def called(self, address: str, calls: int) -> None:
        """Count calls of a diverted address."""
        if address in self._diverted:
            began, count = self._diverted[address]
            self._diverted[address] = (began, count + calls)

    def release(self, now: float) -> list[str]:
        """The addresses that have calmed down, which are diverted no more. Call it every second or so."""
        calm = []
        for address, (began, count) in list(self._diverted.items()):
            if now - began < CALM_S:
                continue
            if count <= self._calm_calls:
                del self._diverted[address]
                calm.append(address)
            else:
                self._diverted[address] = (now, 0)
        return calm
