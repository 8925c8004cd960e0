"""Which of two listeners of one port takes a connection, as a program for the kernel (classic BPF).

The kernel runs it for each new connection of a group of sockets that share a port (SO_REUSEPORT): the answer is the
index of the one that takes it, in the order in which they began to listen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

OURS, GRPCS = 0, 1
"""Our own socket listens first."""

NETWORK_HEADER: Final = 0xFFF00000
"""Where loads from the IP header begin (SKF_NET_OFF)."""

LOAD_WORD, LOAD_BYTE, SHIFT_RIGHT, JUMP_IF_EQUAL, RETURN = 0x20, 0x30, 0x74, 0x15, 0x06

IPV4_SOURCE: Final = NETWORK_HEADER + 12
IPV6_SOURCE: Final = NETWORK_HEADER + 8


class Instruction(NamedTuple):
    """As in struct sock_filter: the jumps count instructions that are left out."""

    code: int
    if_true: int
    if_false: int
    value: int


def diversion_filter(addresses: Iterable[IPv4Address | IPv6Address]) -> list[Instruction]:
    """Connections of these addresses are ours, of an IPv6 one those of its /64 too; all others are gRPC's."""
    wanted = list(addresses)
    ipv4 = [Instruction(LOAD_WORD, 0, 0, IPV4_SOURCE)]
    ipv6: list[Instruction] = []
    for address in wanted:
        if isinstance(address, IPv4Address):
            ipv4 += _ours_if_equal(int(address))
        else:
            ipv6 += _ours_if_network(int(address))
    rest = Instruction(RETURN, 0, 0, GRPCS)
    version = [Instruction(LOAD_BYTE, 0, 0, NETWORK_HEADER), Instruction(SHIFT_RIGHT, 0, 0, 4)]
    return [*version, Instruction(JUMP_IF_EQUAL, len(ipv4) + 1, 0, 6), *ipv4, rest, *ipv6, rest]


def _ours_if_equal(address: int) -> Iterator[Instruction]:
    yield Instruction(JUMP_IF_EQUAL, 0, 1, address)
    yield Instruction(RETURN, 0, 0, OURS)


def _ours_if_network(address: int) -> Iterator[Instruction]:
    yield Instruction(LOAD_WORD, 0, 0, IPV6_SOURCE)
    yield Instruction(JUMP_IF_EQUAL, 0, 3, address >> 96)
    yield Instruction(LOAD_WORD, 0, 0, IPV6_SOURCE + 4)
    yield Instruction(JUMP_IF_EQUAL, 0, 1, (address >> 64) & 0xFFFFFFFF)
    yield Instruction(RETURN, 0, 0, OURS)
