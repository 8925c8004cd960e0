"""Which addresses may be dialled and may connect, and how often."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from services.shared.chainspec.net_restrict import Network, parse_host

LAN: Final[Sequence[Network]] = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("127.0.0.0/8", "0.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
        *("::1/128", "fe80::/10", "fc00::/7"),
    )
)
"""Loopback and local networks (RFC 1918, RFC 4193, RFC 4291), as geth's `p2p/netutil` counts them."""

THROTTLE_S: Final = 30.0
"""How long an address waits between two connections to us; shorter than any honest node's redial."""

THROTTLED_ADDRESSES: Final = 16_384
"""Addresses remembered at most: over 500 new ones a second for the whole time, at about 3 MB. Of more, the oldest is
forgotten and may come again early, which costs one handshake."""


def is_lan(host: str) -> bool:
    """Whether this is a loopback or local address. A name is not, whatever it resolves to."""
    address = parse_host(host)
    return address is not None and any(address in network for network in LAN)


def source_of(host: str) -> str:
    """Who counts as one source: an IPv4 address, or the /64 that one IPv6 customer has at least."""
    address = parse_host(host)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address.packed, 64), strict=False))
    return host if address is None else str(address)


class InboundThrottle:
    """Turns away an address that connects more than once in `THROTTLE_S`; loopback and local ones are exempt.

    A refused attempt does not lengthen the wait, so that a node behind it that keeps trying is let in again.
    """

    def __init__(self, most: int = THROTTLED_ADDRESSES) -> None:
        self._most = most
        self._until: OrderedDict[str, float] = OrderedDict()
        """In the order of their ends, since every wait is equally long."""

    def __len__(self) -> int:
        return len(self._until)

    def admits(self, host: str, now: float) -> bool:
        """Decide on one connection; an admitted one counts from here on."""
        if is_lan(host):
            return True
        while self._until and next(iter(self._until.values())) <= now:
            self._until.popitem(last=False)
        source = source_of(host)
        if source in self._until:
            return False
        if len(self._until) >= self._most:
            self._until.popitem(last=False)
        self._until[source] = now + THROTTLE_S
        return True
