"""All headers above the common ancestor, in order and linked."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence

from services.shared.ethwire.types import Header
from services.sync_coordinator.core.ancestor_search import CommonAncestor, HeaderQuestion
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.linked_headers import LinkedHeaders
from services.sync_coordinator.core.part_queue import Reservation
from services.sync_coordinator.core.skeleton import Gap, Skeleton
from services.sync_coordinator.core.sync_faults import SyncFailed, SyncFault


class HeaderStage(enum.Enum):
    """What the master is asked for next."""

    SKELETON = "skeleton"
    FILLING = "filling"
    """Nothing: the gaps of its skeleton are being filled."""
    TAIL = "tail"
    TAIL_HELD_BACK = "tail held back"
    """The same tail headers again, later."""
    DONE = "done"


class HeaderDownload:
    """Skeleton after skeleton until the master has none, then the tail straight from the master.

    `imported_head` tells the number of our newest imported block, `pivot` the pivot's while it is not
    committed: until then the master is asked again where it has no more. `downstream` in the methods is how
    many headers left through `ready` and are not yet a block: they count against the queue limit.
    """

    def __init__(
        self,
        config: DownloaderConfig,
        ancestor: CommonAncestor,
        imported_head: Callable[[], int],
        pivot: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._config = config
        self._size = config.headers_per_request
        self._imported_head = imported_head
        self._pivot = pivot
        self._retry_at = 0.0
        self._held_back_from = 0
        self.skeleton = Skeleton(config, ancestor.number + 1)
        self.ready = LinkedHeaders(ancestor.number, ancestor.block_hash)
        self.stage = HeaderStage.SKELETON
        self.fetched = 0
        """Headers that were accepted."""

    @property
    def held(self) -> int:
        """Headers here, in order or not."""
        return len(self.ready) + self.skeleton.held_headers

    def question(self, downstream: int, now: float) -> HeaderQuestion | None:
        """What to ask the master now; None when there is nothing to ask, or no room for the answer."""
        if not self._has_room(downstream):
            return None
        start = self.ready.last_number + 1
        if self.stage is HeaderStage.SKELETON:
            return HeaderQuestion(start + self._size - 1, self._config.skeleton_anchors, self._size)
        if self.stage is HeaderStage.TAIL or (self.stage is HeaderStage.TAIL_HELD_BACK and self._may_retry(now)):
            return HeaderQuestion(start, self._size)
        return None

    def on_asked(self) -> None:
        """The question went out."""
        if self.stage is HeaderStage.TAIL_HELD_BACK:
            self.stage = HeaderStage.TAIL

    def on_reply(self, headers: Sequence[Header], now: float) -> None:
        """Take the master's answer to `question`. Raises SyncFailed when it cannot be right."""
        if self.stage is HeaderStage.SKELETON:
            self.skeleton.start(headers)
            self.stage = HeaderStage.FILLING if headers else HeaderStage.TAIL
        elif headers:
            self._on_tail(headers, now)
        elif self._waits_for_pivot:
            self._hold_back(self.ready.last_number, now)
        else:
            self.stage = HeaderStage.DONE

    def on_fill(self, reservation: Reservation[Gap], headers: Sequence[Header]) -> bool:
        """Take a peer's answer for one gap; False when it does not fill it. The caller settles the request.

        Raises SyncFailed when the filled gap does not follow the one before: then the anchors do not.
        """
        if not self.skeleton.accepts(reservation, headers):
            return False
        self.fetched += len(headers)
        for filled in self.skeleton.take_ready():
            self.ready.add(filled)
        return True

    def on_fill_settled(self) -> None:
        """Go on to the next skeleton once this one is complete."""
        if self.stage is HeaderStage.FILLING and self.skeleton.is_complete:
            self.stage = HeaderStage.SKELETON

    def is_full(self, taken_on: int = 0) -> bool:
        """Whether the headers that wait for import, `taken_on` of which have left, leave no room for another reply."""
        return len(self.ready) + taken_on + self._size > self._config.max_queued_headers

    def fill_budget(self, downstream: int) -> int:
        """How many more gaps may be asked for. The next gap in order may be as long as `ready` has room for it."""
        limit = self._config.max_queued_headers
        queue = self.skeleton.queue
        budget = (limit - self.held - downstream) // self._size - queue.in_flight
        gap = queue.first_pending()
        if gap is not None and gap.start == self.skeleton.next_number:
            room = limit - len(self.ready) - downstream - self._size
            return max(budget, 1) if room >= 0 else budget
        return budget

    def next_wakeup(self, downstream: int) -> float | None:
        """When the tail is asked for again; without room it is the importer that is waited for."""
        return self._retry_at if self.stage is HeaderStage.TAIL_HELD_BACK and self._has_room(downstream) else None

    def _has_room(self, downstream: int) -> bool:
        return self.held + downstream + self._size <= self._config.max_queued_headers

    def _on_tail(self, headers: Sequence[Header], now: float) -> None:
        if len(headers) > self._size:
            raise SyncFailed(SyncFault.INVALID_CHAIN, f"{len(headers)} headers came, {self._size} were asked")
        newest = headers[-1].number
        if not self._is_near(newest):
            headers = headers[: max(0, len(headers) - self._config.hold_back_headers)]
        self.ready.add(headers)
        self.fetched += len(headers)
        if headers:
            self.stage = HeaderStage.TAIL
        else:
            self._hold_back(newest, now)

    def _hold_back(self, newest: int, now: float) -> None:
        self.stage = HeaderStage.TAIL_HELD_BACK
        self._held_back_from, self._retry_at = newest, now + self._config.tail_retry_s

    @property
    def _waits_for_pivot(self) -> bool:
        """Whether the blocks after the pivot have to wait: the master may have more of them by then."""
        pivot = self._pivot()
        return pivot is not None and pivot <= self.ready.last_number

    def _may_retry(self, now: float) -> bool:
        return now >= self._retry_at or (not self._waits_for_pivot and self._is_near(self._held_back_from))

    def _is_near(self, newest: int) -> bool:
        """Whether our imported head is so close that a mini-reorg can no longer hurt."""
        return self._imported_head() + self._config.hold_back_distance >= newest
