"""What is told of syncs: lines in the log, counts, and what the next decision should know of the last one."""

from __future__ import annotations

import structlog

from services.sync_coordinator.core.sync_actions import SyncMode, SyncOutcome, SyncTarget
from services.sync_coordinator.core.sync_cycle import SyncCause
from services.sync_coordinator.core.sync_history import SyncEnd
from services.sync_coordinator.edges.sync_totals import SyncTotals
from services.sync_coordinator.metrics import CoordinatorMetrics

_log = structlog.get_logger("sync")


class SyncRecord:
    """Of one sync after the other: `begin`, then `end`."""

    def __init__(self, totals: SyncTotals, metrics: CoordinatorMetrics) -> None:
        self._totals, self._metrics = totals, metrics
        self._began_at = 0.0
        self._blocks_before = 0

    def begin(self, target: SyncTarget, cause: SyncCause, client_name: str, now: float) -> None:
        self._began_at, self._blocks_before = now, self._totals.blocks
        _log.info(
            "sync starts",
            mode=target.mode.value,
            why=cause.value,
            master=target.master.hex()[:16],
            client=client_name,
        )

    def run_s(self, now: float) -> float:
        """Seconds since the running sync began."""
        return now - self._began_at

    def end(self, outcome: SyncOutcome, now: float) -> SyncEnd:
        seconds, fault = self._totals.seconds_of_run, outcome.fault
        self._totals.end(outcome)
        self._metrics.syncs.labels("done" if fault is None else fault.name.lower()).inc()
        if fault is None:
            progress = outcome.progress
            _log.info("sync done", head=progress.current_block, imported=progress.imported, seconds=round(seconds, 2))
        else:
            _log.warning("sync failed", why=fault.value, detail=outcome.detail)
        return SyncEnd(
            at=now,
            fault=fault,
            detail=outcome.detail,
            blocks=self._totals.blocks - self._blocks_before,
            duration_s=self.run_s(now),
        )


def warn_of_mode(wanted: SyncMode, allowed: SyncMode) -> None:
    if wanted is SyncMode.FAST and allowed is SyncMode.FULL:
        _log.warning("fast sync is off: the chain has full blocks already, so syncs are full")
    elif wanted is SyncMode.FULL and allowed is SyncMode.FAST:
        _log.warning("a fast sync was begun and goes on: full blocks can only follow its pivot")
