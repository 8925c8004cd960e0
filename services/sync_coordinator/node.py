"""What happens when a gateway reports something: the one place where the coordinator's parts meet."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from blocksync.v1 import gateway_link_pb2

from services.shared.ethwire.faults import PeerFault
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import Announce, Block, BlockHash, BlockReceipts, Body, Header, PeerId, StateEntry
from services.sync_coordinator.core.disconnect_log import EndedConnection
from services.sync_coordinator.core.fork_choice import ChainUpdate
from services.sync_coordinator.core.peer_set import Peer, PeerSet
from services.sync_coordinator.core.reply_router import Asker, ReplyRouter
from services.sync_coordinator.core.sync_actions import SyncMode, SyncOutcome
from services.sync_coordinator.core.sync_cycle import SyncCause
from services.sync_coordinator.core.sync_faults import SyncFault
from services.sync_coordinator.edges.admissions import Admissions
from services.sync_coordinator.edges.broadcaster_client import BroadcasterClient
from services.sync_coordinator.edges.chain_watch import ChainWatchServicer
from services.sync_coordinator.edges.challenge_driver import ChallengeDriver
from services.sync_coordinator.edges.change_signal import ChangeSignal
from services.sync_coordinator.edges.dial_plans import DialPlans
from services.sync_coordinator.edges.fetch_driver import FetchDriver
from services.sync_coordinator.edges.gateway_links import GatewayLink, GatewayLinks
from services.sync_coordinator.edges.node_gauges import NodeGauges
from services.sync_coordinator.edges.peer_asker import PeerAsker
from services.sync_coordinator.edges.penalty_desk import PenaltyDesk
from services.sync_coordinator.edges.request_watch import RequestKind, RequestWatch
from services.sync_coordinator.edges.status_board import StatusBoard
from services.sync_coordinator.edges.sync_driver import SyncDriver
from services.sync_coordinator.edges.wakeup import Wakeup
from services.sync_coordinator.metrics import CoordinatorMetrics

STATUS_PERIOD_S: Final = 0.5
"""Gateways hear of a moved head at most this often: they need it for handshakes, not for every batch."""

_log = structlog.get_logger("node")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeParts:
    """Everything a `SyncNode` ties together."""

    mode: SyncMode
    plans: DialPlans
    peers: PeerSet
    links: GatewayLinks
    router: ReplyRouter
    asker: PeerAsker
    watch: RequestWatch
    penalties: PenaltyDesk
    challenges: ChallengeDriver
    driver: SyncDriver
    fetch: FetchDriver
    broadcaster: BroadcasterClient
    board: StatusBoard
    gauges: NodeGauges
    changes: ChangeSignal
    chain_watch: ChainWatchServicer
    metrics: CoordinatorMetrics


class SyncNode:
    """Implements `GatewayEvents`. Every method returns at once; what takes time runs as a task elsewhere."""

    def __init__(self, parts: NodeParts, tasks: asyncio.TaskGroup) -> None:
        self._parts = parts
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._admissions = Admissions(parts.peers, parts.plans, parts.penalties, parts.links, parts.metrics)
        self._status_wakeup = Wakeup(self._send_status)
        self._status_due = False

    def close(self) -> None:
        """Stop all timers. Caller's duty: no stream calls in any more, and the tasks have ended."""
        self._parts.challenges.close()
        self._admissions.close()
        self._status_wakeup.at(None)
        self._parts.driver.close()
        self._parts.fetch.close()

    # Gateways

    def gateway_attached(self, link: GatewayLink, hello: gateway_link_pb2.GatewayHello, peers: Sequence[Peer]) -> None:
        _log.info("gateway attached", gateway=link.gateway_id, enode=link.enode, peers=len(peers))
        # First what a former coordinator was told: by that its peers are described.
        self._parts.plans.attached(link.gateway_id, hello.orders)
        for peer in peers:
            self._describe(peer)
        self._parts.peers.set_discovering(link.gateway_id, discovers=hello.discovers)
        change = self._parts.peers.attach_gateway(link.gateway_id, link.node_id, peers)
        link.send(gateway_link_pb2.ControlResponse(local_status=self._parts.board.local_status()))
        self._admissions.attached(link, hello.gateway_node_ids)
        for peer in change.left:
            self._forget_peer(peer.node_id)
        for peer in change.duplicates:
            self._drop_duplicate(peer)
        for peer in change.joined:
            self._welcome(peer)
        self._changed()

    def gateway_detached(self, link: GatewayLink) -> None:
        left = self._parts.peers.detach_gateway(link.gateway_id)
        say = _log.warning if left else _log.info
        say("gateway detached", gateway=link.gateway_id, peers_lost=len(left))
        for peer in left:
            self._forget_peer(peer.node_id)
        self._parts.plans.refresh()
        self._changed()

    # Peers

    def admission_asked(self, link: GatewayLink, question: gateway_link_pb2.AdmitPeer) -> None:
        self._admissions.ask(link, question)

    def peer_joined(self, peer: Peer) -> None:
        self._describe(peer)
        if not self._parts.peers.join(peer):
            self._drop_duplicate(peer)
            return
        self._parts.plans.peers_changed(peer)
        self._welcome(peer)
        self._changed()

    def _drop_duplicate(self, peer: Peer) -> None:
        why = "connected to another gateway"
        self._parts.links.drop_peer(peer.gateway_id, peer.node_id, Offence.ALREADY_CONNECTED, why)

    def peer_left(self, node_id: PeerId, gateway_id: str, explanation: str) -> None:
        peer = self._parts.peers.leave(node_id, gateway_id)
        if peer is None:
            return
        self._parts.plans.peers_changed(peer)
        _log.debug("peer left", peer=node_id.hex()[:16], gateway=gateway_id, why=explanation)
        self._forget_peer(node_id)
        self._changed()

    def connection_ended(self, ended: EndedConnection) -> None:
        static, trusted = self._parts.plans.is_static(ended.node_id), self._parts.plans.is_trusted(ended.node_id)
        self._parts.penalties.connection_ended(ended, static=static, trusted=trusted)

    def dial_failed(self, enode: str, explanation: str) -> None:
        _log.info("dial failed", enode=f"{enode[:24]}…{enode[-22:]}", why=explanation)

    def _describe(self, peer: Peer) -> None:
        """What only the coordinator knows of a peer, whichever gateway it came to and whoever dialled."""
        peer.joined_at = self._loop.time() - peer.connected_s
        self._parts.plans.describe(peer)

    def _welcome(self, peer: Peer) -> None:
        """What a new peer is owed, in this order; the downloader may use it from now on."""
        self._parts.challenges.on_peer_joined(peer.node_id)
        self._parts.driver.on_peer_joined(peer)

    def _forget_peer(self, node_id: PeerId) -> None:
        self._parts.watch.lost(self._parts.router.peer_left(node_id))
        self._parts.penalties.forget(node_id)
        self._parts.challenges.on_peer_left(node_id)
        self._parts.fetch.on_peer_left(node_id)
        self._parts.driver.on_peer_left(node_id)

    # Replies

    def headers_arrived(self, request_id: int, peer: PeerId, headers: Sequence[Header]) -> None:
        asker = self._parts.router.take(request_id, peer)
        self._count_reply(request_id, "headers", asker, len(headers))
        entry = self._parts.peers.get(peer)
        if entry is not None:
            entry.headers_delivered += len(headers)
        match asker:
            case Asker.CHALLENGE:
                self._parts.challenges.on_headers(request_id, peer, headers)
            case Asker.FETCHER:
                self._parts.fetch.on_headers(request_id, headers)
            case Asker.DOWNLOADER:
                self._parts.driver.on_headers(request_id, headers)

    def bodies_arrived(self, request_id: int, peer: PeerId, bodies: Sequence[Body]) -> None:
        asker = self._parts.router.take(request_id, peer)
        self._count_reply(request_id, "bodies", asker, len(bodies))
        entry = self._parts.peers.get(peer)
        if entry is not None:
            entry.bodies_delivered += len(bodies)
        match asker:
            case Asker.FETCHER:
                self._parts.fetch.on_bodies(request_id, bodies)
            case Asker.DOWNLOADER:
                self._parts.driver.on_bodies(request_id, bodies)

    def receipts_arrived(self, request_id: int, peer: PeerId, receipts: Sequence[BlockReceipts]) -> None:
        asker = self._parts.router.take(request_id, peer)
        self._count_reply(request_id, "receipts", asker, len(receipts))
        if asker is Asker.DOWNLOADER:
            self._parts.driver.on_receipts(request_id, receipts)

    def node_data_arrived(self, request_id: int, peer: PeerId, entries: Sequence[StateEntry]) -> None:
        asker = self._parts.router.take(request_id, peer)
        self._count_reply(request_id, "node_data", asker, len(entries))
        if asker is Asker.DOWNLOADER:
            self._parts.driver.on_node_data(request_id, entries)

    def reply_unreadable(self, request_id: int, peer: PeerId, fault: PeerFault) -> None:
        self._parts.asker.drop(peer, fault.offence, str(fault))
        if request_id:
            self.request_lost(request_id)

    def request_lost(self, request_id: int) -> None:
        self._parts.watch.lost([request_id])
        match self._parts.router.lost(request_id):
            case Asker.CHALLENGE:
                self._parts.challenges.on_request_lost(request_id)
            case Asker.FETCHER:
                self._parts.fetch.on_request_lost(request_id)
            case Asker.DOWNLOADER:
                self._parts.driver.on_request_lost(request_id)

    def _count_reply(self, request_id: int, kind: RequestKind, asker: Asker | None, items: int) -> None:
        self._parts.watch.answered(request_id)
        self._parts.metrics.replies.labels(kind, asker.value if asker is not None else "stale").inc()
        self._parts.metrics.items.labels(kind).inc(items)

    # Blocks

    def block_propagated(self, peer: PeerId, block: Block, total_difficulty: int) -> None:
        """The peer surely has the parent; whether it has the block's descendants' chain is only its claim."""
        header = block.header
        self._parts.fetch.on_block(peer, block)
        true_total_difficulty = total_difficulty - header.difficulty
        if self._parts.peers.raise_head(peer, header.parent_hash, true_total_difficulty):
            if true_total_difficulty > self._parts.driver.our_total_difficulty():
                self._parts.driver.consider(SyncCause.NEW_BLOCK, self._parts.peers.get(peer))
            self._changed()

    def blocks_announced(self, peer: PeerId, announces: Sequence[Announce]) -> None:
        self._parts.fetch.on_announces(peer, announces)

    # Our own chain

    def sync_ended(self, outcome: SyncOutcome) -> None:
        """Announce the new head; after a failure try the next kept peer at once, others on the forced cycle."""
        if outcome.fault is None:
            self._parts.chain_watch.notify()
            if self._parts.mode is not SyncMode.LIGHT:
                self._tasks.create_task(self._announce_head(), name="announce-head")
        else:
            best = self._parts.peers.best()
            # The same master again only if it has come back since: a fault that stays would be met in a hot loop.
            is_fresh = outcome.fault is SyncFault.MASTER_LEFT or (
                best is not None and best.node_id != outcome.progress.master
            )
            if best is not None and (best.static or best.trusted) and is_fresh:
                self._parts.driver.consider(SyncCause.STATIC_PEER_JOINED, best)
        self.progressed()

    def committed(self, update: ChainUpdate) -> None:
        """After every commit: tell broadcasters, gateways and operators, and let waiting blocks in."""
        self._parts.driver.on_commit(update)
        self._parts.gauges.committed()
        if update.reorg is not None:
            reorg = update.reorg
            self._parts.metrics.reorgs.inc()
            self._parts.metrics.reorg_depth.observe(reorg.depth)
            _log.warning("reorg", depth=reorg.depth, old=reorg.old_head.number, new=reorg.new_head.number)
        if update.bodies and not self._parts.driver.is_running:
            self._parts.board.block_came_alone()
        self._parts.fetch.on_head_moved()
        self._parts.chain_watch.notify()
        self.progressed()

    def progressed(self) -> None:
        """Something an operator may want to see changed."""
        if not self._status_due:
            self._status_due = True
            self._status_wakeup.at(self._loop.time() + STATUS_PERIOD_S)
        self._parts.changes.notify()

    def _send_status(self) -> None:
        self._status_due = False
        self._parts.board.observe()
        self._parts.links.send_status_to_all(self._parts.board.local_status())

    async def _announce_head(self) -> None:
        head = self._parts.board.full_block_head()
        count = await self._parts.broadcaster.announce(Announce(BlockHash(head.block_hash), head.number))
        _log.info("head announced", number=head.number, peers=count)

    def _changed(self) -> None:
        self._parts.board.observe()
        self._parts.changes.notify()
