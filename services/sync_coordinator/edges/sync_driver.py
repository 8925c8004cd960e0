"""Carries out what the sync cycle and the downloader decide: asks peers, imports, drops, rolls back, ends."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

import structlog

from services.shared.ethwire.types import BlockReceipts, Body, Header, PeerId, StateEntry
from services.sync_coordinator.core.capacity import DownloadPeers
from services.sync_coordinator.core.downloader import Downloader
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.fork_choice import ChainUpdate
from services.sync_coordinator.core.peer_set import Peer, PeerSet
from services.sync_coordinator.core.reply_router import Asker, ReplyRouter
from services.sync_coordinator.core.sync_actions import (
    CommitPivot,
    DropPeer,
    ImportBlocks,
    ImportFastBlocks,
    ImportHeaders,
    RequestBodies,
    RequestHeaders,
    RequestNodeData,
    RequestReceipts,
    RollBackHeaders,
    StoreState,
    SyncAction,
    SyncEnded,
    SyncImport,
    SyncMode,
    SyncOutcome,
    SyncProgress,
    SyncTarget,
)
from services.sync_coordinator.core.sync_cycle import Situation, SyncCause, SyncCycle, SyncDecision, SyncVerdict
from services.sync_coordinator.core.sync_mode import mode_to_run
from services.sync_coordinator.core.sync_run import SyncRun, followed_head
from services.sync_coordinator.edges.block_import import BlockImport
from services.sync_coordinator.edges.peer_asker import PeerAsker
from services.sync_coordinator.edges.sync_activity import SyncActivity
from services.sync_coordinator.edges.sync_importing import KIND_OF, SyncImporting, failure_of
from services.sync_coordinator.edges.sync_record import SyncRecord, warn_of_mode
from services.sync_coordinator.edges.sync_totals import SyncTotals
from services.sync_coordinator.edges.wakeup import Wakeup
from services.sync_coordinator.metrics import CoordinatorMetrics
from services.sync_coordinator.store.chain_store import ChainStore

_log = structlog.get_logger("sync")


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncParts:
    """What a `SyncDriver` works with."""

    mode: SyncMode
    config: DownloaderConfig
    cycle: SyncCycle
    peers: PeerSet
    router: ReplyRouter
    asker: PeerAsker
    store: ChainStore
    block_import: BlockImport
    metrics: CoordinatorMetrics
    rng: random.Random
    activity: SyncActivity
    seal_sample: bool = False
    """Whether light mode leaves most seals out."""


class SyncDriver:
    """One downloader at a time, at the pace of its timer, the peers' replies and the importer.

    `on_progress` is called whenever there is something new to see, `on_ended` after each sync.
    """

    def __init__(
        self,
        parts: SyncParts,
        tasks: asyncio.TaskGroup,
        on_progress: Callable[[], None],
        on_ended: Callable[[SyncOutcome], None],
    ) -> None:
        self._parts = parts
        self._tasks = tasks
        self._on_progress = on_progress
        self._on_ended = on_ended
        self._loop = asyncio.get_running_loop()
        self.download_peers = DownloadPeers(parts.config)
        self._downloader: Downloader | None = None
        self._run_wakeup = Wakeup(self._wake_downloader)
        self._cycle_wakeup = Wakeup(self._wake_cycle)
        self._cycle_wakeup.at(parts.cycle.next_wakeup())
        self._importing = SyncImporting(parts.block_import, parts.metrics, parts.rng, seal_sample=parts.seal_sample)
        self._mode = self.next_mode
        self._imports = 0
        self.totals = SyncTotals()
        self._record = SyncRecord(self.totals, parts.metrics)
        self.last_progress: SyncProgress | None = None
        parts.metrics.sync_seconds.follow(parts.activity.read)
        warn_of_mode(parts.mode, self._mode)

    def close(self) -> None:
        """Stop the timers: the store is about to be closed."""
        self._run_wakeup.at(None)
        self._cycle_wakeup.at(None)

    def progress(self) -> SyncProgress | None:
        """Of the running sync, else of the last one."""
        return self._downloader.progress() if self._downloader is not None else self.last_progress

    @property
    def is_running(self) -> bool:
        return self._downloader is not None

    @property
    def is_first_sync(self) -> bool:
        """Whether the first sync of this process runs, or a fast sync is still to be done."""
        return self.is_fast_syncing or (self.is_running and not self.totals.done and not self.totals.failed)

    @property
    def revocable_headers(self) -> int:
        """So many of the newest headers may be rolled back when the running sync fails; never those with bodies."""
        may_fail = self.is_running and self.mode is not SyncMode.FULL
        return self._parts.config.rollback_headers if may_fail else 0

    @property
    def mode(self) -> SyncMode:
        """Of the running sync; of the next one when none runs."""
        return self._mode if self.is_running else self.next_mode

    @property
    def next_mode(self) -> SyncMode:
        """What our chain allows now of what is wanted."""
        return mode_to_run(self._parts.mode, self._parts.store.heads())

    @property
    def is_fast_syncing(self) -> bool:
        """Whether a fast sync runs or is not done yet: no block may be imported in full by other means."""
        return self.mode is SyncMode.FAST

    def lacking(self, node_id: PeerId) -> int:
        """Parts of the running sync that a peer was found not to have."""
        return self._downloader.lacking(node_id) if self._downloader is not None else 0

    def our_total_difficulty(self) -> int:
        """What a peer must be above: that of the head that the next sync would carry on from."""
        head = self._parts.store.heads().of(followed_head(self.next_mode))
        return self._parts.store.total_difficulty(head.hash) or 0

    def consider(self, cause: SyncCause, candidate: Peer | None) -> SyncDecision:
        """Start a sync with `candidate` if the cycle allows it."""
        parts = self._parts
        decision = parts.cycle.decide(cause, self.situation(candidate))
        parts.metrics.sync_verdicts.labels(decision.verdict.name.lower()).inc()
        if decision.verdict is SyncVerdict.START and decision.master is not None:
            if cause is SyncCause.FORCED:
                parts.metrics.forced_syncs.inc()
            self._start(decision.master, cause)
        return decision

    def situation(self, candidate: Peer | None) -> Situation:
        """What a decision about this candidate depends on now."""
        return Situation(
            candidate=candidate,
            peer_count=self._parts.peers.candidates,
            ours=self.our_total_difficulty(),
            now=self._loop.time(),
            progress=self._downloader.progress() if self._downloader is not None else None,
        )

    def on_commit(self, update: ChainUpdate) -> None:
        """Something was committed; while a sync runs, it counts as the sync's."""
        if self._downloader is not None:
            self.totals.count(update, self._mode, self._record.run_s(self._loop.time()))

    def on_peer_joined(self, peer: Peer) -> None:
        if self._downloader is not None:
            self._carry_out(self._downloader.on_peer_joined(peer.node_id, peer.eth_version, self._loop.time()))
        else:
            self.download_peers.join(peer.node_id, peer.eth_version)
        is_kept = peer.static or peer.trusted
        cause = SyncCause.STATIC_PEER_JOINED if is_kept else SyncCause.PEER_JOINED
        self.consider(cause, peer if is_kept else self._parts.peers.best())

    def on_peer_kept(self, peer: Peer) -> None:
        """A connected peer is static or trusted from now on."""
        self.consider(SyncCause.STATIC_PEER_JOINED, peer)

    def on_peer_left(self, node_id: PeerId) -> None:
        if self._downloader is not None:
            self._carry_out(self._downloader.on_peer_left(node_id, self._loop.time()))
        else:
            self.download_peers.leave(node_id)

    def on_headers(self, request_id: int, headers: Sequence[Header]) -> None:
        if self._downloader is not None:
            self._carry_out(self._downloader.on_headers(request_id, headers, self._loop.time()))

    def on_bodies(self, request_id: int, bodies: Sequence[Body]) -> None:
        if self._downloader is not None:
            self._carry_out(self._downloader.on_bodies(request_id, bodies, self._loop.time()))

    def on_receipts(self, request_id: int, receipts: Sequence[BlockReceipts]) -> None:
        if self._downloader is not None:
            self._carry_out(self._downloader.on_receipts(request_id, receipts, self._loop.time()))

    def on_node_data(self, request_id: int, entries: Sequence[StateEntry]) -> None:
        if self._downloader is not None:
            self._carry_out(self._downloader.on_node_data(request_id, entries, self._loop.time()))

    def on_request_lost(self, request_id: int) -> None:
        if self._downloader is not None:
            self._carry_out(self._downloader.on_request_failed(request_id, self._loop.time()))

    def _start(self, master: Peer, cause: SyncCause) -> None:
        parts = self._parts
        self._mode = self.next_mode
        target = SyncTarget(self._mode, master.node_id, master.head_hash, master.total_difficulty)
        run = SyncRun(
            config=parts.config,
            target=target,
            chain=parts.store,
            peers=self.download_peers,
            rng=parts.rng,
            next_request_id=parts.router.next_id,
            on_prepare=parts.activity.prepare_from_here,
        )
        parts.activity.sync_began()
        self._downloader = Downloader(run, self.last_progress)
        self._record.begin(target, cause, master.client_name, self._loop.time())
        self._carry_out(self._downloader.start(self._loop.time()))

    def _wake_downloader(self) -> None:
        if self._downloader is not None:
            self._carry_out(self._downloader.on_wakeup(self._loop.time()))

    def _wake_cycle(self) -> None:
        if self._parts.cycle.on_wakeup(self._loop.time()):
            self.consider(SyncCause.FORCED, self._parts.peers.best())
        self._cycle_wakeup.at(self._parts.cycle.next_wakeup())

    def _carry_out(self, actions: Sequence[SyncAction]) -> None:
        run = self._downloader
        assert run is not None
        todo = deque(actions)
        roll_back: Sequence[Header] = ()
        while todo:
            match todo.popleft():
                case RequestHeaders() | RequestBodies() | RequestReceipts() | RequestNodeData() as request:
                    if not self._parts.asker.ask(Asker.DOWNLOADER, request):
                        todo.extend(run.on_request_failed(request.request_id, self._loop.time()))
                case ImportHeaders() | ImportBlocks() | ImportFastBlocks() | CommitPivot() | StoreState() as batch:
                    self._imports += 1
                    self._tasks.create_task(self._import(run, batch), name=f"import-{KIND_OF[type(batch)]}")
                case DropPeer(peer, fault, detail):
                    why = f"{fault.value}: {detail}" if detail else fault.value
                    self._parts.asker.drop(peer, fault.offence, why)
                case RollBackHeaders(headers):
                    roll_back = headers
                case SyncEnded(outcome):
                    self._tasks.create_task(self._end(outcome, roll_back), name="end-sync")
                case unexpected:
                    assert_never(unexpected)
        self._run_wakeup.at(run.next_wakeup())
        self._parts.activity.rest(waits=run.open_requests > 0 and not self._imports)
        self._on_progress()

    async def _import(self, run: Downloader, batch: SyncImport) -> None:
        failure = await self._importing.take(batch)
        self._imports -= 1
        now = self._loop.time()
        if failure is None:
            self._carry_out(run.on_imported(batch.batch_id, now))
        else:
            self._carry_out(run.on_import_failed(batch.batch_id, failure.number, failure.reason, now))

    async def _end(self, outcome: SyncOutcome, roll_back: Sequence[Header]) -> None:
        self._run_wakeup.at(None)
        self._parts.activity.sync_ended()
        failure = await failure_of(self._parts.block_import.roll_back(roll_back))
        if failure is not None:
            _log.error("headers not rolled back", why=failure.reason)
        self._downloader = None
        self.last_progress = outcome.progress
        self._parts.cycle.on_sync_ended(self._record.end(outcome, self._loop.time()))
        self._on_ended(outcome)
        self._on_progress()
