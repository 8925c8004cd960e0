"""All connections of a gateway: accepted, dialled, supervised, ended."""

from __future__ import annotations

import asyncio
import os
from typing import Final

from services.peer_gateway.core.connection import Connection
from services.peer_gateway.core.connection_config import ConnectionConfig, LocalNode
from services.peer_gateway.edges.parts import Parts
from services.peer_gateway.edges.peer_session import PeerSession
from services.peer_gateway.edges.tcp import PeerSocket
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import PeerId

GOODBYES_S: Final = 2.0
"""How long all peers together may take to be told that we quit."""


class Connections:
    """Gives every connection its task, and bounds how many strangers may shake hands at once."""

    def __init__(self, parts: Parts, local: LocalNode, tasks: asyncio.TaskGroup) -> None:
        self._parts, self._local, self._tasks = parts, local, tasks
        self._config = ConnectionConfig(
            handshake_timeout_s=parts.config.handshake_timeout,
            frame_timeout_s=parts.config.read_timeout,
            ping_interval_s=parts.config.ping_interval,
        )
        self._running: dict[PeerSession, asyncio.Task[None]] = {}
        self._is_closing = False

    def accept(self) -> PeerSocket:
        """The protocol of the next inbound connection."""
        return self._session(None).socket

    async def dial(self, node: Enode, timeout_s: float) -> None:
        """Connect to a node; returns once it has joined or was refused. Raises OSError or TimeoutError."""
        session = self._session(node.node_id)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(timeout_s):
            await loop.create_connection(lambda: session.socket, node.host, node.tcp_port)
        await session.settled.wait()

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
        metrics = self._parts.metrics
        if self._is_closing or (session.inbound and self._pending_in() >= self._parts.config.pending_peers):
            metrics.refused.labels("closing" if self._is_closing else "pending").inc()
            session.settled.set()
            session.socket.abort()
            return
        task = self._tasks.create_task(session.run(), name="peer")
        self._running[session] = task
        connections = metrics.connections.labels("in" if session.inbound else "out")
        connections.inc()

        def on_done(_: asyncio.Task[None]) -> None:
            del self._running[session]
            connections.dec()

        task.add_done_callback(on_done)

    def _pending_in(self) -> int:
        return sum(1 for session in self._running if session.inbound and not session.settled.is_set())
