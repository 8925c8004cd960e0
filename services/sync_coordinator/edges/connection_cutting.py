"""Closes connections of this process that gRPC has opened."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Collection
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Final

OPEN_FILES: Final = Path("/proc/self/fd")


def cut(peers: Collection[str], ports: Collection[int]) -> None:
    """Close connections to these ports of ours by their far ends, as gRPC names them, such as `ipv4:192.0.2.1:5000`.

    gRPC for Python closes none for us, so they are found among the open files. Without /proc, none are.
    """
    wanted = {peer.replace("%5B", "[").replace("%5D", "]").partition(":")[2] for peer in peers}
    with contextlib.suppress(OSError):
        for entry in list(OPEN_FILES.iterdir()):
            with contextlib.suppress(OSError, ValueError):
                if str(entry.readlink()).startswith("socket:"):
                    _cut_one(int(entry.name), wanted, ports)


def _cut_one(descriptor: int, wanted: Collection[str], ports: Collection[int]) -> None:
    """What is judged and shut is a copy, so that it is one and the same file whatever gRPC closes meanwhile."""
    copy = os.dup(descriptor)
    try:
        connection = socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise
    with connection:
        if connection.family not in (socket.AF_INET, socket.AF_INET6) or connection.getsockname()[1] not in ports:
            return
        if _far_end(connection) in wanted:
            connection.shutdown(socket.SHUT_RDWR)


def _far_end(connection: socket.socket) -> str:
    host, port = connection.getpeername()[:2]
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return f"[{address}]:{port}" if isinstance(address, IPv6Address) else f"{address}:{port}"
