"""Carries out the dial schedule."""

from __future__ import annotations

import asyncio
import os
from typing import Final

from blocksync.v1 import gateway_link_pb2 as wire

from services.peer_gateway.core.dial_schedule import DialSchedule
from services.peer_gateway.edges.connections import Connections
from services.peer_gateway.edges.parts import Parts
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.types import PeerId
from services.shared.runtime.logs import get_log

SIBLINGS_S: Final = 5.0
"""How long nobody is dialled after the coordinator came back: within that time the other gateways are back too
(their attempts are at most 2 s apart, and gRPC's own), and the plan no longer has the nodes that they hold."""


class Dialler:
    """Owns the schedule's timer; one task for each dial under way."""

    def __init__(self, schedule: DialSchedule, connections: Connections, parts: Parts) -> None:
        self._schedule, self._connections, self._parts = schedule, connections, parts
        self._changed = asyncio.Event()
        self._not_before = 0.0
        self._log = get_log("dialler")

    def wake(self) -> None:
        """The schedule may have something due: its plan changed."""
        self._changed.set()

    def hold(self, seconds: float) -> None:
        """Wait with further dials, until the other gateways had their time to report."""
        self._not_before = asyncio.get_running_loop().time() + seconds

    def on_connected(self, node_id: PeerId) -> None:
        self._schedule.on_connected(node_id)

    def on_disconnected(self, node_id: PeerId) -> None:
        self._schedule.on_disconnected(node_id)
        self.wake()

    def on_banned(self, node_id: PeerId, ban_s: float) -> None:
        """Static nodes alone are dialled, and those are never banned."""

    async def run(self) -> None:
        """Dial what is due until cancelled."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as dials:
            while True:
                self._changed.clear()
                if loop.time() < self._not_before:
                    await asyncio.sleep(self._not_before - loop.time())
                    continue
                for node in self._schedule.due(loop.time()):
                    dials.create_task(self._dial(node), name="dial")
                await self._wait(self._schedule.next_wakeup())

    async def _wait(self, until: float | None) -> None:
        try:
            async with asyncio.timeout_at(until):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _dial(self, node: Enode) -> None:
        try:
            await self._connections.dial(node, self._parts.config.dial_timeout)
            self._parts.metrics.dials.labels("connected").inc()
        except (OSError, TimeoutError) as problem:
            self._parts.metrics.dials.labels("unreachable").inc()
            why = in_words(problem)
            self._log.info("dial failed", node=node.node_id.hex()[:16], address=f"{node.host}:{node.tcp_port}", why=why)
            failed = wire.DialFailed(enode=str(node), explanation=why)
            self._parts.coordinator.tell(wire.ControlRequest(dial_failed=failed))
        finally:
            self._schedule.on_dial_ended(node.node_id, asyncio.get_running_loop().time())
            self.wake()


def in_words(problem: OSError) -> str:
    """Why a connection could not be opened."""
    if isinstance(problem, TimeoutError):
        return "no answer in time"
    # The loop puts the address into the text, which is told already; the number says what went wrong.
    if problem.errno is not None and problem.errno > 0:
        return os.strerror(problem.errno).lower()
    return (problem.strerror or str(problem)).lower()
