"""What all syncs of this process did together."""

from __future__ import annotations

from dataclasses import dataclass

from services.sync_coordinator.core.fork_choice import ChainUpdate
from services.sync_coordinator.core.sync_actions import SyncMode, SyncOutcome


@dataclass(slots=True)
class SyncTotals:
    """What all syncs of this process did together, the running one up to its last commit included."""

    done: int = 0
    failed: int = 0
    last_outcome: str = ""
    blocks: int = 0
    """Committed while a sync ran; headers in light mode. A fast sync's headers count once their blocks are there."""
    size_bytes: int = 0
    """Their encoded size."""
    seconds_before: float = 0.0
    """Of the syncs that ended, from the first request of each to its last commit."""
    seconds_of_run: float = 0.0
    """Of the running sync, likewise."""

    @property
    def seconds(self) -> float:
        return self.seconds_before + self.seconds_of_run

    def count(self, update: ChainUpdate, mode: SyncMode, run_s: float) -> None:
        """A commit `run_s` seconds after the first request of the running sync."""
        self.seconds_of_run = run_s
        self.size_bytes += sum([len(receipts_rlp) for _, receipts_rlp in update.receipts])
        self.size_bytes += sum([len(entry.value) for entry in update.state_entries])
        if update.bodies:
            self.blocks += len(update.bodies)
            self.size_bytes += sum(len(block.header.header_rlp) + len(block.body_rlp) for block in update.bodies)
        elif mode is SyncMode.LIGHT:
            self.blocks += len(update.headers)
            self.size_bytes += sum(len(header.header_rlp) for header, _ in update.headers)

    def end(self, outcome: SyncOutcome) -> None:
        """The running sync has ended."""
        if outcome.fault is None:
            self.done += 1
            self.last_outcome = "done"
        else:
            self.failed += 1
            self.last_outcome = f"{outcome.fault.value}: {outcome.detail}"
        self.seconds_before, self.seconds_of_run = self.seconds, 0.0
