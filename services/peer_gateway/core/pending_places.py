"""Who may shake hands while places for it are scarce (50 pending handshakes each way)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final, Generic, NamedTuple, TypeVar

from services.peer_gateway.core.address_rules import source_of

Connection = TypeVar("Connection")

FAIR_SHARE: Final = 4
"""A source that holds more than one place in so many gives way to others. Half-open connections of one address then
keep nobody else out, and an address that hides many peers (a load balancer) may still use every free place."""


class Verdict(NamedTuple, Generic[Connection]):
    """Whether a newcomer has a place, and which connection must end for it."""

    is_taken: bool
    evicted: Connection | None = None


class PendingPlaces(Generic[Connection]):
    """The inbound connections that have not finished their handshakes.

    When all places are taken, a newcomer gets that of the oldest connection of the source that holds the most,
    if that is another one and holds more than its fair share.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._source_of: dict[Connection, str] = {}
        self._of_source: dict[str, OrderedDict[Connection, None]] = {}

    def __len__(self) -> int:
        return len(self._source_of)

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._source_of)

    def take(self, connection: Connection, host: str) -> Verdict[Connection]:
        """Ask for a place for a new connection. Caller's duty: end the evicted one; its place is free already."""
        source = source_of(host)
        evicted = None
        if len(self._source_of) >= self._places:
            evicted = self._gives_way_to(source)
            if evicted is None:
                return Verdict(is_taken=False)
            self.release(evicted)
        self._source_of[connection] = source
        self._of_source.setdefault(source, OrderedDict())[connection] = None
        return Verdict(is_taken=True, evicted=evicted)

    def release(self, connection: Connection) -> None:
        """The handshakes are over, well or not. One without a place is passed over."""
        source = self._source_of.pop(connection, None)
        if source is not None:
            held = self._of_source[source]
            del held[connection]
            if not held:
                del self._of_source[source]

    def _gives_way_to(self, newcomer: str) -> Connection | None:
        source, held = max(self._of_source.items(), key=lambda item: len(item[1]))
        if source == newcomer or len(held) * FAIR_SHARE <= self._places:
            return None
        return next(iter(held))
