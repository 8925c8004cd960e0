"""The download phase of a sync: everything above the common ancestor, fetched and given to the importer.

All parts run at once, each feeding the next and held back by it:

    skeleton and tail -> linked headers -> (fast, light) importer
                                        -> (fast: once imported, full) block assembly <- bodies, (fast) receipts
                                                -> (full) importer
                                                -> (fast) importer, split at the pivot <- state

`advance` may be called at any time; it does all that can be done now.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from services.shared.ethwire.types import Header, PeerId
from services.sync_coordinator.core.ancestor_search import HeaderQuestion
from services.sync_coordinator.core.block_download import BlockDownload
from services.sync_coordinator.core.capacity import PartKind
from services.sync_coordinator.core.content_fetch import ContentFetch
from services.sync_coordinator.core.header_download import HeaderDownload, HeaderStage
from services.sync_coordinator.core.import_batches import BlockImports, HeaderImports, ImportLane
from services.sync_coordinator.core.linked_headers import LinkedHeaders
from services.sync_coordinator.core.master_promise import MasterPromise
from services.sync_coordinator.core.part_fetch import PartFetch
from services.sync_coordinator.core.pivot_state import PivotState
from services.sync_coordinator.core.skeleton import Gap
from services.sync_coordinator.core.sync_actions import (
    RequestBodies,
    RequestHeaders,
    RequestReceipts,
    SyncAction,
    SyncMode,
)
from services.sync_coordinator.core.sync_faults import SyncFailed, SyncFault
from services.sync_coordinator.core.sync_run import SyncRun
from services.sync_coordinator.core.sync_start import SyncStart


class ChainDownload:
    """Owns all parts of the phase and the requests of every peer but the master's own dialogue."""

    def __init__(self, run: SyncRun, start: SyncStart) -> None:
        ancestor, pivot = start
        self._run = run
        self._mode = run.mode
        config = run.config
        self.headers = HeaderDownload(
            config, ancestor, run.imported_head, lambda: pivot.number if pivot.is_pending else None
        )
        self.header_imports = HeaderImports(config, run.chain)
        self._imported = LinkedHeaders(ancestor.number, ancestor.block_hash)
        """Headers that the importer took in fast mode, on their way to the assembly."""
        self.blocks = BlockDownload(config, with_receipts=self._mode is SyncMode.FAST)
        self.block_imports = BlockImports(config)
        self.pivot = PivotState(run, pivot)
        self._fills: PartFetch[Gap] = PartFetch(
            PartKind.HEADERS,
            self.headers.skeleton.queue,
            run.peers,
            most=1,
            rng=run.rng,
            next_request_id=run.next_request_id,
        )
        assembly = self.blocks.assembly
        self.bodies = ContentFetch(
            run, PartKind.BODIES, self.blocks.bodies, assembly.body_budget, most=config.bodies_per_request
        )
        self.receipts = ContentFetch(
            run, PartKind.RECEIPTS, self.blocks.receipts, assembly.receipts_budget, most=config.receipts_per_request
        )
        self._fetches = (self._fills, self.bodies.parts, self.receipts.parts)
        self._promise = MasterPromise(run)
        self._headers_checked = False
        self._timeouts = 0

    @property
    def open_requests(self) -> int:
        return sum([fetch.queue.open_requests for fetch in self._fetches]) + self.pivot.open_requests

    @property
    def timeouts(self) -> int:
        return self._timeouts + self.pivot.timeouts

    @property
    def is_busy(self) -> bool:
        """Whether the importer owes an answer."""
        return self.header_imports.lane.is_busy or self.block_imports.lane.is_busy or self.pivot.is_busy

    @property
    def is_throttled(self) -> bool:
        """Whether it is the importer, which has a batch, that all the rest waits for."""
        if self._mode is SyncMode.LIGHT:
            return self.header_imports.lane.is_busy and self.headers.is_full()
        if self.block_imports.lane.is_busy and self.blocks.assembly.is_full:
            return True
        return self._mode is SyncMode.FAST and self.is_busy and self.headers.is_full(self._headers_with_importer)

    @property
    def result_lane(self) -> ImportLane:
        """The lane whose imports are what the sync is for."""
        return self.header_imports.lane if self._mode is SyncMode.LIGHT else self.block_imports.lane

    @property
    def headers_waiting(self) -> int:
        """Headers held whose block is not complete."""
        return self.headers.held + self._downstream

    @property
    def is_complete(self) -> bool:
        """Whether the master has no more headers and all that came is imported."""
        return (
            self._headers_are_in
            and not len(self._imported)
            and not len(self.blocks.assembly)
            and not self.is_busy
            and not self.pivot.pivot.is_pending
        )

    def lacking(self, peer: PeerId) -> int:
        """Parts that the peer is known not to have."""
        return sum([fetch.queue.lacking_count(peer) for fetch in self._fetches]) + self.pivot.lacking(peer)

    def on_headers(self, request_id: int, headers: Sequence[Header], now: float) -> bool:
        """Take a peer's headers for a gap; False when nobody waits for them."""
        reservation = self._fills.queue.reservation(request_id)
        if reservation is None:
            return False
        is_filled = self.headers.on_fill(reservation, headers)
        self._fills.settle(reservation, () if is_filled else reservation.parts, now)
        self.headers.on_fill_settled()
        return True

    def on_request_lost(self, request_id: int, now: float) -> bool:
        """Take back what a request asked for that never got out; False when it is not open."""
        until = now + self._run.config.lost_request_pause_s
        for fetch in self._fetches:
            if request_id in fetch.queue:
                fetch.lose(request_id, until)
                return True
        return self.pivot.on_request_lost(request_id, now)

    def owes(self, batch_id: int) -> bool:
        """Whether the importer has this batch."""
        lanes = (self.header_imports.lane, self.block_imports.lane, self.pivot)
        return any(lane.owes(batch_id) for lane in lanes)

    def on_imported(self, batch_id: int, now: float) -> None:
        """The importer took all of a batch. Caller's duty: it was owed."""
        if self.header_imports.lane.owes(batch_id):
            headers = self.header_imports.on_imported(now)
            if self._mode is SyncMode.FAST:
                self._imported.add(headers)
                self.pivot.on_headers_imported(headers)
        elif self.block_imports.lane.owes(batch_id):
            self.block_imports.on_imported(now)
            self.blocks.assembly.on_imported()
        else:
            self.pivot.on_stored(batch_id, now)

    def on_import_failed(self, batch_id: int, number: int | None) -> None:
        """The importer took what is below block `number`, or an unknown part; the sync is about to end."""
        if self.header_imports.lane.owes(batch_id):
            self.header_imports.on_failed(number)
        elif self.block_imports.lane.owes(batch_id):
            self.block_imports.lane.on_failed()
        else:
            self.pivot.on_store_failed(batch_id)

    def on_peer_left(self, peer: PeerId) -> None:
        """Take back what the peer was asked for."""
        for fetch in self._fetches:
            fetch.queue.revoke(peer)
        self.pivot.on_peer_left(peer)

    def cancel(self) -> None:
        """The sync has ended; batches may still be with the importer."""
        self.pivot.cancel()

    def expire(self, now: float) -> list[PeerId]:
        """Take back what requests asked for that took too long; returns the peers too slow to keep."""
        too_slow = self.pivot.expire(now)
        for fetch in self._fetches:
            count, peers = fetch.expire(now)
            self._timeouts += count
            too_slow += peers
        return too_slow

    def advance(self, now: float) -> Iterator[SyncAction]:
        """Import, open and ask for as much as there is room for. Raises SyncFailed when no peer can serve a part.

        Caller's duty: carry out what came before the fault too.
        """
        next_id = self._run.next_request_id
        if self._mode is not SyncMode.FULL:
            pivot = self.pivot.pivot.last_fast_block if self._mode is SyncMode.FAST else None
            if (headers := self.header_imports.next(self.headers.ready, next_id, pivot)) is not None:
                yield headers
            self._check_headers()
        if self._mode is not SyncMode.LIGHT:
            yield from self._advance_blocks(now)
        yield from self._ask_for_fills(now)

    def next_wakeup(self) -> float | None:
        due = [fetch.next_wakeup() for fetch in self._fetches]
        due += [self.headers.next_wakeup(self._downstream), self.pivot.next_wakeup()]
        return min((at for at in due if at is not None), default=None)

    def question(self, now: float) -> HeaderQuestion | None:
        """What to ask the master now."""
        return self.headers.question(self._downstream, now)

    @property
    def _downstream(self) -> int:
        """Headers that left the header download and are not a block yet; in light mode, not counted any more."""
        incomplete = self.blocks.assembly.incomplete
        return incomplete + self._headers_with_importer if self._mode is SyncMode.FAST else incomplete

    @property
    def _headers_with_importer(self) -> int:
        """Headers that are being imported, and those that were and wait for room in the assembly."""
        return self.header_imports.lane.in_batch + len(self._imported)

    @property
    def _blocks_are_coming(self) -> bool:
        """Whether headers are on their way or wait for their blocks; asking for more of the tail does not count."""
        return self.headers_waiting > 0 or self.headers.stage in (HeaderStage.SKELETON, HeaderStage.FILLING)

    @property
    def _headers_are_in(self) -> bool:
        return (
            self.headers.stage is HeaderStage.DONE
            and not len(self.headers.ready)
            and not self.header_imports.lane.is_busy
        )

    def check_promise(self) -> None:
        """Raise SyncFailed when the complete download falls short of what the master promised."""
        self._promise.check(delivered=self.headers.fetched > 0)

    def _check_headers(self) -> None:
        """Once all headers are imported: the promise was kept, and nothing has to be taken back any more."""
        if self._headers_are_in and not self._headers_checked:
            self.check_promise()
            self._headers_checked = True
            self.header_imports.added.clear()
            self.pivot.on_headers_complete(self.headers.ready.last_number)

    def _advance_blocks(self, now: float) -> Iterator[SyncAction]:
        blocks, next_id = self.blocks, self._run.next_request_id
        batch: SyncAction | None
        if self._mode is SyncMode.FULL:
            blocks.open(self.headers.ready)
            batch = self.block_imports.next(blocks.assembly, next_id)
        else:
            blocks.open(self._imported)
            if not self.block_imports.is_committing:
                self.pivot.follow(blocks.assembly)
            batch = self.block_imports.next_fast(
                blocks.assembly, self.pivot.pivot, next_id, state_is_whole=self.pivot.is_whole
            )
        if batch is not None:
            yield batch
        for request_id, peer, headers, _ in self.bodies.ask(now):
            yield RequestBodies(request_id, peer, [header.hash for header in headers])
        if self._mode is SyncMode.FAST:
            for request_id, peer, headers, _ in self.receipts.ask(now):
                yield RequestReceipts(request_id, peer, [header.hash for header in headers])
            yield from self.pivot.advance(now, may_move=self._blocks_are_coming)

    def _ask_for_fills(self, now: float) -> Iterator[RequestHeaders]:
        budget = self.headers.fill_budget(self._downstream)
        given = self._fills.assign(budget, now)
        if not given and budget > 0 and self._fills.is_stuck():
            gap = self._fills.queue.first_pending()
            raise SyncFailed(
                SyncFault.INVALID_CHAIN, f"no peer can fill the skeleton from {gap.start if gap else 0} on"
            )
        size = self._run.config.headers_per_request
        for request_id, peer, gaps, _ in given:
            yield RequestHeaders(request_id, peer, gaps[0].start, size)
