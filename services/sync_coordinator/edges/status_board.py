"""Where the node stands, gathered from its parts whenever somebody asks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from blocksync.v1 import common_pb2, coordinator_pb2, gateway_link_pb2

from services.shared.chainspec.spec import ChainSpec
from services.shared.ethwire.types import BlockHash, Header
from services.shared.rpc.convert import big_to_bytes
from services.sync_coordinator.core.peer_set import PeerSet
from services.sync_coordinator.core.sync_actions import SyncMode, SyncPhase
from services.sync_coordinator.edges.gateway_links import GatewayLinks
from services.sync_coordinator.edges.sync_driver import SyncDriver
from services.sync_coordinator.metrics import CoordinatorMetrics
from services.sync_coordinator.store.chain_store import ChainStore

_MODE_OF = {
    SyncMode.FULL: coordinator_pb2.SYNC_MODE_FULL,
    SyncMode.FAST: coordinator_pb2.SYNC_MODE_FAST,
    SyncMode.LIGHT: coordinator_pb2.SYNC_MODE_LIGHT,
}
PHASE_OF = {
    SyncPhase.HEIGHT: coordinator_pb2.SYNC_PHASE_HEIGHT,
    SyncPhase.ANCESTOR: coordinator_pb2.SYNC_PHASE_ANCESTOR,
    SyncPhase.DOWNLOAD: coordinator_pb2.SYNC_PHASE_DOWNLOAD,
    SyncPhase.ENDING: coordinator_pb2.SYNC_PHASE_DOWNLOAD,
    # Not idle before the end is counted: who waits for idle looks at the counts next.
    SyncPhase.ENDED: coordinator_pb2.SYNC_PHASE_DOWNLOAD,
}


def chain_head(header: Header, total_difficulty: int) -> common_pb2.ChainHead:
    return common_pb2.ChainHead(
        block_hash=header.hash, number=header.number, total_difficulty=big_to_bytes(total_difficulty)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeIdentity:
    """What never changes while the process lives."""

    network_id: int
    genesis_hash: BlockHash
    genesis_total_difficulty: int
    mode: SyncMode
    """What is wanted; the running sync may differ."""
    seal_check: str
    spec: ChainSpec


class StatusBoard:
    """Builds the statuses that operators, gateways and broadcasters see."""

    def __init__(
        self,
        identity: NodeIdentity,
        store: ChainStore,
        peers: PeerSet,
        links: GatewayLinks,
        driver: SyncDriver,
        metrics: CoordinatorMetrics,
    ) -> None:
        self._identity = identity
        self._store = store
        self._peers = peers
        self._links = links
        self._driver = driver
        self._metrics = metrics
        self._is_at_head = False
        self._started_at = asyncio.get_running_loop().time()

    def local_status(self) -> gateway_link_pb2.LocalStatus:
        """For the Status message: the header head. A light node, which cannot serve bodies, shows genesis."""
        identity = self._identity
        status = gateway_link_pb2.LocalStatus(network_id=identity.network_id, genesis_hash=identity.genesis_hash)
        if identity.mode is SyncMode.LIGHT:
            status.head_hash = identity.genesis_hash
            status.total_difficulty = big_to_bytes(identity.genesis_total_difficulty)
            return status
        head = self._store.heads().header
        status.head_hash, status.head_number = head.hash, head.number
        status.total_difficulty = big_to_bytes(self._store.total_difficulty(head.hash) or 0)
        return status

    def chain_snapshot(self) -> coordinator_pb2.ChainSnapshot:
        return coordinator_pb2.ChainSnapshot(
            network_id=self._identity.network_id,
            genesis_hash=self._identity.genesis_hash,
            head=self.full_block_head(),
            accepts_transactions=self.accepts_transactions,
            gas_limit=self._store.heads().full_block.gas_limit,
            forks=_transaction_forks(self._identity.spec),
        )

    def block_came_alone(self) -> None:
        """A block was imported without a sync, which only happens at the head."""
        self._is_at_head = True

    @property
    def accepts_transactions(self) -> bool:
        """Only once a sync is done, or a block came alone: before that we cannot tell which are still pending. A light
        node never can."""
        return self._identity.mode is not SyncMode.LIGHT and (self._driver.totals.done > 0 or self._is_at_head)

    def full_block_head(self) -> common_pb2.ChainHead:
        head = self._store.heads().full_block
        return chain_head(head, self._store.total_difficulty(head.hash) or 0)

    def status(self) -> coordinator_pb2.NodeStatus:
        identity, totals = self._identity, self._driver.totals
        heads = self._store.heads()
        progress = self._driver.progress()
        running = progress if self._driver.is_running else None
        status = coordinator_pb2.NodeStatus(
            network_id=identity.network_id,
            genesis_hash=identity.genesis_hash,
            mode=_MODE_OF[self._driver.mode],
            phase=PHASE_OF.get(running.phase, coordinator_pb2.SYNC_PHASE_IDLE)
            if running is not None
            else coordinator_pb2.SYNC_PHASE_IDLE,
            header_head=chain_head(heads.header, self._store.total_difficulty(heads.header.hash) or 0),
            full_block_head=self.full_block_head(),
            fast_block_head=chain_head(heads.fast_block, self._store.total_difficulty(heads.fast_block.hash) or 0),
            peer_count=len(self._peers),
            syncs_done=totals.done,
            syncs_failed=totals.failed,
            last_sync_outcome=totals.last_outcome,
            serves_bodies=identity.mode is not SyncMode.LIGHT,
            seal_check=identity.seal_check,
            sync_seconds=totals.seconds,
            blocks_synced=totals.blocks,
            bytes_synced=totals.size_bytes,
            uptime_seconds=int(asyncio.get_running_loop().time() - self._started_at),
        )
        if progress is not None:
            status.progress.CopyFrom(
                coordinator_pb2.SyncProgress(
                    starting_block=progress.starting_block,
                    current_block=progress.current_block,
                    highest_block=progress.highest_block,
                    headers_fetched=progress.headers_fetched,
                    bodies_fetched=progress.bodies_fetched,
                    master_node_id=progress.master,
                    receipts_fetched=progress.receipts_fetched,
                    pulled_states=progress.pulled_states,
                    known_states=progress.known_states,
                )
            )
        self._add_peers(status)
        return status

    def observe(self) -> None:
        """Copy what changed into the gauges."""
        heads = self._store.heads()
        self._metrics.head_number.labels("header").set(heads.header.number)
        self._metrics.head_number.labels("fast_block").set(heads.fast_block.number)
        self._metrics.head_number.labels("full_block").set(heads.full_block.number)
        progress = self._driver.progress()
        phase = progress.phase if progress is not None and self._driver.is_running else SyncPhase.IDLE
        self._metrics.sync_phase.state(phase.value)
        if progress is not None:
            self._metrics.best_peer_number_known.set(progress.highest_block)
            self._metrics.state_entries.labels("pulled").set(progress.pulled_states)
            self._metrics.state_entries.labels("known").set(progress.known_states)

    def _add_peers(self, status: coordinator_pb2.NodeStatus) -> None:
        best = self._peers.best()
        if best is not None:
            status.best_peer_head.block_hash = best.head_hash
            status.best_peer_head.total_difficulty = big_to_bytes(best.total_difficulty)
            status.at_best_peer_head = self._driver.our_total_difficulty() >= best.total_difficulty
        peers_of = self._peers.peers_of()
        for link in sorted(self._links, key=lambda link: link.gateway_id):
            status.gateways.add(
                gateway_id=link.gateway_id,
                enode=link.enode,
                peer_count=peers_of.get(link.gateway_id, 0),
            )


def _transaction_forks(spec: ChainSpec) -> coordinator_pb2.TransactionForks:
    return coordinator_pb2.TransactionForks(
        chain_id=big_to_bytes(spec.chain_id),
        homestead_block=spec.homestead_block,
        eip155_block=spec.eip155_block,
        istanbul_block=spec.istanbul_block,
        berlin_block=spec.berlin_block,
        london_block=spec.london_block,
        spiral_block=spec.spiral_block,
    )
