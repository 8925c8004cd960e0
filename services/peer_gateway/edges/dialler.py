"""Carries out the dial schedule."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable

from blocksync.v1 import gateway_link_pb2 as wire

from services.peer_gateway.core.dial_plan import Dial, DialKind, DialPlan, DialResult
from services.peer_gateway.core.dial_schedule import DialSchedule
from services.peer_gateway.core.events import Disconnected
from services.peer_gateway.core.former_peers import FINAL_REASONS, FormerPeer
from services.peer_gateway.edges.connections import Connections
from services.peer_gateway.edges.parts import Parts
from services.peer_gateway.edges.peer_memory import PeerMemory
from services.peer_gateway.edges.roster import JoinedPeer
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import PeerId
from services.shared.runtime.logs import get_log


class Dialler:
    """Owns the schedule's timer; one task for each dial under way. Discovery offers its finds here."""

    def __init__(self, schedule: DialSchedule, connections: Connections, memory: PeerMemory, parts: Parts) -> None:
        self._schedule, self._connections, self._memory, self._parts = schedule, connections, memory, parts
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._log = get_log("dialler")

    def set_plan(self, plan: DialPlan) -> None:
        """Dial by this plan from now on."""
        for node in self._schedule.set_plan(plan):
            self._log.warning("a static node is not dialled: --netrestrict does not allow it", node=str(node))
            self._tell_failure(node, "--netrestrict of the gateway does not allow this address")
        self._changed.set()

    def offer(self, nodes: Iterable[Enode]) -> None:
        """Nodes that discovery found."""
        self._schedule.offer(nodes, self._loop.time())
        self._changed.set()

    def wanted(self, now: float) -> int:
        """How many nodes more discovery should find."""
        return self._schedule.wanted(now)

    def on_connected(self, node_id: PeerId, peer: JoinedPeer) -> None:
        details = peer.details()
        self._schedule.on_connected(node_id, inbound=details.inbound or details.was_inbound)

    def on_disconnected(self, node_id: PeerId, end: Disconnected) -> None:
        self._schedule.on_disconnected(node_id)
        self._changed.set()

    def on_banned(self, node_id: PeerId, ban_s: float) -> None:
        """Keep away from a node that is not static for so long."""
        self._schedule.ban(node_id, self._loop.time() + ban_s)

    async def run(self, former: Iterable[FormerPeer], *, after_s: float = 0.0) -> None:
        """Dial what is due until cancelled, the peers of before the restart first; nobody in the first `after_s`."""
        self._schedule.add_former(former, self._loop.time(), time.time())
        await asyncio.sleep(after_s)
        async with asyncio.TaskGroup() as dials:
            while True:
                self._changed.clear()
                for dial in self._schedule.due(self._loop.time()):
                    dials.create_task(self._dial(dial), name="dial")
                await self._wait(self._schedule.next_wakeup())

    async def _wait(self, until: float | None) -> None:
        try:
            async with asyncio.timeout_at(until):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _dial(self, dial: Dial) -> None:
        node, result = dial.node, DialResult.FAILED
        self._memory.on_dial(node)
        if dial.kind is DialKind.FORMER:
            self._parts.standing.former[node.node_id] = dial
        try:
            end = await self._connections.dial(node, self._parts.config.dial_timeout)
            result = _result_of(end)
            self._parts.metrics.dials.labels(dial.kind.value, "connected").inc()
        except (OSError, TimeoutError) as problem:
            self._parts.metrics.dials.labels(dial.kind.value, "unreachable").inc()
            why = in_words(problem)
            # Most nodes that discovery finds are gone or full: only what an operator asked for is worth a line.
            say = self._log.info if dial.kind is DialKind.STATIC else self._log.debug
            say("dial failed", node=node.node_id.hex()[:16], address=f"{node.host}:{node.tcp_port}", why=why)
            if dial.kind is DialKind.STATIC:
                self._tell_failure(node, why)
        finally:
            self._parts.standing.former.pop(node.node_id, None)
            if self._schedule.on_dial_ended(node.node_id, result, self._loop.time()):
                self._memory.forget(node.node_id)
            self._changed.set()

    def _tell_failure(self, node: Enode, why: str) -> None:
        failed = wire.DialFailed(enode=str(node), explanation=why)
        self._parts.coordinator.tell(wire.ControlRequest(dial_failed=failed))


def _result_of(end: Disconnected | None) -> DialResult:
    if end is None:
        return DialResult.JOINED
    if end.by_us and end.offence is Offence.ALREADY_CONNECTED:
        return DialResult.HELD
    return DialResult.REFUSED_FOR_GOOD if end.reason in FINAL_REASONS else DialResult.FAILED


def in_words(problem: OSError) -> str:
    """Why a connection could not be opened."""
    if isinstance(problem, TimeoutError):
        return "no answer in time"
    # The loop puts the address into the text, which is told already; the number says what went wrong.
    if problem.errno is not None and problem.errno > 0:
        return os.strerror(problem.errno).lower()
    return (problem.strerror or str(problem)).lower()
