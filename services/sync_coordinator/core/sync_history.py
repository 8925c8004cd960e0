"""What the sync cycle decided last, and what came of it."""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from services.shared.ethwire.types import PeerId
from services.sync_coordinator.core.sync_faults import SyncFault

if TYPE_CHECKING:
    from services.sync_coordinator.core.sync_cycle import SyncCause, SyncVerdict

DECISIONS_KEPT: Final = 20
"""More than a person reads at once; repeats count as one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncEnd:
    """How a sync ended; success when there is no fault."""

    at: float
    fault: SyncFault | None
    detail: str = ""
    blocks: int = 0
    """Committed while it ran; headers in light mode."""
    duration_s: float = 0.0
    """From its start to its end."""


@dataclass(slots=True, kw_only=True)
class SyncRecord:
    """One decision, or several equal ones in a row. `end` is set once the sync that it started has ended."""

    at: float
    """The first of them."""
    last_at: float
    cause: SyncCause
    verdict: SyncVerdict
    explanation: str
    candidate: PeerId | None
    theirs: int | None
    ours: int
    times: int = 1
    end: SyncEnd | None = None


@dataclass(slots=True)
class SyncHistory:
    """The newest decisions. The last sync that ended is kept, however many decisions came after it."""

    last: SyncRecord | None = None
    """The last sync that ended."""
    running: SyncRecord | None = None
    """The sync that has not ended."""
    _newest: deque[SyncRecord] = field(default_factory=lambda: deque(maxlen=DECISIONS_KEPT))

    def add(self, record: SyncRecord, *, starts: bool) -> None:
        """Note a decision; one like the newest, about the same peer, only counts."""
        newest = self._newest[-1] if self._newest else None
        if starts:
            self.running = record
        elif newest is not None and (newest.verdict, newest.candidate) == (record.verdict, record.candidate):
            newest.times += record.times
            newest.last_at, newest.cause, newest.explanation = record.at, record.cause, record.explanation
            newest.theirs, newest.ours = record.theirs, record.ours
            return
        self._newest.append(record)

    def end(self, end: SyncEnd) -> None:
        """The running sync has ended."""
        if self.running is not None:
            self.running.end = end
            self.last, self.running = self.running, None

    def newest(self, most: int = DECISIONS_KEPT) -> list[SyncRecord]:
        """The newest first."""
        return list(itertools.islice(reversed(self._newest), most))
