"""The two streams to the coordinator."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, assert_never

import grpc.aio
from blocksync.v1 import gateway_link_pb2 as wire
from blocksync.v1 import gateway_link_pb2_grpc

from services.peer_gateway.edges.link import CriticalOutbox, LinkKeeper, LinkLost, responses
from services.peer_gateway.metrics import GatewayMetrics
from services.shared.rpc.errors import InvalidRequest
from services.shared.rpc.outbox import Outbox
from services.shared.runtime.logs import get_log

CONTROL_QUEUE_BYTES: Final = 4 * 1024 * 1024
"""What may wait on Control: about ten thousand events of peers."""


DISCONNECTS_KEPT: Final = 256
"""Ends of connections that are kept for a coordinator that is away, about 100 KB; of more, the newest are. A restart
takes seconds, in which a gateway turns fewer peers away."""

GOODBYE_S: Final = 0.5
"""How long what waits on Control may take to be read when we stop."""


class BulkLimits(NamedTuple):
    """What may wait on Bulk, and how long a message waits for room before it is dropped."""

    queue_bytes: int
    patience_s: float


class CoordinatorCommands(Protocol):
    """What the coordinator tells a gateway. None of these waits: a reader never awaits a write."""

    def on_local_status(self, status: wire.LocalStatus) -> None: ...

    def on_peer_request(self, request: wire.PeerRequest, session: int) -> None: ...

    def on_drop_peer(self, command: wire.DropPeer) -> None: ...

    def on_dial_plan(self, plan: wire.DialPlan) -> None: ...


class _Session:
    """The queues of one connection to the coordinator. They die with it: the next one starts from a snapshot."""

    def __init__(self, number: int, bulk_queue_bytes: int) -> None:
        self.number = number
        self.control: CriticalOutbox[wire.ControlRequest] = CriticalOutbox(CONTROL_QUEUE_BYTES)
        self.bulk: Outbox[wire.BulkRequest] = Outbox(bulk_queue_bytes)
        self.has_status = asyncio.Event()
        self.ended = asyncio.Event()

    def close(self) -> None:
        self.control.close()
        self.bulk.close()


class CoordinatorLink:
    """Keeps both streams open, and knows what must survive their loss.

    That is the admissions that are still asked for, and the ends of connections, which no snapshot tells.
    """

    def __init__(
        self, channel: grpc.aio.Channel, keeper: LinkKeeper, metrics: GatewayMetrics, limits: BulkLimits
    ) -> None:
        self._stub = gateway_link_pb2_grpc.GatewayLinkServiceStub(channel)
        self._keeper, self._limits = keeper, limits
        self._session: _Session | None = None
        self._numbers = itertools.count(1)
        self._tickets = itertools.count(1)
        self._admissions: dict[int, tuple[wire.AdmitPeer, asyncio.Future[wire.AdmitVerdict]]] = {}
        self._unread: deque[wire.PeerDisconnected] = deque(maxlen=DISCONNECTS_KEPT)
        # A restarted gateway must not begin with numbers that the coordinator has just read.
        self._disconnect_numbers = itertools.count(secrets.randbits(48))
        self._metrics = metrics
        self._up = asyncio.Event()
        self._log = get_log("coordinator-link")
        metrics.watch_queue("control", lambda: self._session.control.outbox.bytes_queued if self._session else 0)
        metrics.watch_queue("bulk", lambda: self._session.bulk.bytes_queued if self._session else 0)

    @property
    def session(self) -> int:
        """The number of this session of the link; 0 while there is none."""
        return self._session.number if self._session is not None else 0

    def is_current(self, session: int) -> bool:
        """Whether this session of the link still lasts."""
        return self._session is not None and self._session.number == session

    async def wait_up(self) -> None:
        await self._up.wait()

    async def run(self, hello: Callable[[], wire.GatewayHello], commands: CoordinatorCommands) -> None:
        """Keep the link open until cancelled. `hello` takes the snapshot that starts each session."""
        await self._keeper.keep_open(lambda: self._run_session(hello, commands))

    def tell(self, message: wire.ControlRequest) -> None:
        """Send on Control. While the link is down nothing is kept: the next snapshot says it all."""
        if self._session is not None:
            self._session.control.put(message, message.ByteSize())

    def tell_disconnect(self, message: wire.PeerDisconnected) -> None:
        """Send on Control, and again after the next snapshot unless it is known by then that it was read.

        What is queued on a session dies with it, and a link may be dead for a while before we know.
        """
        message.number = next(self._disconnect_numbers)
        self.tell(wire.ControlRequest(peer_disconnected=message))
        is_up = self._session is not None and self._session.has_status.is_set()
        if not is_up and len(self._unread) == DISCONNECTS_KEPT:
            self._metrics.drop("disconnect", "coordinator-away")
        self._unread.append(message)

    def _on_disconnect_read(self, number: int) -> None:
        while self._unread and self._unread[0].number <= number:
            self._unread.popleft()

    async def say_goodbye(self) -> None:
        """End the session once the coordinator has read what waits on Control, or after a moment."""
        session = self._session
        if session is None or not session.has_status.is_set():
            return
        session.control.outbox.close()
        try:
            async with asyncio.timeout(GOODBYE_S):
                await session.ended.wait()
        except TimeoutError:
            self._log.debug("the coordinator did not read all")

    async def admit(self, request: wire.AdmitPeer) -> wire.AdmitVerdict:
        """Ask for a place; waits for the coordinator, and asks again where it restarted. The ticket is set here."""
        request.ticket = next(self._tickets)
        answer: asyncio.Future[wire.AdmitVerdict] = asyncio.get_running_loop().create_future()
        self._admissions[request.ticket] = (request, answer)
        try:
            self.tell(wire.ControlRequest(admit_peer=request))
            return await answer
        finally:
            del self._admissions[request.ticket]

    async def deliver(self, message: wire.BulkRequest, session: int | None = None, *, unread_s: float = 0.0) -> bool:
        """Send on Bulk, waiting a while for room; False when it was dropped.

        The wait is the shorter the longer the peer's socket was not read already, so that it is not unread
        for longer than the patience.
        A reply names the session its request came in: a restarted coordinator counts anew, so what the
        one before asked for must not reach it.
        """
        current = self._session
        if current is None or not current.has_status.is_set() or session not in (None, current.number):
            return False
        size = message.ByteSize()
        if current.bulk.put(message, size):
            return True
        try:
            async with asyncio.timeout(max(0.0, self._limits.patience_s - unread_s)):
                while not current.bulk.put(message, size):
                    if current.bulk.is_closed:
                        return False
                    await current.bulk.wait_below(max(1, self._limits.queue_bytes - size + 1))
        except TimeoutError:
            return False
        return True

    async def _run_session(self, hello: Callable[[], wire.GatewayHello], commands: CoordinatorCommands) -> None:
        session = _Session(next(self._numbers), self._limits.queue_bytes)
        greeting = hello()
        session.control.put(wire.ControlRequest(hello=greeting), greeting.ByteSize())
        session.bulk.put(wire.BulkRequest(hello=wire.BulkHello(gateway_id=greeting.gateway_id)), 0)
        for message in self._unread:
            again = wire.ControlRequest(peer_disconnected=message)
            session.control.put(again, again.ByteSize())
        # After these: whoever was banned meanwhile must not be admitted.
        for request, _ in self._admissions.values():
            session.control.put(wire.ControlRequest(admit_peer=request), request.ByteSize())
        # From here on, what happens to peers is queued behind the snapshot.
        self._session = session
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._control(session, commands), name="coordinator-control")
                tasks.create_task(self._bulk(session), name="coordinator-bulk")
                tasks.create_task(session.control.fail_when_cut(), name="coordinator-control-queue")
        finally:
            self._session = None
            self._up.clear()
            session.close()
            session.ended.set()

    async def _control(self, session: _Session, commands: CoordinatorCommands) -> None:
        call = self._stub.Control(session.control.outbox)
        try:
            async for message in responses(call):
                try:
                    self._on_control(session, message, commands)
                except InvalidRequest as problem:
                    raise LinkLost(f"the coordinator broke the contract: {problem}") from problem
        finally:
            call.cancel()

    async def _bulk(self, session: _Session) -> None:
        # Only once Control is accepted, so that Bulk never arrives first.
        await session.has_status.wait()
        call = self._stub.Bulk(session.bulk)
        try:
            async for _ in responses(call):
                pass
        finally:
            call.cancel()

    def _on_control(self, session: _Session, message: wire.ControlResponse, commands: CoordinatorCommands) -> None:
        match kind := message.WhichOneof("content"):
            case "local_status":
                commands.on_local_status(message.local_status)
                if not session.has_status.is_set():
                    session.has_status.set()
                    self._up.set()
                    self._keeper.came_up()
            case "admit_verdict":
                self._on_verdict(message.admit_verdict)
            case "peer_request":
                commands.on_peer_request(message.peer_request, session.number)
            case "drop_peer":
                commands.on_drop_peer(message.drop_peer)
            case "disconnect_read":
                self._on_disconnect_read(message.disconnect_read.number)
            case "dial_plan":
                commands.on_dial_plan(message.dial_plan)
            case None:
                self._log.warning("the coordinator said something this gateway does not know")
            case _:
                assert_never(kind)

    def _on_verdict(self, verdict: wire.AdmitVerdict) -> None:
        asked = self._admissions.get(verdict.ticket)
        if asked is not None and not asked[1].done():
            asked[1].set_result(verdict)
