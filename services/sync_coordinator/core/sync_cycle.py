"""When a sync starts, and with whom (geth `eth/sync.go` of 1.8: `syncer` and `synchronise`).

`look` decides and changes nothing; `decide` is `look` carried out. So what operators are told is what is done.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from services.sync_coordinator.core.peer_set import Peer
from services.sync_coordinator.core.peer_verdicts import is_above, judge, short
from services.sync_coordinator.core.sync_actions import SyncPhase, SyncProgress
from services.sync_coordinator.core.sync_history import SyncEnd, SyncHistory, SyncRecord


class SyncCause(enum.Enum):
    """What made us think of a sync."""

    PEER_JOINED = "a peer joined"
    STATIC_PEER_JOINED = "a static or trusted peer joined"
    FORCED = "the forced cycle came round"
    NEW_BLOCK = "a peer propagated a block"
    OPERATOR = "an operator asked"


class SyncVerdict(enum.Enum):
    """Whether a sync starts, and if not, why."""

    START = "starts"
    BUSY = "a sync is already running"
    THROTTLED = "a sync is already running and waits for the import"
    NO_PEERS = "no peer is connected"
    TOO_FEW_PEERS = "too few peers are connected"
    NOT_ABOVE_OURS = "the best peer's total difficulty is not above ours"
    PEER_DROPPED = "the peer is being disconnected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a decision depends on besides the cycle itself."""

    candidate: Peer | None
    peer_count: int
    """Peers that could be candidates."""
    ours: int
    """Our total difficulty in the current mode."""
    now: float
    progress: SyncProgress | None = None
    """Of the running sync: for the words."""


@dataclass(frozen=True, slots=True)
class SyncDecision:
    """The answer to one cause. `master` is set exactly when the verdict is START."""

    verdict: SyncVerdict
    explanation: str
    master: Peer | None = None


class SyncCycle:
    """Allows one sync at a time and owes one try every `force_cycle_s`, whatever the number of peers."""

    def __init__(self, *, min_peers: int, force_cycle_s: float, now: float) -> None:
        self.min_peers = min_peers
        self.force_cycle_s = force_cycle_s
        self._forced_at = now + force_cycle_s
        self._master: Peer | None = None
        self.history = SyncHistory()

    @property
    def busy(self) -> bool:
        return self._master is not None

    def next_wakeup(self) -> float:
        """When `on_wakeup` must be called."""
        return self._forced_at

    def on_wakeup(self, now: float) -> bool:
        """True when the forced cycle came round: the caller then asks `decide` with FORCED."""
        if now < self._forced_at:
            return False
        self._forced_at = now + self.force_cycle_s
        return True

    def forced_in_s(self, now: float) -> float:
        """Seconds until the next forced sync is due."""
        return max(0.0, self._forced_at - now)

    def look(self, cause: SyncCause, at: Situation) -> SyncDecision:
        """Whether a sync with the candidate would start now."""
        candidate = at.candidate
        if self._master is not None:
            return self._busy(self._master, at)
        if candidate is None:
            return SyncDecision(SyncVerdict.NO_PEERS, SyncVerdict.NO_PEERS.value)
        if candidate.dismissal is not None:
            why = f"{short(candidate)} is being disconnected: {candidate.dismissal.why}"
            return SyncDecision(SyncVerdict.PEER_DROPPED, why)
        if not is_above(candidate, at.ours):
            why = f"the best peer is not above us: {judge(candidate, candidate, at.ours).explanation}"
            return SyncDecision(SyncVerdict.NOT_ABOVE_OURS, why)
        if cause is SyncCause.PEER_JOINED and at.peer_count < self.min_peers:
            return SyncDecision(SyncVerdict.TOO_FEW_PEERS, self._too_few(at))
        return SyncDecision(SyncVerdict.START, cause.value, candidate)

    def decide(self, cause: SyncCause, at: Situation) -> SyncDecision:
        """As `look`, and noted in the history. A START makes the cycle busy until `on_sync_ended`."""
        decision = self.look(cause, at)
        record = SyncRecord(
            at=at.now,
            last_at=at.now,
            cause=cause,
            verdict=decision.verdict,
            explanation=decision.explanation,
            candidate=at.candidate.node_id if at.candidate is not None else None,
            theirs=at.candidate.total_difficulty if at.candidate is not None else None,
            ours=at.ours,
        )
        self._master = decision.master if decision.master is not None else self._master
        self.history.add(record, starts=decision.verdict is SyncVerdict.START)
        return decision

    def explain(self, at: Situation) -> SyncDecision:
        """Why no sync runs now, or which one does; `at.candidate` is the best peer.

        A peer that joins is the usual cause; a best peer that is static or trusted needs no others.
        """
        is_kept = at.candidate is not None and (at.candidate.static or at.candidate.trusted)
        decision = self.look(SyncCause.STATIC_PEER_JOINED if is_kept else SyncCause.PEER_JOINED, at)
        if decision.master is None:
            return decision
        why = f"a sync with {short(decision.master)} is due: it starts {self._at_the_latest(at)}"
        return replace(decision, explanation=why)

    def on_sync_ended(self, end: SyncEnd) -> None:
        self._master = None
        self.history.end(end)

    def _busy(self, master: Peer, at: Situation) -> SyncDecision:
        running = self.history.running
        lasting = f"has run for {at.now - running.at:.0f} s" if running is not None else "runs"
        why = f"a sync with {short(master)} {lasting}"
        progress = at.progress
        if progress is None:
            return SyncDecision(SyncVerdict.BUSY, why)
        why += f", {_PHASE_WORDS[progress.phase]}"
        if progress.phase is SyncPhase.DOWNLOAD:
            why += f" at block {progress.current_block} of {progress.highest_block}"
            if progress.known_states:
                why += f" and state entry {progress.pulled_states} of {progress.known_states} known"
        if not progress.throttled:
            return SyncDecision(SyncVerdict.BUSY, why)
        why += f"; it asks for no more until the import has taken some of {progress.results_waiting} waiting results"
        return SyncDecision(SyncVerdict.THROTTLED, why)

    def _too_few(self, at: Situation) -> str:
        connected = "1 peer is" if at.peer_count == 1 else f"{at.peer_count} peers are"
        return (
            f"{connected} connected, {self.min_peers} are waited for, and the best one is neither static nor trusted; "
            f"it is followed all the same {self._at_the_latest(at)}"
        )

    def _at_the_latest(self, at: Situation) -> str:
        return f"at the latest when the forced cycle comes round, in {self.forced_in_s(at.now):.1f} s"


_PHASE_WORDS = {
    SyncPhase.IDLE: "about to begin",
    SyncPhase.HEIGHT: "asking for the height",
    SyncPhase.ANCESTOR: "searching the common ancestor",
    SyncPhase.DOWNLOAD: "downloading",
    SyncPhase.ENDING: "ending",
    SyncPhase.ENDED: "ending",
}
