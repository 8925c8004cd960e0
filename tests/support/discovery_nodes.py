"""Single discovery nodes on loopback UDP, with all of discovery but no gateway around it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry

from services.peer_gateway.core.connection_config import LocalNode
from services.peer_gateway.core.discovery import Discovery, DiscoverySettings
from services.peer_gateway.edges.listener import bind
from services.peer_gateway.edges.node_finder import NodeFinder
from services.peer_gateway.metrics import GatewayMetrics
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.types import PeerId
from tests.support.wire import local_node

HOST: Final = "127.0.0.1"


@dataclass
class Candidates:
    """A sink that wants so many nodes, all the time, and keeps what it is offered."""

    wants: int = 0
    offered: dict[PeerId, Enode] = field(default_factory=dict)

    def wanted(self, now: float) -> int:
        return self.wants

    def offer(self, nodes: Iterable[Enode]) -> None:
        self.offered.update({node.node_id: node for node in nodes})


@dataclass
class Running:
    """One node with its socket."""

    local: LocalNode
    enode: Enode
    finder: NodeFinder
    sink: Candidates
    registry: CollectorRegistry

    @property
    def discovery(self) -> Discovery:
        assert self.finder.discovery is not None
        return self.finder.discovery

    @property
    def known(self) -> set[PeerId]:
        if self.finder.discovery is None:
            return set()
        return {known.node.node_id for known in self.discovery.table}

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"peer_gateway_{name}", labels) or 0.0


@contextlib.asynccontextmanager
async def running_node(
    name: str, boot_nodes: Iterable[Enode] = (), *, wants: int = 0, datadir: Path | None = None, port: int = 0
) -> AsyncIterator[Running]:
    with contextlib.closing(bind(HOST, port, with_udp=True)) as ports:
        assert ports.udp is not None
        number = ports.udp.getsockname()[1]
        local = local_node(name, listen_port=number)
        sink, registry = Candidates(wants), CollectorRegistry()
        settings = DiscoverySettings(boot_nodes=tuple(boot_nodes), store_after_s=0.0)
        finder = NodeFinder(local, settings, sink, datadir, GatewayMetrics(registry))
        task = asyncio.create_task(finder.run(ports.udp))
        try:
            yield Running(local, Enode(local.node_id, HOST, number, number), finder, sink, registry)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
