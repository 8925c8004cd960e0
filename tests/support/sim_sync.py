"""Whole syncs in virtual time: the real downloader, simulated peers and importer, fake edges."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, assert_never

from services.shared.ethwire.types import Header, PeerId
from services.sync_coordinator.core.capacity import DownloadPeers
from services.sync_coordinator.core.downloader import Downloader
from services.sync_coordinator.core.downloader_config import DownloaderConfig
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
    SyncPhase,
    SyncProgress,
    SyncRequest,
    SyncTarget,
)
from services.sync_coordinator.core.sync_faults import SyncFault
from services.sync_coordinator.core.sync_mode import mode_to_run
from services.sync_coordinator.core.sync_run import SyncRun, followed_head
from tests.support.chain_maker import BROKEN_RULE
from tests.support.memory_chain import MemoryChain
from tests.support.sim_net import SimNet
from tests.support.sim_peers import SimPeer

SMALL = DownloaderConfig(
    headers_per_request=16,
    skeleton_anchors=8,
    bodies_per_request=16,
    max_fork_depth=150,
    hold_back_distance=10,
    max_queued_headers=128,
    max_assembled_blocks=64,
    import_batch=32,
    rollback_headers=64,
    receipts_per_request=32,
    state_per_request=24,
    pivot_distance=16,
)
"""Every limit small, so that short chains reach them all."""

LONGEST_SYNC_S = 7200.0
"""In virtual time; a sync that takes longer hangs."""


MOST_STEPS = 100
"""Wakeups one after the other at one time: a state download may take several steps to look at what came."""


class SimSync:
    """A coordinator that does nothing but sync."""

    def __init__(
        self, seed: int, mode: SyncMode, *, config: DownloaderConfig = SMALL, import_seconds: float = 0.001
    ) -> None:
        self.net = SimNet(seed)
        self.mode, self.config = mode, config
        self.import_seconds = import_seconds
        """Per block or header."""
        self.importer_stalls_until = 0.0
        self.importer_fails_from: int | None = None
        """The block that our own side fails to store."""
        self.chain = MemoryChain()
        self.download_peers = DownloadPeers(config)
        self.peers: dict[PeerId, SimPeer] = {}
        self.dropped: dict[str, SyncFault] = {}
        self.outcomes: list[SyncOutcome] = []
        self.downloader: Downloader | None = None
        self.most_headers_waiting = self.most_blocks_waiting = self.most_waiting_bytes = 0
        self.head_before_rollback = 0
        self.fail_state_commits = False
        """Whether the disk fails under them."""
        self._importer_free_at = 0.0
        self._idle_wakeups = 0
        self._ids = itertools.count(1)

    def add_peers(self, *peers: SimPeer) -> None:
        for peer in peers:
            self.peers[peer.node_id] = peer
            if self.downloader is None:
                self.download_peers.join(peer.node_id, peer.eth_version)
            else:
                self._carry_out(self.downloader.on_peer_joined(peer.node_id, peer.eth_version, self.net.now))

    def disconnect(self, peer: SimPeer) -> None:
        """The peer goes by itself; what it still had to say is lost."""
        if self.peers.pop(peer.node_id, None) is None:
            return
        if self.downloader is None:
            self.download_peers.leave(peer.node_id)
        else:
            self._carry_out(self.downloader.on_peer_left(peer.node_id, self.net.now))

    def start(self, master: SimPeer) -> None:
        target = SyncTarget(self.mode_to_run, master.node_id, master.head_hash, master.total_difficulty)
        run = SyncRun(
            config=self.config,
            target=target,
            chain=self.chain,
            peers=self.download_peers,
            rng=self.net.rng,
            next_request_id=self._ids.__next__,
        )
        self.downloader = Downloader(run, self.outcomes[-1].progress if self.outcomes else None)
        self._carry_out(self.downloader.start(self.net.now))

    def sync(self, master: SimPeer) -> SyncFault | None:
        """One sync with `master`, to its end."""
        self.start(master)
        return self.finish()

    def finish(self) -> SyncFault | None:
        """Let the running sync come to its end."""
        hangs_at = self.net.now + LONGEST_SYNC_S
        self.net.run_while(lambda: self.downloader is not None and self.net.now < hangs_at)
        assert self.downloader is None, f"the sync hangs: {self.downloader.progress()}"
        return self.outcomes[-1].fault

    def sync_until_settled(self, most_syncs: int = 20) -> None:
        """Sync with the best peer, again and again, until none is above us."""
        for _ in range(most_syncs):
            best = max(self.peers.values(), key=lambda peer: peer.total_difficulty, default=None)
            if best is None or best.total_difficulty <= self.total_difficulty:
                return
            self.sync(best)
            self.net.run_until(self.net.now + 10)
        raise AssertionError(f"not settled after {most_syncs} syncs: {[o.fault for o in self.outcomes]}")

    def cancel(self) -> None:
        assert self.downloader is not None
        self._carry_out(self.downloader.cancel(self.net.now))

    def lose(self, request: SyncRequest) -> None:
        """A request got lost on our side."""
        assert self.downloader is not None
        self._carry_out(self.downloader.on_request_failed(request.request_id, self.net.now))

    @property
    def progress(self) -> SyncProgress:
        """Of the running sync; of the last one when none runs."""
        return self.downloader.progress() if self.downloader is not None else self.outcomes[-1].progress

    @property
    def mode_to_run(self) -> SyncMode:
        """Of the next sync: a fast one is followed by full ones."""
        return mode_to_run(self.mode, self.chain.heads())

    @property
    def head_number(self) -> int:
        """Of the newest header in light mode, else of the newest block that is imported in full."""
        heads = self.chain.heads()
        return (heads.header if self.mode is SyncMode.LIGHT else heads.full_block).number

    @property
    def total_difficulty(self) -> int:
        """What a peer must be above."""
        ours = self.chain.total_difficulty(self.chain.heads().of(followed_head(self.mode_to_run)).hash)
        assert ours is not None
        return ours

    def _carry_out(self, actions: Sequence[SyncAction]) -> None:
        for action in actions:
            match action:
                case RequestHeaders() | RequestBodies() | RequestReceipts() | RequestNodeData():
                    self._ask(action)
                case ImportHeaders() | ImportBlocks() | ImportFastBlocks() | CommitPivot() | StoreState():
                    self._import(action)
                case RollBackHeaders(headers):
                    self.head_before_rollback = self.chain.heads().header.number
                    self.net.log(f"roll back {headers[0].number}..{headers[-1].number}")
                    self.chain.forget(headers)
                case DropPeer(node_id, reason):
                    self.net.log(f"drop {node_id[:8]!r} {reason.name}")
                    self.dropped[self.peers.pop(node_id).name] = reason
                case SyncEnded(outcome):
                    self.net.log(f"end {outcome.fault}")
                    self.outcomes.append(outcome)
                    self.downloader = None
                case _:
                    assert_never(action)
        if self.downloader is not None:
            progress = self.downloader.progress()
            self.most_headers_waiting = max(self.most_headers_waiting, progress.headers_waiting)
            self.most_blocks_waiting = max(self.most_blocks_waiting, progress.blocks_waiting)
            self.most_waiting_bytes = max(self.most_waiting_bytes, progress.waiting_bytes)
            self._plan_wakeup(self.downloader)

    def _plan_wakeup(self, downloader: Downloader) -> None:
        due = downloader.next_wakeup()

        def wake() -> None:
            if downloader is self.downloader and downloader.next_wakeup() == due:
                self._carry_out(downloader.on_wakeup(self.net.now))
                again = downloader.next_wakeup()
                self._idle_wakeups = self._idle_wakeups + 1 if again is not None and again <= self.net.now else 0
                assert self._idle_wakeups < MOST_STEPS, "a wakeup has to do what it was wanted for"

        if due is not None:
            self.net.at(max(due, self.net.now), wake)

    def _ask(self, request: SyncRequest) -> None:
        peer = self.peers[request.peer]
        peer.asked.append(request)
        reply = peer.answer(request)
        count = None if reply is None else len(reply)
        self.net.log(f"ask {peer.name} {request.request_id} gives {count}")
        if reply is None or self.net.rng.random() < peer.loss:
            return
        arrives = self.net.now + self.net.rng.uniform(*peer.latency) + peer.seconds_per_item * len(reply)
        peer.free_at = max(peer.free_at, arrives)

        self.net.at(peer.free_at, lambda: self._deliver(peer, request, reply))

    def _deliver(self, peer: SimPeer, request: SyncRequest, reply: Sequence[Any]) -> None:
        """Give a reply to the sync that runs now, as the driver does: it may be one of a sync that has ended."""
        downloader = self.downloader
        if peer.node_id in self.peers and downloader is not None:
            self._carry_out(_on_reply(downloader, request)(request.request_id, reply, self.net.now))

    def _import(self, batch: SyncImport) -> None:
        """Batches of all lanes are taken one after the other."""
        cost = _items_in(batch) * self.import_seconds
        self.net.log(f"import {type(batch).__name__} {_span_of(batch)}")
        self._importer_free_at = max(self._importer_free_at, self.net.now, self.importer_stalls_until) + cost
        self.net.at(self._importer_free_at, lambda: self._imported(batch))

    def _imported(self, batch: SyncImport) -> None:
        """Take what is valid; the checks of a block's own content stand for all chain rules."""
        downloader = self.downloader
        assert downloader is not None, "a sync ended while its batch was with the importer"
        if isinstance(batch, StoreState) and self.fail_state_commits:
            self._carry_out(downloader.on_import_failed(batch.batch_id, None, "disk", self.net.now))
            return
        broken = self._take(batch)
        if broken is None:
            self._carry_out(downloader.on_imported(batch.batch_id, self.net.now))
        else:
            number = broken if broken != self.importer_fails_from else None
            self._carry_out(downloader.on_import_failed(batch.batch_id, number, "rule", self.net.now))

    def _take(self, batch: SyncImport) -> int | None:
        """The number of the first block that breaks a rule; what is below it is taken."""
        match batch:
            case ImportHeaders(_, headers):
                broken = self._broken(headers)
                self.chain.add_headers(headers[:broken])
                return None if broken is None else headers[broken].number
            case ImportBlocks(_, blocks, receipts):
                broken = self._broken([block.header for block in blocks])
                self.chain.add_blocks(blocks[:broken], receipts)
                return None if broken is None else blocks[broken].header.number
            case ImportFastBlocks(_, blocks, receipts):
                assert all(self.chain.header(block.header.hash) for block in blocks), "headers come first"
                self.chain.add_fast_blocks(blocks, receipts)
            case CommitPivot(_, header):
                self.chain.commit_pivot(header)
            case StoreState(_, entries):
                self.chain.add_state(entries)
            case _:
                assert_never(batch)
        return None

    def _broken(self, headers: Sequence[Header]) -> int | None:
        """The index of the first one that is not taken."""
        failing = self.importer_fails_from
        return next(
            (at for at, each in enumerate(headers) if each.extra_data == BROKEN_RULE or each.number == failing), None
        )

    def run_until_phase(self, phase: SyncPhase) -> None:
        self.net.run_while(lambda: self.downloader is not None and self.downloader.progress().phase is not phase)


