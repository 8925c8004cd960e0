"""Carries out what the sync cycle and the downloader decide: asks peers, imports, drops, rolls back, ends."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, assert_never

import structlog

from services.shared.ethwire.messages import GetBlockHeaders
from services.shared.ethwire.types import Block, BlockReceipts, Body, Header, PeerId, StateEntry
from services.sync_coordinator.core.capacity import DownloadPeers
from services.sync_coordinator.core.downloader import Downloader
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.fork_choice import ChainUpdate
from services.sync_coordinator.core.peer_set import Peer, PeerSet
from services.sync_coordinator.core.reply_router import Asker, ReplyRouter
from services.sync_coordinator.core.rule_broken import RuleBroken
from services.sync_coordinator.core.seal_sampling import sample
from services.sync_coordinator.core.sync_actions import (
    DropPeer,
    ImportBlocks,
    ImportHeaders,
    RequestBodies,
    RequestHeaders,
    RequestNodeData,
    RollBackHeaders,
    StoreState,
    SyncAction,
    SyncEnded,
    SyncMode,
    SyncOutcome,
    SyncProgress,
    SyncTarget,
)
from services.sync_coordinator.core.sync_cycle import Situation, SyncCause, SyncCycle, SyncDecision, SyncVerdict
from services.sync_coordinator.core.sync_history import SyncEnd
from services.sync_coordinator.core.sync_run import SyncRun
from services.sync_coordinator.edges.block_import import BlockImport
from services.sync_coordinator.edges.peer_asker import PeerAsker
from services.sync_coordinator.edges.seal_workers import SealWorkersFailed
from services.sync_coordinator.edges.wakeup import Wakeup
from services.sync_coordinator.metrics import CoordinatorMetrics
from services.sync_coordinator.store.chain_store import ChainStore, StoreFailed

_log = structlog.get_logger("sync")


@dataclass(slots=True)
class SyncTotals:
    """What all syncs of this process did together, the running one up to its last commit included."""

    done: int = 0
    failed: int = 0
    last_outcome: str = ""
    blocks: int = 0
    """Committed while a sync ran; headers in light mode."""
    size_bytes: int = 0
    """Their encoded size."""
    seconds_before: float = 0.0
    """Of the syncs that ended, from the first request of each to its last commit."""
    seconds_of_run: float = 0.0
    """Of the running sync, likewise."""

    @property
    def seconds(self) -> float:
        return self.seconds_before + self.seconds_of_run

    def count(self, update: ChainUpdate, run_s: float) -> None:
        """A commit `run_s` seconds after the running sync's first request."""
        self.seconds_of_run = run_s
        if update.bodies:
            self.blocks += len(update.bodies)
            self.size_bytes += sum(len(block.header.header_rlp) + len(block.body_rlp) for block in update.bodies)
        else:
            self.blocks += len(update.headers)
            self.size_bytes += sum(len(header.header_rlp) for header, _ in update.headers)

    def end(self, outcome: SyncOutcome) -> None:
        """The running sync has ended."""
        if outcome.fault is None:
            self.done += 1
            self.last_outcome = "done"
        else:
            self.failed += 1
            self.last_outcome = f"{outcome.fault.value}: {outcome.detail}"
        self.seconds_before, self.seconds_of_run = self.seconds, 0.0


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
        self._download_peers = DownloadPeers(parts.config)
        self._downloader: Downloader | None = None
        self._run_wakeup = Wakeup(self._wake_downloader)
        self._cycle_wakeup = Wakeup(self._wake_cycle)
        self._cycle_wakeup.at(parts.cycle.next_wakeup())
        self._started_at = 0.0
        self._blocks_before = 0
        self.totals = SyncTotals()
        self.last_progress: SyncProgress | None = None

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
    def revocable_headers(self) -> int:
        """So many of the newest headers may be rolled back when the running sync fails; never those with bodies."""
        is_light = self._parts.mode is SyncMode.LIGHT
        return self._parts.config.rollback_headers if is_light and self.is_running else 0

    def lacking(self, node_id: PeerId) -> int:
        """Parts of the running sync that a peer was found not to have."""
        return self._downloader.lacking(node_id) if self._downloader is not None else 0

    def our_total_difficulty(self) -> int:
        """What a peer must be above: the full-block head's total difficulty, in light mode the header head's."""
        heads = self._parts.store.heads()
        head = heads.header if self._parts.mode is SyncMode.LIGHT else heads.full_block
        return self._parts.store.total_difficulty(head.hash) or 0

    def consider(self, cause: SyncCause, candidate: Peer | None) -> SyncDecision:
        """Start a sync with `candidate` if the cycle allows it."""
        parts = self._parts
        decision = parts.cycle.decide(cause, self.situation(candidate))
        parts.metrics.sync_verdicts.labels(decision.verdict.name.lower()).inc()
        if decision.verdict is SyncVerdict.START and decision.master is not None:
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
            self.totals.count(update, self._loop.time() - self._started_at)

    def on_peer_joined(self, peer: Peer) -> None:
        if self._downloader is not None:
            self._carry_out(self._downloader.on_peer_joined(peer.node_id, peer.eth_version, self._loop.time()))
        else:
            self._download_peers.join(peer.node_id, peer.eth_version)
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
            self._download_peers.leave(node_id)

    def on_headers(self, request_id: int, headers: Sequence[Header]) -> None:
        if self._downloader is not None:
            self._carry_out(self._downloader.on_headers(request_id, headers, self._loop.time()))

    def on_bodies(self, request_id: int, bodies: Sequence[Body]) -> None:
        if self._downloader is not None:
            self._carry_out(self._downloader.on_bodies(request_id, bodies, self._loop.time()))

    def on_receipts(self, request_id: int, receipts: Sequence[BlockReceipts]) -> None:
        """Nothing asks for them yet."""

    def on_node_data(self, request_id: int, entries: Sequence[StateEntry]) -> None:
        """Nothing asks for it yet."""

    def on_request_lost(self, request_id: int) -> None:
        if self._downloader is not None:
            self._carry_out(self._downloader.on_request_failed(request_id, self._loop.time()))

    def _start(self, master: Peer, cause: SyncCause) -> None:
        parts = self._parts
        target = SyncTarget(parts.mode, master.node_id, master.head_hash, master.total_difficulty)
        _log.info("sync starts", why=cause.value, master=master.node_id.hex()[:16], client=master.client_name)
        run = SyncRun(
            config=parts.config,
            target=target,
            chain=parts.store,
            peers=self._download_peers,
            rng=parts.rng,
            next_request_id=parts.router.next_id,
        )
        self._downloader = Downloader(run, self.last_progress)
        self._started_at = self._loop.time()
        self._blocks_before = self.totals.blocks
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
                case RequestHeaders() as request:
                    todo.extend(self._request_headers(run, request))
                case RequestBodies(request_id, peer, hashes):
                    if not self._parts.asker.ask_bodies(Asker.DOWNLOADER, request_id, peer, hashes):
                        todo.extend(run.on_request_failed(request_id, self._loop.time()))
                case ImportHeaders(batch_id, headers):
                    self._tasks.create_task(self._import_headers(run, batch_id, headers), name="import-headers")
                case ImportBlocks(batch_id, blocks):
                    self._tasks.create_task(self._import_blocks(run, batch_id, blocks), name="import-blocks")
                case RequestNodeData() | StoreState():
                    raise AssertionError("a full or light sync needs no state")
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
        self._on_progress()

    def _request_headers(self, run: Downloader, request: RequestHeaders) -> Sequence[SyncAction]:
        query = GetBlockHeaders(request.origin, request.amount, request.skip, request.reverse)
        if self._parts.asker.ask_headers(Asker.DOWNLOADER, request.request_id, request.peer, query):
            return ()
        return run.on_request_failed(request.request_id, self._loop.time())

    async def _import_headers(self, run: Downloader, batch_id: int, headers: Sequence[Header]) -> None:
        with self._parts.metrics.import_seconds.labels("headers").time():
            sealed = sample(headers, self._parts.rng, pivot=None) if self._parts.seal_sample else None
            failure = await _failure(self._parts.block_import.import_headers(headers, sealed))
        self._imported(run, batch_id, failure, "headers", len(headers))

    async def _import_blocks(self, run: Downloader, batch_id: int, blocks: Sequence[Block]) -> None:
        with self._parts.metrics.import_seconds.labels("blocks").time():
            failure = await _failure(self._parts.block_import.import_blocks(blocks))
        self._imported(run, batch_id, failure, "blocks", len(blocks))

    def _imported(self, run: Downloader, batch_id: int, failure: _Failure | None, kind: str, count: int) -> None:
        now = self._loop.time()
        if failure is None:
            self._parts.metrics.imported_blocks.labels(kind).inc(count)
            actions = run.on_imported(batch_id, now)
        else:
            actions = run.on_import_failed(batch_id, failure.number, failure.reason, now)
        self._carry_out(actions)

    async def _end(self, outcome: SyncOutcome, roll_back: Sequence[Header]) -> None:
        self._run_wakeup.at(None)
        failure = await _failure(self._parts.block_import.roll_back(roll_back))
        if failure is not None:
            _log.error("headers not rolled back", why=failure.reason)
        self._downloader = None
        self.last_progress = outcome.progress
        seconds = self.totals.seconds_of_run
        self.totals.end(outcome)
        now = self._loop.time()
        self._parts.cycle.on_sync_ended(
            SyncEnd(
                at=now,
                fault=outcome.fault,
                detail=outcome.detail,
                blocks=self.totals.blocks - self._blocks_before,
                duration_s=now - self._started_at,
            )
        )
        self._parts.metrics.syncs.labels("done" if outcome.fault is None else outcome.fault.name.lower()).inc()
        if outcome.fault is None:
            _log.info(
                "sync done",
                head=outcome.progress.current_block,
                imported=outcome.progress.imported,
                seconds=round(seconds, 2),
            )
        else:
            _log.warning("sync failed", why=outcome.fault.value, detail=outcome.detail)
        self._on_ended(outcome)
        self._on_progress()


class _Failure(NamedTuple):
    """Why an import failed: block `number` broke a rule; or, with None, our own side could not do it."""

    number: int | None
    reason: str


async def _failure(importing: Awaitable[object]) -> _Failure | None:
    """The chain's faults and our disk's are reported, and a later sync tries again; bugs go on up."""
    try:
        await importing
    except RuleBroken as broken:
        return _Failure(None if broken.is_early else broken.number, str(broken))
    except (StoreFailed, SealWorkersFailed) as failed:
        return _Failure(None, str(failed))
    return None
