"""What one sync works with."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from services.sync_coordinator.core.capacity import DownloadPeers
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.fork_choice import ChainView
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

    @property
    def is_full(self) -> bool:
        return self.target.mode is SyncMode.FULL

    def imported_head(self) -> int:
        """The number of our newest imported block; in light mode, header."""
        heads = self.chain.heads()
        if self.is_full:
            return max(heads.fast_block.number, heads.full_block.number)
        return heads.header.number

    def total_difficulty(self) -> int:
        """What we have of what the master promised."""
        heads = self.chain.heads()
        total_difficulty = self.chain.total_difficulty((heads.full_block if self.is_full else heads.header).hash)
        assert total_difficulty is not None, "a head has a total difficulty"
        return total_difficulty
