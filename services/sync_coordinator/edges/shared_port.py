"""A listening socket that shares its port with gRPC's, and the kernel's filter between them (Linux only)."""

from __future__ import annotations

import ctypes
import socket
import struct
from ipaddress import ip_address
from typing import Final

from services.sync_coordinator.core.diversion_filter import Instruction

ATTACH_FILTER: Final = 51
"""SO_ATTACH_REUSEPORT_CBPF of Linux, which the socket module does not name."""


def attach(listener: socket.socket, program: list[Instruction]) -> None:
    """Let the program choose among the sockets that share this one's port."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in program))
    listener.setsockopt(socket.SOL_SOCKET, ATTACH_FILTER, struct.pack("HL", len(program), ctypes.addressof(code)))


def is_literal(host: str) -> bool:
    try:
        return not host or bool(ip_address(host))
    except ValueError:
        return False


def bind(host: str, port: int) -> socket.socket:
    """As gRPC binds: a socket of both families where there is IPv6, for only equal sockets share a port."""
    has_ipv6 = _has_ipv6()
    listener = socket.socket(socket.AF_INET6 if has_ipv6 else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if has_ipv6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            host = "::" if not host or int(ip_address(host)) == 0 else host
            host = f"::ffff:{host}" if "." in host else host
        listener.bind((host or "0.0.0.0", port))  # noqa: S104 - the operator's address
    except BaseException:
        listener.close()
        raise
    return listener


def _has_ipv6() -> bool:
    """As gRPC finds out."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
