"""How many datagrams are looked at: each costs two signatures, and whoever sends them pays nothing."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from services.peer_gateway.core.address_rules import source_of
from services.peer_gateway.core.addresses import kind_of

DATAGRAMS_PER_S: Final = 1_000.0
"""Of everybody together: about a quarter of a processor. Kademlia traffic of a busy node is tens a second."""

DATAGRAMS_AT_ONCE: Final = 1_000.0
"""A burst that is taken whole."""

HOST_DATAGRAMS_PER_S: Final = 20.0
"""Of one host, or the /64 that one customer has; loopback and LAN are exempt, whole networks may run there."""

HOST_DATAGRAMS_AT_ONCE: Final = 60.0

HOSTS_KEPT: Final = 4_096
"""Hosts whose rate is remembered; the one heard of longest ago is forgotten first."""


@dataclass(slots=True)
class _Allowance:
    """What may still come, growing with time up to a limit."""

    left: float
    at: float

    def take(self, now: float, per_s: float, most: float) -> bool:
        self.left = min(most, self.left + (now - self.at) * per_s)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class ArrivalGate:
    """Turns away what comes too fast, a single host's first.

    A host that we wait for, of our own accord, is not held up by the others: source addresses can be forged, and a
    flood of them would silence every node that we know, one by one, until the table is empty.
    """

    def __init__(self) -> None:
        self._everybody = _Allowance(DATAGRAMS_AT_ONCE, at=0.0)
        self._hosts: OrderedDict[str, _Allowance] = OrderedDict()

    def admits(self, host: str, now: float, *, is_asked: bool = False) -> bool:
        """Whether to look at one more datagram of this host. `is_asked`: it owes us an answer."""
        if not kind_of(host).is_lan:
            if not self._host(source_of(host), now).take(now, HOST_DATAGRAMS_PER_S, HOST_DATAGRAMS_AT_ONCE):
                return False
            if is_asked:
                return True
        return self._everybody.take(now, DATAGRAMS_PER_S, DATAGRAMS_AT_ONCE)

    def _host(self, host: str, now: float) -> _Allowance:
        allowance = self._hosts.setdefault(host, _Allowance(HOST_DATAGRAMS_AT_ONCE, now))
        self._hosts.move_to_end(host)
        if len(self._hosts) > HOSTS_KEPT:
            self._hosts.popitem(last=False)
        return allowance
