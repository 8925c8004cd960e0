"""Carries a `Diagnosis` over DNS, TCP and the clock."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import Final, cast

from services.peer_gateway.core.diagnosis import Diagnosis
from services.peer_gateway.core.verdicts import Report, Step, Unreachable
from services.peer_gateway.edges.dialler import in_words
from services.shared.chainspec.enode import Enode

GOODBYE_S: Final = 1.0
"""How long our last words may take to be sent."""

NO_ROUTE: Final = frozenset(
    {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL, errno.EACCES}
)


class DoctorSocket(asyncio.Protocol):
    """The asyncio side of a diagnosis, from the open socket to the closed one."""

    def __init__(self, diagnosis: Diagnosis, on_steps: Callable[[], None]) -> None:
        self._diagnosis, self._on_steps = diagnosis, on_steps
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.over: asyncio.Future[None] = self._loop.create_future()
        """Done once there is a report and the socket is closed."""

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self.over.done()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        host, port = transport.get_extra_info("peername")[:2]
        self._diagnosis.connected(address_text(str(host), int(port)), self._loop.time())
        self.carry()

    def data_received(self, received: bytes) -> None:
        self._diagnosis.receive_data(received, self._loop.time())
        self.carry()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._diagnosis.receive_eof(self._loop.time())
        self.carry()
        if not self.over.done():
            self.over.set_result(None)

    def carry(self) -> None:
        """Send what is queued, tell what is new, keep the timer, and close once it is over."""
        assert self._transport is not None
        unsent = self._diagnosis.data_to_send()
        if unsent and not self._transport.is_closing():
            self._transport.write(unsent)
        self._on_steps()
        if self._timer is not None:
            self._timer.cancel()
        due = self._diagnosis.next_wakeup()
        self._timer = None if due is None else self._loop.call_at(due, self._on_timer)
        if self._diagnosis.report is not None and not self._transport.is_closing():
            self._transport.close()
            self._loop.call_later(GOODBYE_S, self._transport.abort)

    def _on_timer(self) -> None:
        self._diagnosis.on_wakeup(self._loop.time())
        self.carry()


class Doctor:
    """One diagnosis being carried out; `on_step` hears of each step as it ends."""

    def __init__(self, diagnosis: Diagnosis, node: Enode, dial_s: float, on_step: Callable[[Step], None]) -> None:
        self._diagnosis, self._node, self._dial_s, self._on_step = diagnosis, node, dial_s, on_step
        self._loop = asyncio.get_running_loop()
        self._socket = DoctorSocket(diagnosis, self._tell)

    async def run(self) -> Report:
        """Dial, and follow it to its end. Cancelled, it takes leave of the peer and reports that."""
        self._diagnosis.start(self._loop.time())
        try:
            if await self._open():
                await self._socket.over
        except asyncio.CancelledError:
            self._diagnosis.interrupt(self._loop.time())
            if self._socket.is_open:
                self._socket.carry()
                await self._socket.over
        self._tell()
        assert self._diagnosis.report is not None, "every end has its report"
        return self._diagnosis.report

    async def _open(self) -> bool:
        """Open the socket to the first address that takes it; False when there is a report instead."""
        node, tried = self._node, ""
        try:
            async with asyncio.timeout(self._dial_s):
                addresses = await self._resolve()
                for last, address in enumerate(addresses, start=1 - len(addresses)):
                    tried = address_text(address, node.tcp_port)
                    try:
                        await self._loop.create_connection(lambda: self._socket, address, node.tcp_port)
                    except OSError:
                        if last == 0:
                            raise
                    else:
                        return True
        except socket.gaierror as problem:
            self._unreachable(Unreachable.NOT_RESOLVED, node.host, str(problem.strerror).lower())
        except TimeoutError:
            late = Unreachable.TIMED_OUT if tried else Unreachable.NOT_RESOLVED
            self._unreachable(late, tried or node.host, "no answer in time")
        except OSError as problem:
            self._unreachable(_kind_of(problem), tried, in_words(problem))
        return False

    async def _resolve(self) -> Sequence[str]:
        """The addresses of the node's host; a name is looked up, and that is a step. Raises OSError."""
        host = self._node.host
        if is_address(host):
            return [host]
        found = await self._loop.getaddrinfo(host, self._node.tcp_port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
        self._diagnosis.resolved(addresses, self._loop.time())
        self._tell()
        return addresses

    def _unreachable(self, problem: Unreachable, where: str, detail: str) -> None:
        self._diagnosis.unreachable(problem, where, detail, self._loop.time())

    def _tell(self) -> None:
        for step in self._diagnosis.take_steps():
            self._on_step(step)


def address_text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_address(host: str) -> bool:
    """Whether it is no name that has to be looked up."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _kind_of(problem: OSError) -> Unreachable:
    if problem.errno == errno.ECONNREFUSED:
        return Unreachable.REFUSED
    if problem.errno == errno.ETIMEDOUT:
        return Unreachable.TIMED_OUT
    return Unreachable.NO_ROUTE if problem.errno in NO_ROUTE else Unreachable.OTHER
