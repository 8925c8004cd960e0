"""The port that peers connect to."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Final

from services.peer_gateway.edges.connections import Connections
from services.shared.runtime.faults import StartRefused

BACKLOG: Final = 128
"""Connections the kernel holds for us while the loop is busy."""


def bind(host: str, port: int) -> socket.socket:
    """Take the port without listening yet, so that one in use is told at the start. Raises StartRefused."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        taken = socket.socket(family, kind, protocol)
        try:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(address)
            taken.setblocking(False)
        except OSError:
            taken.close()
            raise
    except OSError as problem:
        why = (problem.strerror or str(problem)).lower()
        raise StartRefused(f"cannot listen for peers on {host}:{port}: {why}") from problem
    return taken


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
