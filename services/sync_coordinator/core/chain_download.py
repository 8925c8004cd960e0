"""The download phase of a sync: everything above the common ancestor, fetched and given to the importer.

All parts run at once, each feeding the next and held back by it:

    skeleton and tail -> linked headers -> (full) block assembly <- bodies
                                        -> importer (light: headers, full: blocks)

`advance` may be called at any time; it does all that can be done now.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.shared.ethwire.types import Body, Header, PeerId
from services.sync_coordinator.core.ancestor_search import CommonAncestor
from services.sync_coordinator.core.body_download import BodyDownload
from services.sync_coordinator.core.capacity import PartKind
from services.sync_coordinator.core.header_download import HeaderDownload, HeaderStage
from services.sync_coordinator.core.import_batches import ImportBatches
from services.sync_coordinator.core.part_fetch import PartFetch
from services.sync_coordinator.core.skeleton import Gap
from services.sync_coordinator.core.sync_actions import RequestBodies, RequestHeaders, SyncAction
from services.sync_coordinator.core.sync_faults import SyncFailed, SyncFault
from services.sync_coordinator.core.sync_run import SyncRun


class ChainDownload:
    """Owns all parts of the phase and the requests of every peer but the master's own dialogue."""

    def __init__(self, run: SyncRun, ancestor: CommonAncestor) -> None:
        self._run = run
        self.headers = HeaderDownload(run.config, ancestor, run.imported_head)
        self.bodies = BodyDownload(run.config)
        self.imports = ImportBatches(run.config, run.chain)
        self._fills: PartFetch[Gap] = PartFetch(
            PartKind.HEADERS,
            self.headers.skeleton.queue,
            run.peers,
            most=1,
            rng=run.rng,
            next_request_id=run.next_request_id,
        )
        self._body_fetch: PartFetch[Header] = PartFetch(
            PartKind.BODIES,
            self.bodies.queue,
            run.peers,
            most=run.config.bodies_per_request,
            rng=run.rng,
            next_request_id=run.next_request_id,
        )
        self._total_difficulty_before = run.total_difficulty()
        self.timeouts = 0

    @property
    def open_requests(self) -> int:
        return self._fills.queue.open_requests + self.bodies.queue.open_requests

    @property
    def is_throttled(self) -> bool:
        """Whether it is the importer, which has a batch, that all the rest waits for."""
        is_full = self.bodies.assembly.is_full if self._run.is_full else self.headers.is_full
        return self.imports.is_busy and is_full

    def lacking(self, peer: PeerId) -> int:
        """Parts that the peer is known not to have."""
        return self._fills.queue.lacking_count(peer) + self._body_fetch.queue.lacking_count(peer)

    @property
    def is_complete(self) -> bool:
        """Whether the master has no more headers and all that came is imported."""
        return (
            self.headers.stage is HeaderStage.DONE
            and not len(self.headers.ready)
            and not len(self.bodies.assembly)
            and not self.imports.is_busy
        )

    def check_promise(self) -> None:
        """Raise SyncFailed when the complete download falls short of what the master promised.

        In full mode a master that brought us any further is believed for now: the next sync will tell.
        """
        promised, ours = self._run.target.total_difficulty, self._run.total_difficulty()
        if promised <= ours or (self._run.is_full and ours > self._total_difficulty_before):
            return
        raise SyncFailed(SyncFault.STALLING_PEER, f"it promised a total difficulty of {promised}, we are at {ours}")

    def on_headers(self, request_id: int, headers: Sequence[Header], now: float) -> bool:
        """Take a peer's headers for a gap; False when nobody waits for them."""
        reservation = self._fills.queue.reservation(request_id)
        if reservation is None:
            return False
        is_filled = self.headers.on_fill(reservation, headers)
        self._fills.settle(reservation, () if is_filled else reservation.parts, now)
        self.headers.on_fill_settled()
        return True

    def on_bodies(self, request_id: int, bodies: Sequence[Body], now: float) -> tuple[bool, PeerId | None]:
        """Take a peer's bodies: whether somebody waits for them, and the peer if one of them was not asked for."""
        reservation = self._body_fetch.queue.reservation(request_id)
        if reservation is None:
            return False, None
        matched = self.bodies.match(reservation, bodies)
        self._body_fetch.settle(reservation, matched.missing, now)
        return True, reservation.peer if matched.has_foreign_body else None

    def on_request_lost(self, request_id: int, now: float) -> bool:
        """Take back what a request asked for that never got out; False when it is not open."""
        until = now + self._run.config.lost_request_pause_s
        for fetch in (self._fills, self._body_fetch):
            if request_id in fetch.queue:
                fetch.lose(request_id, until)
                return True
        return False

    def on_imported(self, now: float) -> None:
        """The importer took all of its batch."""
        self.imports.on_imported(now)
        self.bodies.assembly.on_imported()

    def on_peer_left(self, peer: PeerId) -> None:
        """Take back what the peer was asked for."""
        self._fills.queue.revoke(peer)
        self._body_fetch.queue.revoke(peer)

    def expire(self, now: float) -> list[PeerId]:
        """Take back what requests asked for that took too long; returns the peers too slow to keep."""
        too_slow: list[PeerId] = []
        for count, peers in (self._fills.expire(now), self._body_fetch.expire(now)):
            self.timeouts += count
            too_slow += peers
        return too_slow

    def advance(self, now: float) -> list[SyncAction]:
        """Import, open and ask for as much as there is room for. Raises SyncFailed when no peer can serve a part."""
        actions: list[SyncAction] = []
        if self._run.is_full:
            self.bodies.open(self.headers.ready)
            blocks = self.imports.next_blocks(self.bodies.assembly, self._run.next_request_id)
            actions += [blocks] if blocks is not None else []
            actions += self._ask_for_bodies(now)
        else:
            headers = self.imports.next_headers(self.headers.ready, self._run.next_request_id)
            actions += [headers] if headers is not None else []
        actions += self._ask_for_fills(now)
        return actions

    def next_wakeup(self) -> float | None:
        retry_at = self.headers.next_wakeup(self.bodies.incomplete)
        due = (self._fills.next_wakeup(), self._body_fetch.next_wakeup(), retry_at)
        return min((at for at in due if at is not None), default=None)

    def _ask_for_bodies(self, now: float) -> list[RequestBodies]:
        budget = self.bodies.budget()
        given = self._body_fetch.assign(budget, now)
        if not given and budget > 0 and self._body_fetch.is_stuck():
            raise SyncFailed(
                SyncFault.PEERS_UNAVAILABLE, f"no peer has the bodies of {self.bodies.queue.pending} blocks"
            )
        return [
            RequestBodies(request_id, peer, [header.hash for header in headers])
            for request_id, peer, headers, _ in given
        ]

    def _ask_for_fills(self, now: float) -> list[RequestHeaders]:
        budget = self.headers.fill_budget(self.bodies.incomplete)
        given = self._fills.assign(budget, now)
        if not given and budget > 0 and self._fills.is_stuck():
            gap = self._fills.queue.first_pending()
            raise SyncFailed(
                SyncFault.INVALID_CHAIN, f"no peer can fill the skeleton from {gap.start if gap else 0} on"
            )
        size = self._run.config.headers_per_request
        return [RequestHeaders(request_id, peer, gaps[0].start, size) for request_id, peer, gaps, _ in given]
