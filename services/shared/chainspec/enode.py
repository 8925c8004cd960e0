"""Enode URLs: `enode://<128 hex digits>@<host>:<TCP port>[?discport=<UDP port>]` (geth's node URLs)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlsplit

from services.shared.ethwire.types import PeerId

MAX_PORT: Final = 65_535

_FIELD_PRIME: Final = 2**256 - 2**32 - 977
"""The field of secp256k1: a node id is a point (x, y) with y² = x³ + 7 in it."""

_LABEL: Final = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?")


class EnodeInvalid(ValueError):
    """A text that is not a usable enode URL; says which part is wrong."""

    def __init__(self, url: str, problem: str) -> None:
        shown = url if len(url) <= 200 else f"{url[:200]}…"
        super().__init__(f"{shown!r} is not an enode URL: {problem}")
        self.url, self.problem = url, problem


@dataclass(frozen=True, slots=True)
class Enode:
    """A node's identity and where to reach it. `str()` gives the URL."""

    node_id: PeerId
    host: str
    tcp_port: int
    udp_port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        discovery = "" if self.udp_port == self.tcp_port else f"?discport={self.udp_port}"
        return f"enode://{self.node_id.hex()}@{host}:{self.tcp_port}{discovery}"


def parse_enode(url: str) -> Enode:
    """Read one enode URL. Raises EnodeInvalid."""
    try:
        parts = urlsplit(url.strip())
        query = parse_qs(parts.query, keep_blank_values=True)
    except ValueError as error:
        raise EnodeInvalid(url, str(error)) from error
    if parts.scheme != "enode":
        raise EnodeInvalid(url, "it does not start with enode://")
    if not parts.netloc or parts.path or parts.fragment:
        raise EnodeInvalid(url, "it is not of the form enode://ID@HOST:PORT")
    node_text, at, _ = parts.netloc.rpartition("@")
    if not at:
        raise EnodeInvalid(url, "it has no address (…@HOST:PORT)")
    node_id = _parse_node_id(url, node_text)
    host = _parse_host(url, parts.hostname)
    try:
        tcp_port = parts.port
    except ValueError as error:
        raise EnodeInvalid(url, "its port is not a number from 0 to 65535") from error
    if tcp_port is None:
        raise EnodeInvalid(url, "it has no port")
    return Enode(node_id, host, tcp_port, _parse_discport(url, query, tcp_port))


def _parse_node_id(url: str, text: str) -> PeerId:
    if not re.fullmatch("[0-9a-fA-F]{128}", text):
        raise EnodeInvalid(url, "its node id is not 128 hex digits")
    node_id = bytes.fromhex(text)
    x, y = int.from_bytes(node_id[:32]), int.from_bytes(node_id[32:])
    if x >= _FIELD_PRIME or y >= _FIELD_PRIME or (y * y - x**3 - 7) % _FIELD_PRIME:
        raise EnodeInvalid(url, "its node id is not a public key of secp256k1")
    return PeerId(node_id)


def _parse_host(url: str, host: str | None) -> str:
    if not host:
        raise EnodeInvalid(url, "it has no host")
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        if not _HOST_NAME.fullmatch(host):
            raise EnodeInvalid(url, f"{host!r} is neither an IP address nor a host name") from None
        return host


def _parse_discport(url: str, query: dict[str, list[str]], tcp_port: int) -> int:
    given = query.get("discport")
    if given is None:
        return tcp_port
    if not re.fullmatch("[0-9]{1,5}", given[0]) or int(given[0]) > MAX_PORT:
        raise EnodeInvalid(url, "its discport is not a number from 0 to 65535")
    return int(given[0])