def _on_reply(downloader: Downloader, request: SyncRequest) -> Callable[[int, Any, float], Sequence[SyncAction]]:
    match request:
        case RequestHeaders():
            return downloader.on_headers
        case RequestBodies():
            return downloader.on_bodies
        case RequestReceipts():
            return downloader.on_receipts
        case RequestNodeData():
            return downloader.on_node_data
        case _:
            assert_never(request)


def _items_in(batch: SyncImport) -> float:
    """How much work a batch is, in blocks or headers; a hundred state entries are about one."""
    match batch:
        case ImportHeaders(_, headers):
            return len(headers)
        case ImportBlocks(_, blocks) | ImportFastBlocks(_, blocks):
            return len(blocks)
        case CommitPivot():
            return 1
        case StoreState(_, entries):
            return len(entries) / 100
        case _:
            assert_never(batch)


def _span_of(batch: SyncImport) -> str:
    match batch:
        case ImportHeaders(_, headers):
            return f"{headers[0].number}..{headers[-1].number}"
        case ImportBlocks(_, blocks) | ImportFastBlocks(_, blocks):
            return f"{blocks[0].header.number}..{blocks[-1].header.number}"
        case CommitPivot(_, header):
            return f"{header.number}"
        case StoreState(_, entries):
            return f"{len(entries)} entries"
        case _:
            assert_never(batch)
