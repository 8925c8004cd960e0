"""What one sync works with."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from services.shared.ethwire.types import Header
from services.sync_coordinator.core.capacity import DownloadPeers
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.fork_choice import ChainView, HeadKind
from services.sync_coordinator.core.sync_actions import SyncMode, SyncTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRun:
    """The target and the surroundings of one sync."""

    config: DownloaderConfig
    target: SyncTarget
    chain: ChainView
    """Our chain, as the importer changes it."""
    peers: DownloadPeers
    """Outlives the run."""
    rng: random.Random
    next_request_id: Callable[[], int]
    """Gives numbers never given before, for requests and batches."""
    on_prepare: Callable[[], None] = lambda: None
    """Called when the input was taken in and the search for what to ask next begins, for whoever measures that."""

    @property
    def mode(self) -> SyncMode:
        return self.target.mode

    def imported_head(self) -> int:
        """The number of our newest imported block; in light mode, header."""
        heads = self.chain.heads()
        if self.mode is SyncMode.LIGHT:
            return heads.header.number
        return max(heads.fast_block.number, heads.full_block.number)

    def total_difficulty(self) -> int:
        """What we have of what the master promised; in fast and light mode the headers alone count."""
        heads = self.chain.heads()
        return self._total_difficulty(heads.full_block if self.mode is SyncMode.FULL else heads.header)

    def followed_total_difficulty(self) -> int:
        """What a master must be above, in the mode of this sync."""
        return self._total_difficulty(self.chain.heads().of(followed_head(self.mode)))

    def _total_difficulty(self, head: Header) -> int:
        total_difficulty = self.chain.total_difficulty(head.hash)
        assert total_difficulty is not None, "a head has a total difficulty"
        return total_difficulty


def followed_head(mode: SyncMode) -> HeadKind:
    """The head that a sync of this mode carries on from, and compares with what peers claim."""
    return _FOLLOWED_HEADS[mode]


_FOLLOWED_HEADS: Final = {
    SyncMode.FULL: HeadKind.FULL_BLOCK,
    SyncMode.FAST: HeadKind.FAST_BLOCK,
    SyncMode.LIGHT: HeadKind.HEADER,
}
