"""The ports that peers reach us at: TCP, and UDP of the same number."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from typing import Final, NamedTuple

from services.peer_gateway.edges.connections import Connections
from services.shared.runtime.faults import StartRefused

BACKLOG: Final = 128
"""Connections the kernel holds for us while the loop is busy."""

ANY_PORT_TRIES: Final = 16
"""Free TCP ports that are tried until one is free for UDP too."""


class BoundPorts(NamedTuple):
    """Taken, and not used yet. Both have the same number."""

    tcp: socket.socket
    udp: socket.socket | None

    def close(self) -> None:
        self.tcp.close()
        if self.udp is not None:
            self.udp.close()


def bind(host: str, port: int, *, with_udp: bool) -> BoundPorts:
    """Take the ports, so that one in use is told at the start. Raises StartRefused.

    Port 0 is any TCP port whose number is free for UDP too, where that is asked for.
    """
    tries = 1 if port or not with_udp else ANY_PORT_TRIES
    while True:
        tries -= 1
        tcp = _bind(host, port, socket.SOCK_STREAM)
        try:
            return BoundPorts(tcp, _bind(host, tcp.getsockname()[1], socket.SOCK_DGRAM) if with_udp else None)
        except StartRefused:
            tcp.close()
            if not tries:
                raise


def _bind(host: str, port: int, kind: socket.SocketKind) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host or None, port, type=kind, flags=socket.AI_PASSIVE)[
            0
        ]
        taken = socket.socket(family, kind, protocol)
        try:
            if kind is socket.SOCK_STREAM:
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(address)
            taken.setblocking(False)
        except OSError:
            taken.close()
            raise
    except OSError as problem:
        why = (problem.strerror or str(problem)).lower()
        purpose = "listen for peers" if kind is socket.SOCK_STREAM else "search for peers by UDP"
        remedy = _remedy(problem, kind)
        raise StartRefused(f"cannot {purpose} on {host}:{port}: {why}; choose another {remedy}") from problem
    return taken


def _remedy(problem: OSError, kind: socket.SocketKind) -> str:
    if problem.errno not in (errno.EADDRINUSE, errno.EACCES):
        return "--host"
    return "--port" if kind is socket.SOCK_STREAM else "--port, or --nodiscover"


def reachable_host(host: str) -> str:
    """An address for our enode URL: loopback where we listen on every interface."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host or "127.0.0.1"
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


async def listen(taken: socket.socket, connections: Connections) -> asyncio.Server:
    """Start to accept peers on a bound socket."""
    loop = asyncio.get_running_loop()
    try:
        return await loop.create_server(connections.accept, sock=taken, backlog=BACKLOG)
    except OSError as problem:
        raise StartRefused(f"cannot listen for peers: {(problem.strerror or str(problem)).lower()}") from problem
