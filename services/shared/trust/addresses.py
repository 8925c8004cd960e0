"""Which gRPC addresses may be used without TLS."""

from __future__ import annotations

import ipaddress
from typing import Final

UNIX_PREFIX: Final = "unix:"
"""Of sockets that are files. Those of `unix-abstract:` have no owner: whoever comes first has the name."""


def is_unix(address: str) -> bool:
    return address.startswith(UNIX_PREFIX)


def is_local(address: str) -> bool:
    """Whether what is said there stays on this machine: a unix socket, `localhost`, or a loopback address.

    Other names count as elsewhere, whatever they resolve to: what they resolve to may change.
    """
    if is_unix(address):
        return True
    host, colon, _ = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if colon else address
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def plaintext_refusal(flag: str, address: str) -> str | None:
    """Why this address is not used without TLS and `--insecure`, in a line; None where it may be."""
    if is_local(address):
        return None
    if ":" not in address:
        return f"{flag} {address!r} is neither host:port nor unix:/path"
    return (
        f"{flag} {address} is no loopback address, and only those and unix sockets are used without TLS: "
        "give --tls-cert, --tls-key and --tls-ca (`trisync certs` makes them), "
        "or --insecure where the network itself keeps others out"
    )
