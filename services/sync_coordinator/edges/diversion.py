"""Leads connections of addresses that hammer the operator API past gRPC, to where a refusal costs a tenth.

A call that gRPC for Python refuses costs nearly what an answered one does, a third of a millisecond. So a listener of
our own shares a port with gRPC's, and a filter in the kernel gives it the connections of diverted addresses only; those
on which such an address has hammered are cut. It takes Linux and a literal address; else nothing is diverted. Ports
that ask for a certificate are not shared: who calls there is known by name, and nobody else's calls may keep them out.
Where clients speak TLS and show tokens, the diverted are hung up on.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections import Counter
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, cast

import grpc
import structlog

from services.shared.rpc.error_details import encode_details
from services.shared.runtime.grpc_server import split_address
from services.sync_coordinator.core.diversion_filter import diversion_filter
from services.sync_coordinator.core.offenders import CALM_S, Offenders
from services.sync_coordinator.core.refusing_http2 import NotHttp2, RefusingConnection, refusal_headers
from services.sync_coordinator.edges.connection_cutting import cut
from services.sync_coordinator.edges.shared_port import attach, bind, is_literal
from services.sync_coordinator.metrics import CoordinatorMetrics

BACKLOG: Final = 128
MOST_CONNECTIONS: Final = 32
"""Of all diverted addresses; more are closed at once."""
MOST_OF_ONE: Final = 8
"""Of one address, so that it does not take the places of all."""

READ_PERIOD_S: Final = 0.02
"""Each connection is read so often: what it sent meanwhile is refused together, which costs less."""

RELEASE_PERIOD_S: Final = 0.5
QUEUED_S: Final = 5.0
"""So long after its release an address may have connections here that waited to be taken."""

MOST_STRAYS: Final = 32
"""Connections of addresses that are not diverted. More than chance explains mean that this kernel does not filter."""

REFUSAL: Final = f"this address was refused too often; wait {CALM_S:g} seconds without calls"

_log = structlog.get_logger("diversion")


class Diversion:
    """Order of calls: `open` each address before gRPC listens there, then `run`; `refused` for each refusal."""

    def __init__(self, calls_per_second: float, metrics: CoordinatorMetrics) -> None:
        """`calls_per_second` is what a client may make; 0 is without limit, and nobody is diverted then."""
        self._diverts = sys.platform == "linux" and calls_per_second > 0
        self._metrics = metrics
        self._offenders = Offenders(calls_per_second)
        self._listeners: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        self._ports: set[int] = set()
        self._connections: set[_Refusing] = set()
        self._open_of: Counter[str] = Counter()
        self._strays = 0
        self._calmed: dict[str, float] = {}
        status = grpc.StatusCode.RESOURCE_EXHAUSTED
        details = encode_details(status, REFUSAL, reason="CLIENT_DIVERTED", facts={}, retry_after_s=CALM_S)
        self._answer = refusal_headers(status.value[0], REFUSAL, details)

    def open(self, address: str) -> str:
        """Listen on `host:port` beside gRPC, which is to share the port; the address with the port that was bound.

        Where the system does not let us, the address comes back as it is, and is gRPC's alone.
        """
        host, port = split_address(address)
        if not self._diverts or not is_literal(host):
            return address
        try:
            listener = bind(host, port)
        except OSError as problem:
            self._give_up(problem)
            return address
        bound = int(listener.getsockname()[1])
        self._listeners.append(listener)
        try:
            listener.listen(BACKLOG)
            listener.setblocking(False)
            attach(listener, diversion_filter(()))
        except OSError as problem:
            # The port is free now, also one that was chosen for us.
            self._give_up(problem)
            return address
        self._ports.add(bound)
        return f"{address.rpartition(':')[0]}:{bound}"

    async def run(self) -> None:
        """Refuse what is diverted, and let those back that have calmed down."""
        loop = asyncio.get_running_loop()
        try:
            try:
                for listener in list(self._listeners):
                    self._servers.append(await loop.create_server(lambda: _Refusing(self), sock=listener))
            except OSError as problem:
                self._give_up(problem)
            self._filter()
            while True:
                await asyncio.sleep(RELEASE_PERIOD_S)
                self._release(loop.time())
        finally:
            self.close()

    def close(self) -> None:
        """Every connection is gRPC's from now on."""
        self._diverts = False
        for connection in list(self._connections):
            connection.close()
        for server in self._servers:
            server.close()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    def refused(self, client: str, peer: str) -> None:
        """gRPC has refused a call of `client` on its connection `peer`, both as the guard names them."""
        family, _, address = client.partition(":")
        if not self._listeners or family not in ("ipv4", "ipv6"):
            return
        is_known = address in self._offenders.diverted
        peers = self._offenders.refused(address, peer, asyncio.get_running_loop().time())
        if not peers:
            return
        if not is_known:
            self._filter()
            _log.warning("client diverted", address=address, why="it calls on, however often it is refused")
        if self._listeners:
            cut(peers, self._ports)

    # Of connections

    def opened(self, connection: _Refusing, address: str) -> bool:
        """Whether it may stay."""
        if address not in self._offenders.diverted:
            if address not in self._calmed:
                self._stray()
            return False
        if len(self._connections) >= MOST_CONNECTIONS or self._open_of[address] >= MOST_OF_ONE:
            return False
        self._connections.add(connection)
        self._open_of[address] += 1
        return True

    def closed(self, connection: _Refusing) -> None:
        if connection in self._connections:
            self._connections.remove(connection)
            self._open_of -= Counter((connection.address,))

    def called(self, address: str, calls: int) -> None:
        self._offenders.called(address, calls)
        self._metrics.rpc_refused.labels("any", "client_diverted").inc(calls)

    @property
    def answer(self) -> bytes:
        return self._answer

    def _release(self, now: float) -> None:
        self._calmed = {address: since for address, since in self._calmed.items() if now - since < QUEUED_S}
        calm = set(self._offenders.release(now))
        self._calmed |= dict.fromkeys(calm, now)
        if not calm:
            return
        self._filter()
        for connection in list(self._connections):
            if connection.address in calm:
                connection.close()
        for address in calm:
            _log.info("client diverted no more", address=address)

    def _filter(self) -> None:
        program = diversion_filter(map(_network, self._offenders.diverted))
        try:
            for listener in self._listeners:
                attach(listener, program)
        except OSError as problem:
            self._give_up(problem)

    def _give_up(self, problem: OSError) -> None:
        _log.warning("clients are not diverted", why=problem.strerror or str(problem))
        self.close()

    def _stray(self) -> None:
        self._strays += 1
        if self._strays == MOST_STRAYS:
            _log.warning("clients are not diverted any more", why="connections come here that the filter gives to gRPC")
            self.close()


