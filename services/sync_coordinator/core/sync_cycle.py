"""When a sync starts, and with whom (geth `eth/sync.go` of 1.8: `syncer` and `synchronise`)."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from services.sync_coordinator.core.peer_set import Peer


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
    NO_PEERS = "no peer is connected"
    TOO_FEW_PEERS = "too few peers are connected"
    NOT_ABOVE_OURS = "the best peer's total difficulty is not above ours"


@dataclass(frozen=True, slots=True)
class SyncDecision:
    """The answer to one cause. `master` is set exactly when the verdict is START."""

    verdict: SyncVerdict
    explanation: str
    master: Peer | None = None


class SyncCycle:
    """Allows one sync at a time and owes one try every `force_cycle_s`, whatever the number of peers."""

    def __init__(self, *, min_peers: int, force_cycle_s: float, now: float) -> None:
        self._min_peers = min_peers
        self._force_cycle_s = force_cycle_s
        self._forced_at = now + force_cycle_s
        self.busy = False

    def next_wakeup(self) -> float:
        """When `on_wakeup` must be called."""
        return self._forced_at

    def on_wakeup(self, now: float) -> bool:
        """True when the forced cycle came round: the caller then asks `decide` with FORCED."""
        if now < self._forced_at:
            return False
        self._forced_at = now + self._force_cycle_s
        return True

    def decide(self, cause: SyncCause, candidate: Peer | None, peer_count: int, ours: int) -> SyncDecision:
        """Whether to sync with `candidate` now; `ours` is our total difficulty in the current mode.

        A START makes the cycle busy until `on_sync_ended`.
        """
        if self.busy:
            return SyncDecision(SyncVerdict.BUSY, SyncVerdict.BUSY.value)
        if candidate is None:
            return SyncDecision(SyncVerdict.NO_PEERS, SyncVerdict.NO_PEERS.value)
        if cause is SyncCause.PEER_JOINED and peer_count < self._min_peers:
            explanation = f"{peer_count} peers are connected, {self._min_peers} are waited for until the forced cycle"
            return SyncDecision(SyncVerdict.TOO_FEW_PEERS, explanation)
        if candidate.total_difficulty <= ours:
            explanation = f"the peer's total difficulty {candidate.total_difficulty} is not above ours, {ours}"
            return SyncDecision(SyncVerdict.NOT_ABOVE_OURS, explanation)
        self.busy = True
        return SyncDecision(SyncVerdict.START, cause.value, candidate)

    def on_sync_ended(self) -> None:
        self.busy = False
