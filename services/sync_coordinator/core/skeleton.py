"""A skeleton: anchors from the master peer, and the gaps between them, filled by anyone.

The anchors come from one peer and are not believed: a gap counts as filled only when a peer gives
headers that link up and end at the anchor. A peer that cannot is not blamed, because the anchor may be
false; where nobody can, the skeleton is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from services.shared.ethwire.types import Header
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.linked_headers import first_unlinked
from services.sync_coordinator.core.part_queue import PartQueue, Reservation
from services.sync_coordinator.core.sync_faults import SyncFailed, SyncFault


class Gap(NamedTuple):
    """The headers from `start` up to and including `anchor`."""

    start: int
    anchor: Header


def gap_start(gap: Gap) -> int:
    return gap.start


class Skeleton:
    """The gaps of one skeleton at a time. What is filled leaves in order by `take_ready`."""

    def __init__(self, config: DownloaderConfig, next_number: int) -> None:
        self._size = config.headers_per_request
        self._config = config
        self._filled: dict[int, Sequence[Header]] = {}
        self.next_number = next_number
        """The first header that has not left yet."""
        self.queue = PartQueue(
            order=gap_start,
            key=gap_start,
            requests_per_peer=config.fills_per_peer,
            lacking_per_peer=config.lacking_per_peer,
        )

    @property
    def is_complete(self) -> bool:
        """Whether all gaps are filled and taken."""
        return not self.queue.pending and not self.queue.open_requests and not self._filled

    @property
    def held_headers(self) -> int:
        """Headers that came before an earlier gap was filled."""
        return len(self._filled) * self._size

    def start(self, anchors: Sequence[Header]) -> None:
        """Begin to fill up to the last of `anchors`. Raises SyncFailed unless they have the numbers asked."""
        if len(anchors) > self._config.skeleton_anchors:
            raise SyncFailed(SyncFault.INVALID_CHAIN, f"{len(anchors)} anchors came for a skeleton")
        gaps = []
        for index, anchor in enumerate(anchors):
            gap = Gap(self.next_number + index * self._size, anchor)
            if anchor.number != gap.start + self._size - 1:
                raise SyncFailed(
                    SyncFault.INVALID_CHAIN, f"anchor {anchor.number} came, {gap.start + self._size - 1} was asked"
                )
            gaps.append(gap)
        self.queue.schedule(gaps)

    def accepts(self, reservation: Reservation[Gap], headers: Sequence[Header]) -> bool:
        """Keep `headers` if they fill the reserved gap; else note that the peer misses it."""
        gap = reservation.parts[0]
        if (
            len(headers) == self._size
            and headers[-1].hash == gap.anchor.hash
            and first_unlinked(headers, gap.start, None) is None
        ):
            self._filled[gap.start] = headers
            return True
        self.queue.mark_lacking(reservation.peer, reservation.parts)
        return False

    def take_ready(self) -> list[Sequence[Header]]:
        """Remove and return the fills that continue what left before."""
        ready = []
        while (headers := self._filled.pop(self.next_number, None)) is not None:
            ready.append(headers)
            self.next_number += self._size
        return ready
