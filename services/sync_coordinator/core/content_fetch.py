"""Has all peers asked for one kind of content of a sync's blocks, bodies or receipts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic

from services.shared.ethwire.types import Header, PeerId
from services.sync_coordinator.core.block_download import Content, ContentDownload
from services.sync_coordinator.core.capacity import PartKind
from services.sync_coordinator.core.part_fetch import PartFetch
from services.sync_coordinator.core.part_queue import Reservation
from services.sync_coordinator.core.sync_faults import SyncFailed, SyncFault
from services.sync_coordinator.core.sync_run import SyncRun


class ContentFetch(Generic[Content]):
    """`budget` tells, from how many are in flight and the next pending header, how many more there is room for."""

    def __init__(
        self,
        run: SyncRun,
        kind: PartKind,
        content: ContentDownload[Content],
        budget: Callable[[int, Header | None], int],
        *,
        most: int,
    ) -> None:
        self._kind, self._content, self._budget = kind, content, budget
        self.parts: PartFetch[Header] = PartFetch(
            kind, content.queue, run.peers, most=most, rng=run.rng, next_request_id=run.next_request_id
        )

    @property
    def fetched(self) -> int:
        """Contents that were accepted."""
        return self._content.fetched

    def ask(self, now: float) -> list[Reservation[Header]]:
        """Reserve as much as there is room for. Raises SyncFailed when no peer has what is next."""
        queue = self._content.queue
        budget = self._budget(queue.in_flight, queue.first_pending())
        given = self.parts.assign(budget, now)
        if not given and budget > 0 and self.parts.is_stuck():
            raise SyncFailed(
                SyncFault.PEERS_UNAVAILABLE, f"no peer has the {self._kind.name.lower()} of {queue.pending} blocks"
            )
        return given

    def on_reply(self, request_id: int, contents: Sequence[Content], now: float) -> tuple[bool, PeerId | None]:
        """Whether somebody waits for it, and the peer if something came that it was not asked for."""
        reservation = self._content.queue.reservation(request_id)
        if reservation is None:
            return False, None
        matched = self._content.match(reservation, contents)
        self.parts.settle(reservation, matched.missing, now)
        return True, reservation.peer if matched.has_foreign else None
