"""Whole syncs in virtual time: the real downloader, simulated peers and importer, fake edges."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, assert_never

from services.shared.ethwire.types import PeerId
from services.sync_coordinator.core.capacity import DownloadPeers
from services.sync_coordinator.core.downloader import Downloader
from services.sync_coordinator.core.downloader_config import DownloaderConfig
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
    SyncPhase,
    SyncProgress,
    SyncTarget,
)
from services.sync_coordinator.core.sync_faults import SyncFault
from services.sync_coordinator.core.sync_run import SyncRun
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
)
"""Every limit small, so that short chains reach them all."""

LONGEST_SYNC_S = 7200.0
"""In virtual time; a sync that takes longer hangs."""


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
        target = SyncTarget(self.mode, master.node_id, master.head_hash, master.total_difficulty)
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

    def lose(self, request: RequestHeaders | RequestBodies) -> None:
        """A request got lost on our side."""
        assert self.downloader is not None
        self._carry_out(self.downloader.on_request_failed(request.request_id, self.net.now))

    @property
    def progress(self) -> SyncProgress:
        """Of the running sync; of the last one when none runs."""
        return self.downloader.progress() if self.downloader is not None else self.outcomes[-1].progress

    @property
    def head_number(self) -> int:
        heads = self.chain.heads()
        return (heads.full_block if self.mode is SyncMode.FULL else heads.header).number

    @property
    def total_difficulty(self) -> int:
        heads = self.chain.heads()
        ours = self.chain.total_difficulty((heads.full_block if self.mode is SyncMode.FULL else heads.header).hash)
        assert ours is not None
        return ours

    def _carry_out(self, actions: Sequence[SyncAction]) -> None:
        for action in actions:
            match action:
                case RequestHeaders() | RequestBodies():
                    self._ask(action)
                case ImportHeaders() | ImportBlocks():
                    self._import(action)
                case RequestNodeData() | StoreState():
                    raise AssertionError("a full or light sync needs no state")
                case RollBackHeaders(headers):
                    self.head_before_rollback = self.head_number
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
                assert again is None or again > self.net.now, "a wakeup has to do what it was wanted for"

        if due is not None:
            self.net.at(due, wake)

    def _ask(self, request: RequestHeaders | RequestBodies) -> None:
        peer = self.peers[request.peer]
        peer.asked.append(request)
        reply = peer.headers(request) if isinstance(request, RequestHeaders) else peer.bodies(request)
        count = None if reply is None else len(reply)
        self.net.log(f"ask {peer.name} {request.request_id} gives {count}")
        if reply is None or self.net.rng.random() < peer.loss:
            return
        arrives = self.net.now + self.net.rng.uniform(*peer.latency) + peer.seconds_per_item * len(reply)
        peer.free_at = max(peer.free_at, arrives)

        self.net.at(peer.free_at, lambda: self._deliver(peer, request, reply))

    def _deliver(self, peer: SimPeer, request: RequestHeaders | RequestBodies, reply: Sequence[Any]) -> None:
        """Give a reply to the sync that runs now, as the driver does: it may be one of a sync that has ended."""
        downloader = self.downloader
        if peer.node_id in self.peers and downloader is not None:
            on_reply = downloader.on_headers if isinstance(request, RequestHeaders) else downloader.on_bodies
            self._carry_out(on_reply(request.request_id, reply, self.net.now))

    def _import(self, batch: ImportHeaders | ImportBlocks) -> None:
        headers = batch.headers if isinstance(batch, ImportHeaders) else [block.header for block in batch.blocks]
        self.net.log(f"import {headers[0].number}..{headers[-1].number}")
        done_at = max(self.net.now + self.import_seconds * len(headers), self.importer_stalls_until)
        self.net.at(done_at, lambda: self._imported(batch))

    def _imported(self, batch: ImportHeaders | ImportBlocks) -> None:
        """Take what is valid; the checks of a block's own content stand for all chain rules."""
        downloader = self.downloader
        assert downloader is not None, "a sync ended while its batch was with the importer"
        headers = batch.headers if isinstance(batch, ImportHeaders) else [block.header for block in batch.blocks]
        failing = self.importer_fails_from
        broken = next(
            (i for i, header in enumerate(headers) if header.extra_data == BROKEN_RULE or header.number == failing),
            None,
        )
        if isinstance(batch, ImportHeaders):
            self.chain.add_headers(batch.headers[:broken])
        else:
            self.chain.add_blocks(batch.blocks[:broken])
        if broken is None:
            self._carry_out(downloader.on_imported(batch.batch_id, self.net.now))
        else:
            number = headers[broken].number if headers[broken].number != failing else None
            self._carry_out(downloader.on_import_failed(batch.batch_id, number, "rule", self.net.now))

    def run_until_phase(self, phase: SyncPhase) -> None:
        self.net.run_while(lambda: self.downloader is not None and self.downloader.progress().phase is not phase)