class _Refusing(asyncio.Protocol):
    """One diverted connection."""

    def __init__(self, diversion: Diversion) -> None:
        self._diversion = diversion
        self._http2 = RefusingConnection(diversion.answer)
        self._transport: asyncio.Transport | None = None
        self.address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop has transports of its own.
        self._transport = cast("asyncio.Transport", transport)
        far_end = transport.get_extra_info("peername")
        if far_end is None:
            # It is gone already.
            self._transport.abort()
            return
        self.address = address_key(str(far_end[0]))
        if not self._diversion.opened(self, self.address):
            self._transport.abort()

    def data_received(self, content: bytes) -> None:
        assert self._transport is not None
        try:
            answer, calls = self._http2.receive(content)
        except NotHttp2:
            self._transport.abort()
            return
        self._transport.write(answer)
        if calls:
            self._diversion.called(self.address, calls)
        self._transport.pause_reading()
        asyncio.get_running_loop().call_later(READ_PERIOD_S, self._read_on)

    def pause_writing(self) -> None:
        # It sends and does not read.
        self.close()

    def _read_on(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, problem: Exception | None) -> None:
        self._diversion.closed(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def address_key(host: str) -> str:
    """An address as clients are counted by: of IPv6 its first four words, as the guard has them."""
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            return ":".join(f"{(int(address) >> shift) & 0xFFFF:x}" for shift in (112, 96, 80, 64))
        address = address.ipv4_mapped
    return str(address)


def _network(key: str) -> IPv4Address | IPv6Address:
    return IPv4Address(key) if "." in key else IPv6Address(f"{key}::")
