"""Where the node stands, as gauges that are read whenever metrics are collected."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable

from prometheus_client import Gauge

from services.sync_coordinator.core.fork_choice import Heads
from services.sync_coordinator.core.peer_set import PeerSet
from services.sync_coordinator.core.sync_actions import SyncMode
from services.sync_coordinator.edges.gateway_links import GatewayLinks
from services.sync_coordinator.edges.request_watch import KIND_OF_PART
from services.sync_coordinator.edges.sync_driver import SyncDriver
from services.sync_coordinator.metrics import CoordinatorMetrics
from services.sync_coordinator.store.chain_store import ChainStore


class NodeGauges:
    """Reads what others keep; of its own it knows when a head last moved."""

    def __init__(
        self, mode: SyncMode, store: ChainStore, peers: PeerSet, links: GatewayLinks, driver: SyncDriver
    ) -> None:
        self._mode, self._store, self._peers = mode, store, peers
        self._links, self._driver = links, driver
        self._clock = asyncio.get_running_loop().time
        self._heads, self._head_moved_at = _hashes(store.heads()), self._clock()

    def committed(self) -> None:
        """Something was committed to the store."""
        heads = _hashes(self._store.heads())
        if heads != self._heads:
            self._heads, self._head_moved_at = heads, self._clock()

    def show(self, metrics: CoordinatorMetrics) -> None:
        """Have the gauges read from here."""
        readings: list[tuple[Gauge, Callable[[], float]]] = [
            (metrics.blockchain_height, self.height),
            (metrics.best_known_block, self.best_known_block),
            (metrics.peer_count, lambda: len(self._peers)),
            (metrics.peers, lambda: len(self._peers)),
            (metrics.peer_limit, lambda: self._peers.max_peers),
            (metrics.gateways, lambda: sum(1 for _ in self._links)),
            (metrics.link_queue_bytes.labels("control"), self._queued_bytes),
            (metrics.best_peer_lead, self.best_peer_lead),
            (metrics.seconds_since_new_head, lambda: self._clock() - self._head_moved_at),
        ]
        capacity = self._driver.download_peers.capacity
        readings += [
            (metrics.peer_capacity.labels(kind), functools.partial(capacity, part))
            for part, kind in KIND_OF_PART.items()
        ]
        for gauge, read in readings:
            gauge.set_function(read)

    def height(self) -> int:
        heads = self._store.heads()
        return (heads.header if self._mode is SyncMode.LIGHT else heads.full_block).number

    def best_known_block(self) -> int:
        progress = self._driver.progress()
        return max(self._store.heads().header.number, progress.highest_block if progress is not None else 0)

    def best_peer_lead(self) -> int:
        best = self._peers.best()
        return 0 if best is None else max(0, best.total_difficulty - self._driver.our_total_difficulty())

    def _queued_bytes(self) -> int:
        return sum(link.outbox.bytes_queued for link in self._links)


def _hashes(heads: Heads) -> tuple[bytes, ...]:
    return tuple(head.hash for head in heads)
