"""Which addresses are whose: the local ones, the neighbourhoods, and what a stranger may tell us about.

Hosts are IP addresses in the standard library's text form; nothing here resolves a name.
"""

from __future__ import annotations

import functools
import ipaddress
from typing import Final, NamedTuple

from services.peer_gateway.core.address_rules import is_lan

SUBNET_BITS: Final = 24
"""Addresses that share this many leading bits count as one owner's when nodes are limited (geth `table.go`)."""

_CACHED_HOSTS: Final = 4096
"""Hosts whose kind is remembered; strangers can make us forget, not grow."""


class UdpAddress(NamedTuple):
    """Where a datagram comes from or goes to."""

    host: str
    port: int


class HostKind(NamedTuple):
    """What decides how much a host is believed."""

    is_loopback: bool
    is_lan: bool
    """Loopback counts as LAN."""
    is_usable: bool
    """One machine can be reached there, at least by somebody."""


@functools.lru_cache(_CACHED_HOSTS)
def kind_of(host: str) -> HostKind:
    """The kind of an IP address; what is none is neither local nor usable."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return HostKind(is_loopback=False, is_lan=False, is_usable=False)
    unusable = address.is_unspecified or address.is_multicast or (address.version == 4 and address.packed[0] >= 240)
    return HostKind(address.is_loopback, is_lan(host), not unusable)


@functools.lru_cache(_CACHED_HOSTS)
def subnet_of(host: str) -> str:
    """The neighbourhood of a host: its first `SUBNET_BITS` bits."""
    return str(ipaddress.ip_network((host, SUBNET_BITS), strict=False))


def may_tell_of(speaker: str, host: str) -> bool:
    """Whether `speaker` may send us to `host` (geth `netutil.CheckRelayIP`).

    A stranger from the Internet must not make us knock at machines of our own network.
    """
    told, teller = kind_of(host), kind_of(speaker)
    if told.is_loopback:
        return told.is_usable and teller.is_loopback
    return told.is_usable and (not told.is_lan or teller.is_lan)


def address_text(packed: bytes) -> str:
    """The address that 4 or 16 bytes are, an IPv4 one where IPv6 only wraps it; empty for any other length."""
    if len(packed) not in (4, 16):
        return ""
    address = ipaddress.ip_address(packed)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def packed_address(host: str) -> bytes:
    """The 4 or 16 bytes of an IP address; none for what is no address."""
    try:
        return ipaddress.ip_address(host).packed
    except ValueError:
        return b""
