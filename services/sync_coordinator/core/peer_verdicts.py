"""Why a sync follows one peer and not another, in a word and in a sentence."""

from __future__ import annotations

import enum
from typing import NamedTuple

from services.sync_coordinator.core.peer_set import Peer


class PeerVerdict(enum.Enum):
    """What a peer is to the next sync."""

    HEAVIEST = "it has the most total difficulty, and more than we have"
    NOT_ABOVE_OURS = "its total difficulty is not above ours"
    LIGHTER = "another peer has more total difficulty"
    JOINED_LATER = "another peer has as much total difficulty and joined earlier"
    BANNED = "it is banned"
    DROPPED = "we disconnected it"


class PeerJudgement(NamedTuple):
    verdict: PeerVerdict
    explanation: str


def is_above(peer: Peer, ours: int) -> bool:
    """Only a heavier peer is worth a sync. Equal is not above."""
    return peer.total_difficulty > ours


def judge(peer: Peer, best: Peer | None, ours: int) -> PeerJudgement:
    """A candidate beside the best one, which is `PeerSet.best`, and beside our total difficulty."""
    if not is_above(peer, ours):
        below = ours - peer.total_difficulty
        words = f"its total difficulty is {below} below ours" if below else "its total difficulty equals ours"
        return PeerJudgement(PeerVerdict.NOT_ABOVE_OURS, words)
    if best is None or peer is best:
        above = peer.total_difficulty - ours
        return PeerJudgement(PeerVerdict.HEAVIEST, f"it has the most total difficulty, {above} above ours")
    if peer.total_difficulty == best.total_difficulty:
        words = f"{short(best)} has as much total difficulty and joined earlier"
        return PeerJudgement(PeerVerdict.JOINED_LATER, words)
    behind = best.total_difficulty - peer.total_difficulty
    return PeerJudgement(PeerVerdict.LIGHTER, f"{short(best)} has {behind} more total difficulty")


def judge_dismissed(peer: Peer, ban_left_s: float, now: float) -> PeerJudgement:
    """A peer that we disconnect or have disconnected. Caller's duty: it has a dismissal."""
    assert peer.dismissal is not None
    words = f"dropped {now - peer.dismissal.at:.0f} s ago: {peer.dismissal.why}"
    if ban_left_s > 0:
        return PeerJudgement(PeerVerdict.BANNED, f"banned for {ban_left_s:.0f} s more; {words}")
    return PeerJudgement(PeerVerdict.DROPPED, words)


def short(peer: Peer) -> str:
    """A node id as the logs have it, and the client's own name for itself."""
    name = f"{peer.node_id.hex()[:16]}…"
    return f"{name} ({peer.client_name})" if peer.client_name else name
