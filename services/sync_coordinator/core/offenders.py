"""Addresses that go on calling however often they are refused. Pure: callers pass `now`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Set
from typing import Final, NamedTuple

WINDOW_S: Final = 1.0

DIVERT_AFTER: Final = 40
"""Refusals in a window: a program that waits as long as it is told has a handful, one that hammers has hundreds."""

CALM_S: Final = 2.0
"""A diverted address is let back when it has been calm for so long; also what its clients are told to wait."""

MOST_WATCHED: Final = 1024
"""Addresses whose refusals are counted."""

MOST_DIVERTED: Final = 64
"""Each is looked for in every connection that is opened. More are refused one call at a time."""


class _Refusals(NamedTuple):
    """Of one address in the window that has begun then, and the connections that the calls came on."""

    began: float
    calls: int = 0
    peers: frozenset[str] = frozenset()


class Offenders:
    """Whose new connections are led past gRPC, and for how long."""

    def __init__(self, calm_per_second: float) -> None:
        """So many calls a second are calm: as many as a client may make."""
        self._calm_calls = calm_per_second * CALM_S
        self._refusals: OrderedDict[str, _Refusals] = OrderedDict()
        self._diverted: dict[str, tuple[float, int]] = {}

    @property
    def diverted(self) -> Collection[str]:
        return self._diverted.keys()

    def refused(self, address: str, peer: str, now: float) -> Set[str]:
        """Count a call that gRPC has refused on the connection `peer`; once there are too many, the connections to cut.

        Their address is diverted from then on. Only those are told whose calls were refused in this window, so that a
        quiet client of the same address keeps its own.
        """
        entry = self._refusals.get(address, _Refusals(now))
        if now - entry.began >= WINDOW_S:
            entry = _Refusals(now)
        entry = _Refusals(entry.began, entry.calls + 1, entry.peers | {peer})
        self._refusals[address] = entry
        self._refusals.move_to_end(address)
        if len(self._refusals) > MOST_WATCHED:
            self._refusals.popitem(last=False)
        is_known = address in self._diverted
        if entry.calls < DIVERT_AFTER or (len(self._diverted) >= MOST_DIVERTED and not is_known):
            return frozenset()
        del self._refusals[address]
        if not is_known:
            self._diverted[address] = (now, 0)
        return entry.peers

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
