"""The last connections that ended, over all gateways."""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from services.shared.ethwire.connection_stage import Stage
from services.shared.ethwire.disconnect_reason import DisconnectReason
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import PeerId

DISCONNECTS_KEPT: Final = 1000
"""Enough for hours of daily life, about 1 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedConnection:
    """One connection that is over: with whom, how far it came, who ended it and for what."""

    node_id: PeerId
    gateway_id: str
    client_name: str = ""
    remote_address: str = ""
    inbound: bool = False
    static: bool = False
    trusted: bool = False
    stage: Stage
    reason: DisconnectReason | None
    by_us: bool
    offence: Offence
    explanation: str = ""
    eth_version: int = 0
    connected_s: float = 0.0
    ban_s: float = 0.0
    unix_time_ms: int = 0


class DisconnectFilter(NamedTuple):
    """Which of them are wanted; what is None does not matter."""

    node_id: PeerId | None = None
    by_us: bool | None = None
    offence: Offence | None = None

    def lets_through(self, ended: EndedConnection) -> bool:
        return (
            self.node_id in (None, ended.node_id)
            and self.by_us in (None, ended.by_us)
            and self.offence in (None, ended.offence)
        )


class DisconnectLog:
    """A ring of the newest, and counts of all since the start."""

    def __init__(self, kept: int = DISCONNECTS_KEPT) -> None:
        self._newest: deque[EndedConnection] = deque(maxlen=kept)
        self.counts: Counter[tuple[Offence, bool]] = Counter()
        """How many ended for an offence, by us (True) or by them."""

    def add(self, ended: EndedConnection) -> None:
        self._newest.append(ended)
        self.counts[ended.offence, ended.by_us] += 1

    def newest(self, wanted: DisconnectFilter, limit: int | None = None) -> Iterator[EndedConnection]:
        """Those that are wanted, newest first."""
        return itertools.islice(filter(wanted.lets_through, reversed(self._newest)), limit)
