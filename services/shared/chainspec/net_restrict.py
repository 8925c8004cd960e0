"""The networks that a gateway keeps to, when it is told to."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Sequence
from typing import Self

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@functools.lru_cache(maxsize=4096)
def parse_host(host: str) -> Address | None:
    """The address a host text is, IPv4 in IPv6 taken out; None for a name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


class NetRestrict:
    """The only networks we have to do with; `--netrestrict`."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = tuple(networks)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `CIDR[,CIDR]`. Raises ValueError that names the entry."""
        networks = []
        for entry in (part.strip() for part in text.split(",")):
            try:
                networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                raise ValueError(f"{entry!r} is not a network such as 10.0.0.0/8 or fd00::/8") from None
        return cls(networks)

    def __str__(self) -> str:
        return ",".join(map(str, self._networks))

    def allows(self, host: str) -> bool:
        """Whether this address is in one of the networks; a name is in none, as nobody knows what it resolves to."""
        address = parse_host(host)
        return address is not None and any(address in network for network in self._networks)
