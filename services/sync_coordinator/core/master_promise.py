"""What the master peer promised, against what it delivered."""

from __future__ import annotations

from services.sync_coordinator.core.sync_actions import SyncMode
from services.sync_coordinator.core.sync_faults import SyncFailed, SyncFault
from services.sync_coordinator.core.sync_run import SyncRun


class MasterPromise:
    """The total difficulty the master claims, and ours before it delivered anything."""

    def __init__(self, run: SyncRun) -> None:
        self._run = run
        self._before = run.followed_total_difficulty()

    def check(self, *, delivered: bool) -> None:
        """Raise SyncFailed when the headers that came, full: the blocks, fall short of the promise.

        In full mode a master that brought us any further is believed for now: the next sync will tell. In
        fast mode we may have had the promised headers before, without their blocks.
        """
        run = self._run
        promised, ours = run.target.total_difficulty, run.total_difficulty()
        if run.mode is SyncMode.FAST and not delivered:
            ours = self._before
        if promised <= ours or (run.mode is SyncMode.FULL and ours > self._before):
            return
        raise SyncFailed(SyncFault.STALLING_PEER, f"it promised a total difficulty of {promised}, we are at {ours}")
