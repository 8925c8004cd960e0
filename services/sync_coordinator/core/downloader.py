"""One sync with one master peer, in full, fast or light mode (geth `eth/downloader` of 1.8).

The phases follow each other: the master's height, the common ancestor, the download. Of the master only
one question is open at a time; its time-out ends the sync.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from services.shared.ethwire.types import BlockReceipts, Body, Header, PeerId, StateEntry
from services.sync_coordinator.core.ancestor_search import AncestorSearch, HeaderQuestion
from services.sync_coordinator.core.chain_download import ChainDownload
from services.sync_coordinator.core.download_progress import with_download
from services.sync_coordinator.core.master_dialogue import MasterDialogue
from services.sync_coordinator.core.sync_actions import (
    DropPeer,
    RollBackHeaders,
    SyncAction,
    SyncEnded,
    SyncOutcome,
    SyncPhase,
    SyncProgress,
)
from services.sync_coordinator.core.sync_faults import SyncFailed, SyncFault
from services.sync_coordinator.core.sync_run import SyncRun
from services.sync_coordinator.core.sync_start import plan_start, starting_block


class Downloader:
    """Feed it every event of its sync; carry out, in order, the actions it returns.

    `SyncEnded` is the last action. It comes after every batch was answered for, also when the sync is
    cancelled; later input is ignored. The caller owes one answer for each batch, and a call of
    `on_wakeup` at `next_wakeup()`. A peer in a `DropPeer` counts as gone at once.
    """

    def __init__(self, run: SyncRun, previous: SyncProgress | None = None) -> None:
        """`previous` is the last progress of the sync before, if any: its starting block may still count."""
        self._run = run
        self._previous = previous
        self._search = AncestorSearch(run.config, run.target.mode, run.chain, run.target.head_hash)
        self._download: ChainDownload | None = None
        self._master = MasterDialogue(run)
        self._actions: list[SyncAction] = []
        self._phase = SyncPhase.IDLE
        self._fault: SyncFault | None = None
        self._detail = ""
        self._started_at = 0.0
        self._starting_block = self._highest_block = 0
        self._stale_replies = 0

    def start(self, now: float) -> list[SyncAction]:
        """Begin: ask the master for its head."""
        self._started_at = now
        self._phase = SyncPhase.HEIGHT
        self._run.peers.reset()
        with self._step(now):
            self._master.check()
        return self._take_actions()

    def on_headers(self, request_id: int, headers: Sequence[Header], now: float) -> list[SyncAction]:
        """A reply to `RequestHeaders`, their hashes computed by us."""
        if not self._is_running:
            return []
        with self._step(now):
            if self._master.takes(request_id):
                self._on_answer(headers, now)
            elif self._download is None or not self._download.on_headers(request_id, headers, now):
                self._stale_replies += 1
        return self._take_actions()

    def on_bodies(self, request_id: int, bodies: Sequence[Body], now: float) -> list[SyncAction]:
        """A reply to `RequestBodies`, the roots computed by us."""
        return self._on_parts(
            lambda download: download.bodies.on_reply(request_id, bodies, now), SyncFault.INVALID_BODY, now
        )

    def on_receipts(self, request_id: int, receipts: Sequence[BlockReceipts], now: float) -> list[SyncAction]:
        """A reply to `RequestReceipts`; roots, blooms and gas computed by us."""
        return self._on_parts(
            lambda download: download.receipts.on_reply(request_id, receipts, now), SyncFault.INVALID_RECEIPTS, now
        )

    def on_node_data(self, request_id: int, entries: Sequence[StateEntry], now: float) -> list[SyncAction]:
        """A reply to `RequestNodeData`, the hashes computed by us."""
        return self._on_parts(
            lambda download: download.pivot.on_node_data(request_id, entries, now), SyncFault.INVALID_STATE_ENTRY, now
        )

    def on_request_failed(self, request_id: int, now: float) -> list[SyncAction]:
        """A request got lost on our side and will never be answered. Nobody's fault."""
        if not self._is_running:
            return []
        with self._step(now):
            if self._master.takes(request_id):
                raise SyncFailed(SyncFault.REQUEST_LOST, f"in phase {self._phase.value}")
            if self._download is not None:
                self._download.on_request_lost(request_id, now)
        return self._take_actions()

    def on_peer_joined(self, peer: PeerId, eth_version: int, now: float) -> list[SyncAction]:
        """One more peer to ask."""
        self._run.peers.join(peer, eth_version)
        with self._step(now):
            pass
        return self._take_actions()

    def on_peer_left(self, peer: PeerId, now: float) -> list[SyncAction]:
        """A peer is gone, whoever ended it; what it was asked for goes to others."""
        with self._step(now):
            self._forget_peer(peer)
            if peer == self._run.target.master:
                raise SyncFailed(SyncFault.MASTER_LEFT, f"in phase {self._phase.value}")
        return self._take_actions()

    def on_imported(self, batch_id: int, now: float) -> list[SyncAction]:
        """The importer took all of a batch, or knew it already."""
        download = self._download
        if download is not None and download.owes(batch_id):
            download.on_imported(batch_id, now)
            with self._step(now):
                pass
            self._end_if_idle()
        return self._take_actions()

    def on_import_failed(self, batch_id: int, number: int | None, reason: str, now: float) -> list[SyncAction]:
        """Block `number` broke a rule, and those below it were taken; or, with None, our own store failed."""
        download = self._download
        if download is not None and download.owes(batch_id):
            download.on_import_failed(batch_id, number)
            with self._step(now):
                raise SyncFailed(SyncFault.IMPORT_FAILED if number is None else SyncFault.INVALID_CHAIN, reason)
            self._end_if_idle()
        return self._take_actions()

    def on_wakeup(self, now: float) -> list[SyncAction]:
        """Time has passed."""
        if not self._is_running:
            return []
        with self._step(now):
            self._master.check_time(now, self._phase)
            for peer in self._download.expire(now) if self._download is not None else ():
                self._drop(peer, SyncFault.TIMEOUT, "too slow for the smallest request")
        return self._take_actions()

    def cancel(self, now: float) -> list[SyncAction]:
        """End the sync without blame. `SyncEnded` may have to wait for the importer."""
        if not self._is_running:
            return []
        with self._step(now):
            raise SyncFailed(SyncFault.CANCELLED, f"in phase {self._phase.value}")
        return self._take_actions()

    def next_wakeup(self) -> float | None:
        """When `on_wakeup` has something to do; None when only other input helps."""
        if not self._is_running:
            return None
        due = [self._run.peers.next_wakeup(), self._master.due]
        if self._download is not None:
            due.append(self._download.next_wakeup())
        return min((at for at in due if at is not None), default=None)

    def progress(self) -> SyncProgress:
        """How far the sync is, or was when it ended."""
        progress = SyncProgress(
            phase=self._phase,
            master=self._run.target.master,
            starting_block=self._starting_block,
            current_block=self._run.imported_head(),
            highest_block=self._highest_block,
            open_requests=self.open_requests,
            stale_replies=self._stale_replies,
            started_at=self._started_at,
            fault=self._fault,
        )
        return progress if self._download is None else with_download(progress, self._download)

    @property
    def open_requests(self) -> int:
        """Requests that peers have not answered yet."""
        return self._master.is_asked + (self._download.open_requests if self._download else 0)

    def lacking(self, peer: PeerId) -> int:
        """Parts of this sync that the peer was found not to have."""
        return self._download.lacking(peer) if self._download is not None else 0

    @property
    def _is_running(self) -> bool:
        return self._phase in (SyncPhase.HEIGHT, SyncPhase.ANCESTOR, SyncPhase.DOWNLOAD)

    @contextmanager
    def _step(self, now: float) -> Iterator[None]:
        """Runs one input, then all that follows from it while the sync runs; a SyncFailed ends it."""
        self._run.peers.on_time(now)
        try:
            yield
            if self._is_running:
                self._advance(now)
        except SyncFailed as failure:
            if self._is_running:
                self._end(failure.fault, failure.detail)

    def _advance(self, now: float) -> None:
        self._run.on_prepare()
        download = self._download
        if download is not None:
            self._actions.extend(download.advance(now))
            if download.is_complete:
                download.check_promise()
                self._end(None, "")
                return
            self._highest_block = max(self._highest_block, download.headers.ready.last_number)
        if not self._master.is_asked:
            question = self._next_question(now)
            if question is not None:
                self._ask_master(question, now)

    def _next_question(self, now: float) -> HeaderQuestion | None:
        if self._download is None:
            return self._search.question
        return self._download.question(now)

    def _ask_master(self, question: HeaderQuestion, now: float) -> None:
        if self._download is not None:
            self._download.headers.on_asked()
        self._actions.append(self._master.ask(question, now))

    def _on_answer(self, headers: Sequence[Header], now: float) -> None:
        if self._download is not None:
            self._download.headers.on_reply(headers, now)
            return
        search = self._search
        search.on_reply(headers)
        self._phase = search.phase
        if search.height is not None:
            self._highest_block = search.height.number
        if search.ancestor is not None:
            self._phase = SyncPhase.DOWNLOAD
            assert search.height is not None
            self._starting_block = starting_block(self._previous, search.ancestor.number)
            start = plan_start(self._run, search.height.number, search.ancestor)
            self._download = ChainDownload(self._run, start)

    def _on_parts(
        self, take: Callable[[ChainDownload], tuple[bool, PeerId | None]], fault: SyncFault, now: float
    ) -> list[SyncAction]:
        """`take` tells whether a reply was awaited, and the peer if something in it was not asked for."""
        if not self._is_running:
            return []
        with self._step(now):
            is_awaited, guilty = take(self._download) if self._download is not None else (False, None)
            self._stale_replies += not is_awaited
            if guilty is not None:
                self._drop(guilty, fault, "")
        return self._take_actions()

    def _drop(self, peer: PeerId, fault: SyncFault, detail: str) -> None:
        """Have a peer disconnected; without its master a sync ends."""
        if self._run.peers.get(peer) is not None:
            self._actions.append(DropPeer(peer, fault, detail))
            self._forget_peer(peer)
        if peer == self._run.target.master:
            raise SyncFailed(fault, detail)

    def _forget_peer(self, peer: PeerId) -> None:
        self._run.peers.leave(peer)
        if self._download is not None:
            self._download.on_peer_left(peer)

    def _end(self, fault: SyncFault | None, detail: str) -> None:
        self._phase = SyncPhase.ENDING
        self._fault, self._detail = fault, detail
        self._master.forget()
        if self._download is not None:
            self._download.cancel()
        if fault is not None and fault.drops_master and self._run.peers.get(self._run.target.master) is not None:
            self._actions.append(DropPeer(self._run.target.master, fault, detail))
            self._forget_peer(self._run.target.master)
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        """Say so once the importer is done: a fast or light sync whose headers failed first takes the newest back."""
        download = self._download
        if self._phase is not SyncPhase.ENDING or (download is not None and download.is_busy):
            return
        self._phase = SyncPhase.ENDED
        if self._fault is not None and download is not None and download.header_imports.added:
            self._actions.append(RollBackHeaders(list(download.header_imports.added)))
        self._actions.append(SyncEnded(SyncOutcome(self._fault, self._detail, self.progress())))

    def _take_actions(self) -> list[SyncAction]:
        actions, self._actions = self._actions, []
        return actions
