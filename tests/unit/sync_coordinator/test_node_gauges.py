"""Gauges that are read when metrics are collected."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from blocksync.v1 import gateway_link_pb2
from prometheus_client import CollectorRegistry

from services.shared.ethwire.types import PeerId
from services.shared.rpc.outbox import Outbox
from services.sync_coordinator.core.capacity import DownloadPeers
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.peer_set import PeerSet
from services.sync_coordinator.core.sync_actions import SyncMode
from services.sync_coordinator.edges.gateway_links import GatewayLink, GatewayLinks
from services.sync_coordinator.edges.node_gauges import NodeGauges
from services.sync_coordinator.metrics import CoordinatorMetrics
from tests.support.memory_store import MemoryStore


class IdleDriver:
    """A sync driver that has nothing to do."""

    download_peers = DownloadPeers(DownloaderConfig())

    def progress(self) -> None:
        return None

    def our_total_difficulty(self) -> int:
        return 0


def gateway(name: str) -> GatewayLink:
    return GatewayLink(name, PeerId(name.encode() * 64), "", Outbox(1000))


def test_bytes_that_wait_for_all_gateways_are_counted_until_they_are_taken():
    registry, links = CollectorRegistry(), GatewayLinks()
    north, south = gateway("n"), gateway("s")
    drop = gateway_link_pb2.ControlResponse(drop_peer=gateway_link_pb2.DropPeer(node_id=b"m" * 64))

    def waiting() -> float | None:
        return registry.get_sample_value("coordinator_link_queue_bytes", {"queue": "control"})

    async def scenario() -> None:
        driver: Any = IdleDriver()
        store = cast("Any", MemoryStore())
        NodeGauges(SyncMode.FULL, store, PeerSet(9), links, driver).show(CoordinatorMetrics(registry))
        assert waiting() == 0
        for link in (north, south, south):
            links.attach(link)
            link.send(drop)
        assert waiting() == 3 * drop.ByteSize()
        await south.outbox.get()
        assert waiting() == 2 * drop.ByteSize()
        links.end("n")
        assert waiting() == drop.ByteSize()

    asyncio.run(scenario())
