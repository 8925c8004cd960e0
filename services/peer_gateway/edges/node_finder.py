"""Finds candidates for dials while some are wanted (geth `p2p/dial.go`, `newTasks`), and remembers nodes."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Protocol

from services.peer_gateway.core.addresses import kind_of
from services.peer_gateway.core.connection_config import LocalNode
from services.peer_gateway.core.discovery import Discovery, DiscoverySettings
from services.peer_gateway.core.discovery_actions import EndpointMoved, NodesFound, StoreNode
from services.peer_gateway.core.discv4_types import Endpoint
from services.peer_gateway.edges.node_database import FILE_NAME, NodeDatabase
from services.peer_gateway.edges.udp import DiscoveryPort, reachable_from
from services.peer_gateway.metrics import GatewayMetrics
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.types import PeerId
from services.shared.runtime.logs import get_log

LOOKUP_INTERVAL_S: Final = 4.0
"""Least time between the starts of two lookups for candidates (geth `lookupInterval`)."""

WANTED_CHECK_S: Final = 1.0
"""How often we ask whether candidates are wanted, when none are."""

LOOKUP_PATIENCE_S: Final = 60.0
"""A lookup takes seconds, one behind a refresh longer; after this it is given up."""

CLOCK_CHECK_S: Final = 60.0
"""How often the wall clock is read, which may be set while we run."""


class CandidateSink(Protocol):
    """Who dials."""

    def wanted(self, now: float) -> int:
        """How many candidates could be used."""

    def offer(self, nodes: Iterable[Enode]) -> None:
        """These nodes have proven that they can be reached; any of them may be known already."""


class NodeFinder:
    """Discovery at work: its port, its memory, and the lookups for whoever wants candidates."""

    def __init__(
        self,
        local: LocalNode,
        settings: DiscoverySettings,
        sink: CandidateSink,
        datadir: Path | None,
        metrics: GatewayMetrics,
    ) -> None:
        """`settings` are those of the user: boot nodes, which may have names, who is allowed, what is advertised."""
        self._local, self._settings, self._sink = local, settings, sink
        self._datadir, self._metrics = datadir, metrics
        self._database: NodeDatabase | None = None
        self.outside: Endpoint | None = None
        """Where other nodes see us, once enough of them agree."""
        self._rng = random.Random()
        self._log = get_log("discovery")
        self._port: DiscoveryPort | None = None
        self._awaited: tuple[PeerId, asyncio.Future[None]] | None = None
        self._seeds_wanted = asyncio.Event()

    async def run(self, bound: socket.socket) -> None:
        """Find and be found on this bound UDP socket, until cancelled."""
        loop = asyncio.get_running_loop()
        host, udp_port = bound.getsockname()[:2]
        boot_nodes = await resolve_nodes(self._settings.boot_nodes)
        discovery = self._make(Endpoint(host, udp_port, self._local.listen_port), boot_nodes, loop.time())
        self._metrics.watch_discovery(lambda: len(discovery.table), lambda: discovery.bond_count)
        if self._datadir is not None:
            self._database = await asyncio.to_thread(NodeDatabase, self._datadir / FILE_NAME)
        try:
            _, port = await loop.create_datagram_endpoint(
                lambda: DiscoveryPort(discovery, self, self._metrics), sock=bound
            )
            self._port = port
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._search(port), name="candidate-search")
                tasks.create_task(self._keep_clock(port), name="discovery-clock")
                tasks.create_task(self._recall(port), name="discovery-seeds")
        finally:
            if self._port is not None:
                self._port.close()
            if self._database is not None:
                await asyncio.to_thread(self._database.close)

    @property
    def discovery(self) -> Discovery | None:
        """The core, once it runs. For reading only."""
        return self._port.discovery if self._port is not None else None

    def on_seeds_wanted(self) -> None:
        self._seeds_wanted.set()

    def on_found(self, found: NodesFound) -> None:
        self._offer(found.nodes)
        if self._awaited is not None and self._awaited[0] == found.target and not self._awaited[1].done():
            self._awaited[1].set_result(None)

    def on_store(self, stored: StoreNode) -> None:
        if self._database is not None:
            self._database.store_node(stored.node, stored.last_pong_unix_s, stored.find_failures)

    def on_moved(self, moved: EndpointMoved) -> None:
        self.outside = moved.endpoint
        self._log.info("other nodes see us here", host=moved.endpoint.host, udp_port=moved.endpoint.udp_port)

    def _make(self, endpoint: Endpoint, boot_nodes: tuple[Enode, ...], now: float) -> Discovery:
        can_reach, allowed = reachable_from(endpoint.host), self._settings.allowed
        settings = dataclasses.replace(
            self._settings,
            boot_nodes=boot_nodes,
            allowed=lambda host: can_reach(host) and allowed(host),
            first_record_seq=int(time.time() * 1000),
            unix_offset_s=time.time() - now,
        )
        return Discovery(self._local.key, endpoint, self._rng, now, settings)

    async def _search(self, port: DiscoveryPort) -> None:
        """Half of what is wanted from the table, the rest from a lookup of a random target, one at a time."""
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            wanted = self._sink.wanted(started)
            if wanted <= 0:
                await asyncio.sleep(WANTED_CHECK_S)
                continue
            self._offer(port.discovery.table.random_nodes(wanted // 2))
            await self._look_up(port)
            await asyncio.sleep(max(0.0, started + LOOKUP_INTERVAL_S - loop.time()))

    async def _look_up(self, port: DiscoveryPort) -> None:
        loop = asyncio.get_running_loop()
        target = PeerId(self._rng.randbytes(64))
        self._awaited = target, loop.create_future()
        port.carry(port.discovery.look_up(target, loop.time()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOKUP_PATIENCE_S):
                await self._awaited[1]
        self._awaited = None

    def _offer(self, nodes: Iterable[Enode]) -> None:
        dialable = [node for node in nodes if node.tcp_port]
        if dialable:
            self._sink.offer(dialable)

    async def _keep_clock(self, port: DiscoveryPort) -> None:
        while True:
            await asyncio.sleep(CLOCK_CHECK_S)
            port.discovery.set_unix_offset(time.time() - asyncio.get_running_loop().time())

    async def _recall(self, port: DiscoveryPort) -> None:
        while True:
            await self._seeds_wanted.wait()
            self._seeds_wanted.clear()
            if self._database is not None:
                seeds = await asyncio.to_thread(self._database.seeds, self._rng)
                port.carry(port.discovery.seed(seeds, asyncio.get_running_loop().time()))


async def resolve_nodes(nodes: Iterable[Enode]) -> tuple[Enode, ...]:
    """The nodes with addresses instead of names; those whose name is not known now are left out, with a line."""
    loop, found = asyncio.get_running_loop(), []
    for node in nodes:
        if kind_of(node.host).is_usable:
            found.append(node)
            continue
        try:
            answers = await loop.getaddrinfo(node.host, node.udp_port, type=socket.SOCK_DGRAM)
            host = str(answers[0][4][0])
        except (OSError, UnicodeError) as problem:
            get_log("discovery").warning("a boot node is left out", host=node.host, why=str(problem))
            continue
        found.append(Enode(node.node_id, host, node.tcp_port, node.udp_port))
    return tuple(found)
