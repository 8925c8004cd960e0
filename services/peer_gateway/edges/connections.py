"""All connections of a gateway: accepted, dialled, supervised, ended."""

from __future__ import annotations

import asyncio
import os
from typing import Final

from services.peer_gateway.core.address_rules import InboundThrottle
from services.peer_gateway.core.connection import Connection
from services.peer_gateway.core.connection_config import ConnectionConfig, LocalNode
from services.peer_gateway.core.events import Disconnected
from services.peer_gateway.core.pending_places import PendingPlaces
from services.peer_gateway.edges.parts import Parts
from services.peer_gateway.edges.peer_session import PeerSession
from services.peer_gateway.edges.tcp import PeerSocket
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import PeerId

GOODBYES_S: Final = 2.0
"""How long all peers together may take to be told that we quit."""


class Connections:
    """Gives every connection its task, and decides which strangers may shake hands with us.

    What is turned away here has cost us an accepted socket and nothing else. Outbound handshakes are bounded
    by the dial schedule: one is part of its dial.
    """

    def __init__(self, parts: Parts, local: LocalNode, tasks: asyncio.TaskGroup) -> None:
        self._parts, self._local, self._tasks = parts, local, tasks
        self._config = ConnectionConfig(
            handshake_timeout_s=parts.config.handshake_timeout,
            frame_timeout_s=parts.config.read_timeout,
            ping_interval_s=parts.config.ping_interval,
        )
        self._running: dict[PeerSession, asyncio.Task[None]] = {}
        self._restrict = parts.config.net_restrict
        self._throttle = InboundThrottle()
        self._pending: PendingPlaces[PeerSession] = PendingPlaces(parts.config.pending_peers)
        self._is_closing = False
        parts.metrics.watch_send_queues(lambda: sum(session.socket.unsent_bytes for session in self._running))

    def accept(self) -> PeerSocket:
        """The protocol of the next inbound connection."""
        return self._session(None).socket

    async def dial(self, node: Enode, timeout_s: float) -> Disconnected | None:
        """Connect to a node; None once it has joined, or how it was refused. Raises OSError or TimeoutError."""
        session = self._session(node.node_id)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(timeout_s):
            await loop.create_connection(lambda: session.socket, node.host, node.tcp_port)
        await session.settled.wait()
        return session.refused_by

    async def close_all(self) -> None:
        """Tell every peer that we quit, and wait for the sockets to close, for a moment."""
        self._is_closing = True
        for session in list(self._running):
            session.socket.disconnect(Offence.SHUTDOWN, "we shut down")
        tasks = list(self._running.values())
        if tasks:
            await asyncio.wait(tasks, timeout=GOODBYES_S)
        for task in tasks:
            task.cancel()

    def _session(self, remote_id: PeerId | None) -> PeerSession:
        return PeerSession(
            self._parts,
            lambda now: Connection(self._local, remote_id, os.urandom, now, self._config),
            self._on_open,
            inbound=remote_id is None,
        )

    def _on_open(self, session: PeerSession) -> None:
        cause = self._refusal(session)
        if cause is not None:
            self._parts.metrics.refused.labels(cause).inc()
            session.settled.set()
            session.socket.abort()
            return
        task = self._tasks.create_task(session.run(), name="peer")
        self._running[session] = task
        connections = self._parts.metrics.connections.labels("in" if session.inbound else "out")
        connections.inc()

        def on_done(_: asyncio.Task[None]) -> None:
            del self._running[session]
            self._pending.release(session)
            connections.dec()

        task.add_done_callback(on_done)

    def _refusal(self, session: PeerSession) -> str | None:
        """Why a connection is closed before its handshake: a word of a closed set, for the metric."""
        if self._is_closing:
            return "closing"
        if not session.inbound:
            return None
        host, _ = session.socket.remote_address
        if self._restrict is not None and not self._restrict.allows(host):
            return "netrestrict"
        if not self._throttle.admits(host, asyncio.get_running_loop().time()):
            return "throttled"
        return self._take_place(session, host)

    def _take_place(self, session: PeerSession, host: str) -> str | None:
        for other in [other for other in self._pending if other.settled.is_set()]:
            self._pending.release(other)
        verdict = self._pending.take(session, host)
        if verdict.evicted is not None:
            self._parts.metrics.refused.labels("evicted").inc()
            verdict.evicted.socket.abort()
        return None if verdict.is_taken else "pending"
