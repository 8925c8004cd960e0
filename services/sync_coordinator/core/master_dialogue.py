"""What a sync asks its master: one question at a time, whose time-out ends the sync."""

from __future__ import annotations

from typing import NamedTuple

from services.sync_coordinator.core.ancestor_search import HeaderQuestion
from services.sync_coordinator.core.capacity import OLDEST_ETH_VERSION, PartKind
from services.sync_coordinator.core.sync_actions import RequestHeaders, SyncPhase
from services.sync_coordinator.core.sync_faults import SyncFailed, SyncFault
from services.sync_coordinator.core.sync_run import SyncRun


class _OpenQuestion(NamedTuple):
    request_id: int
    asked_at: float


class MasterDialogue:
    """Keeps the open question; what the answer means is the caller's."""

    def __init__(self, run: SyncRun) -> None:
        self._run = run
        self._open: _OpenQuestion | None = None

    @property
    def is_asked(self) -> bool:
        return self._open is not None

    @property
    def due(self) -> float | None:
        """When the open question times out."""
        return None if self._open is None else self._open.asked_at + self._run.peers.round_trip.timeout_s

    def check(self) -> None:
        """The master must be there, and be one that can be asked. Raises SyncFailed."""
        master = self._run.peers.get(self._run.target.master)
        if master is None:
            raise SyncFailed(SyncFault.UNKNOWN_PEER, "the master peer is not connected")
        if master.eth_version < OLDEST_ETH_VERSION[PartKind.HEADERS]:
            raise SyncFailed(SyncFault.PROTOCOL_TOO_OLD, f"it speaks eth/{master.eth_version}")

    def ask(self, question: HeaderQuestion, now: float) -> RequestHeaders:
        """The request to send. Caller's duty: no question is open."""
        self._open = _OpenQuestion(self._run.next_request_id(), now)
        master, skip = self._run.target.master, question.step - 1
        return RequestHeaders(self._open.request_id, master, question.origin, question.amount, skip)

    def takes(self, request_id: int) -> bool:
        """Whether this is the open question, which is answered or lost with that."""
        if self._open is None or self._open.request_id != request_id:
            return False
        self._open = None
        return True

    def forget(self) -> None:
        """The answer does not matter any more."""
        self._open = None

    def check_time(self, now: float, phase: SyncPhase) -> None:
        """Raises SyncFailed once the master owes its answer for too long."""
        if self.due is not None and now >= self.due:
            self._run.peers.timeouts[PartKind.HEADERS] += 1
            raise SyncFailed(SyncFault.TIMEOUT, f"no answer in phase {phase.value}")
