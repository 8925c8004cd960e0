"""The UDP port: carries a `Discovery`, and owns its timer."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Iterable
from typing import Any, Protocol, assert_never, cast

from services.peer_gateway.core.addresses import UdpAddress, kind_of
from services.peer_gateway.core.discovery import Discovery
from services.peer_gateway.core.discovery_actions import (
    Action,
    Dropped,
    EndpointMoved,
    NodesFound,
    Received,
    RecordFound,
    SeedsWanted,
    SendDatagram,
    StoreNode,
)
from services.peer_gateway.metrics import GatewayMetrics


class DiscoveryOwner(Protocol):
    """Who hears what discovery finds."""

    def on_seeds_wanted(self) -> None: ...

    def on_found(self, found: NodesFound) -> None: ...

    def on_store(self, stored: StoreNode) -> None: ...

    def on_moved(self, moved: EndpointMoved) -> None: ...


class DiscoveryPort(asyncio.DatagramProtocol):
    """The asyncio side of one `Discovery`: moves datagrams and keeps time; nothing is decided here."""

    def __init__(self, discovery: Discovery, owner: DiscoveryOwner, metrics: GatewayMetrics) -> None:
        self.discovery = discovery
        self._owner, self._metrics = owner, metrics
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.DatagramTransport | None = None
        self._maps_ipv4 = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)
        self._maps_ipv4 = transport.get_extra_info("socket").family == socket.AF_INET6
        self._arm()

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self.carry(self.discovery.receive(data, _plain_address(addr), self._loop.time()))

    def error_received(self, exc: Exception) -> None:
        """Some datagram of ours came back; the silence of its receiver says the same."""
        self._metrics.drop("datagram", "returned")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def carry(self, actions: Iterable[Action]) -> None:
        """Do what discovery says. Whoever calls one of its methods gives the result to this one."""
        for action in actions:
            match action:
                case SendDatagram():
                    self._send(action)
                case Received(kind):
                    self._metrics.discovery_packets.labels("in", kind.__name__).inc()
                case Dropped(cause):
                    self._metrics.drop("datagram", cause.value)
                case SeedsWanted():
                    self._owner.on_seeds_wanted()
                case NodesFound():
                    self._metrics.lookups.labels("found" if action.nodes else "empty").inc()
                    self._owner.on_found(action)
                case StoreNode():
                    self._owner.on_store(action)
                case EndpointMoved():
                    self._owner.on_moved(action)
                case RecordFound():
                    pass  # Only who calls `request_record` wants it, and no part of a gateway does.
                case _:
                    assert_never(action)
        self._arm()

    def _send(self, send: SendDatagram) -> None:
        if self._transport is None:
            return
        host = f"::ffff:{send.address.host}" if self._maps_ipv4 and "." in send.address.host else send.address.host
        try:
            self._transport.sendto(send.datagram, (host, send.address.port))
        except (OSError, ValueError):
            self._metrics.drop("datagram", "not-sent")
        else:
            self._metrics.discovery_packets.labels("out", send.kind.__name__).inc()

    def _arm(self) -> None:
        """Keep one timer, at or before the next wake-up."""
        due = self.discovery.next_wakeup()
        if self._transport is None or (self._timer is not None and self._timer_due <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.carry(self.discovery.on_wakeup(self._loop.time()))


def reachable_from(bound_host: str) -> Callable[[str], bool]:
    """Which hosts a socket bound to this address can send to at all."""
    bound = ipaddress.ip_address(bound_host)

    def can_reach(host: str) -> bool:
        if bound.is_loopback:
            return kind_of(host).is_loopback
        return bound.version == 6 or ":" not in host

    return can_reach


def _plain_address(address: tuple[str | Any, int]) -> UdpAddress:
    """IPv4 as such where a socket for both wraps it, and without the zone of a link-local one."""
    host = str(address[0]).partition("%")[0]
    return UdpAddress(host.removeprefix("::ffff:") if "." in host else host, address[1])
