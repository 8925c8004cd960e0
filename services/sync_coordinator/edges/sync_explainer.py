"""Answers why a sync runs or does not, and whom it follows, in the contract's words."""

from __future__ import annotations

import asyncio
from collections.abc import Set
from typing import Final

from blocksync.v1 import coordinator_pb2

from services.shared.ethwire.types import PeerId
from services.shared.rpc.convert import big_to_bytes
from services.sync_coordinator.core.peer_set import HeadSource, Peer, PeerSet
from services.sync_coordinator.core.peer_verdicts import PeerJudgement, PeerVerdict, judge, judge_dismissed, short
from services.sync_coordinator.core.sync_actions import SyncProgress
from services.sync_coordinator.core.sync_cycle import SyncCause, SyncCycle, SyncVerdict
from services.sync_coordinator.core.sync_faults import SyncFault
from services.sync_coordinator.core.sync_history import SyncEnd, SyncRecord
from services.sync_coordinator.edges.challenge_driver import ChallengeDriver
from services.sync_coordinator.edges.penalty_desk import PenaltyDesk
from services.sync_coordinator.edges.status_board import PHASE_OF
from services.sync_coordinator.edges.sync_driver import SyncDriver

DEFAULT_LIMIT: Final = 100
"""Candidates listed when the caller does not say: more than the places of most nodes."""

MAX_LIMIT: Final = 10_000
"""About 3 MB; beyond that an answer would hold up the event loop."""

HEAD_SOURCES: Final = {
    HeadSource.STATUS: coordinator_pb2.HEAD_SOURCE_STATUS,
    HeadSource.BLOCK: coordinator_pb2.HEAD_SOURCE_BLOCK,
}

# Enums of the core and of the contract have the same names; a missing one fails at the import.
_PEER_VERDICTS: Final = {each: coordinator_pb2.PeerVerdict.Value(f"PEER_VERDICT_{each.name}") for each in PeerVerdict}
_VERDICTS: Final = {each: coordinator_pb2.SyncVerdict.Value(f"SYNC_VERDICT_{each.name}") for each in SyncVerdict}
_CAUSES: Final = {each: coordinator_pb2.SyncCause.Value(f"SYNC_CAUSE_{each.name}") for each in SyncCause}
_FAULTS: Final = {each: coordinator_pb2.SyncFault.Value(f"SYNC_FAULT_{each.name}") for each in SyncFault}


class SyncExplainer:
    """Asks the cores that decide; decides nothing."""

    def __init__(
        self,
        cycle: SyncCycle,
        peers: PeerSet,
        driver: SyncDriver,
        penalties: PenaltyDesk,
        challenges: ChallengeDriver,
    ) -> None:
        self._cycle = cycle
        self._peers = peers
        self._driver = driver
        self._penalties = penalties
        self._challenges = challenges
        self._loop = asyncio.get_running_loop()

    def best_peer(self, limit: int) -> coordinator_pb2.BestPeerResponse:
        """The heaviest `limit` candidates; 0 is the default."""
        best, ours = self._peers.best(), self._driver.our_total_difficulty()
        now = self._loop.time()
        listed = self._peers.heaviest(min(limit or DEFAULT_LIMIT, MAX_LIMIT))
        challenged = self._challenges.challenged()
        gone = [peer for peer in reversed(self._peers.dropped) if self._peers.get(peer.node_id) is None]
        return coordinator_pb2.BestPeerResponse(
            best=self._candidate(best, best, ours, challenged) if best is not None else None,
            candidates=[self._candidate(peer, best, ours, challenged) for peer in listed],
            dropped=[self._dropped(peer, now) for peer in (*self._peers.leaving(), *gone)],
            candidate_count=self._peers.candidates,
            our_total_difficulty=big_to_bytes(ours),
            explanation=_best_in_words(best, ours),
        )

    def explain_sync(self) -> coordinator_pb2.ExplainSyncResponse:
        best = self._peers.best()
        situation = self._driver.situation(best)
        now, history = situation.now, self._cycle.history
        decision = self._cycle.explain(situation)
        challenged = self._challenges.challenged()
        return coordinator_pb2.ExplainSyncResponse(
            verdict=_VERDICTS[decision.verdict],
            explanation=decision.explanation,
            best=self._candidate(best, best, situation.ours, challenged) if best is not None else None,
            candidate_count=situation.peer_count,
            min_peers=self._cycle.min_peers,
            our_total_difficulty=big_to_bytes(situation.ours),
            running=_running(history.running, situation.progress, now),
            forced_in_seconds=self._cycle.forced_in_s(now),
            force_cycle_seconds=self._cycle.force_cycle_s,
            last=_record(history.last, now) if history.last is not None else None,
            history=[_record(record, now) for record in history.newest()],
        )

    def _candidate(
        self, peer: Peer, best: Peer | None, ours: int, challenged: Set[PeerId]
    ) -> coordinator_pb2.PeerChoice:
        choice = _choice(peer, judge(peer, best, ours))
        running = self._cycle.history.running
        choice.is_master = running is not None and running.candidate == peer.node_id
        choice.challenge_open = peer.node_id in challenged
        choice.lacking = self._driver.lacking(peer.node_id)
        choice.connected = True
        return choice

    def _dropped(self, peer: Peer, now: float) -> coordinator_pb2.PeerChoice:
        choice = _choice(peer, judge_dismissed(peer, self._penalties.ban_left_s(peer.node_id), now))
        choice.connected = self._peers.get(peer.node_id) is peer
        return choice


def _best_in_words(best: Peer | None, ours: int) -> str:
    if best is None:
        return "there is no peer that a sync could follow"
    return f"{short(best)}: {judge(best, best, ours).explanation}"


def _choice(peer: Peer, judgement: PeerJudgement) -> coordinator_pb2.PeerChoice:
    return coordinator_pb2.PeerChoice(
        node_id=peer.node_id,
        client_name=peer.client_name,
        gateway_id=peer.gateway_id,
        static=peer.static,
        trusted=peer.trusted,
        head_hash=peer.head_hash,
        total_difficulty=big_to_bytes(peer.total_difficulty),
        head_source=HEAD_SOURCES[peer.head_source],
        verdict=_PEER_VERDICTS[judgement.verdict],
        explanation=judgement.explanation,
    )


def _running(
    record: SyncRecord | None, progress: SyncProgress | None, now: float
) -> coordinator_pb2.RunningSync | None:
    if record is None or progress is None:
        return None
    return coordinator_pb2.RunningSync(
        phase=PHASE_OF.get(progress.phase, coordinator_pb2.SYNC_PHASE_HEIGHT),
        master_node_id=progress.master,
        cause=_CAUSES[record.cause],
        seconds_ago=now - record.at,
        current_block=progress.current_block,
        highest_block=progress.highest_block,
        throttled=progress.throttled,
        results_waiting=progress.results_waiting,
        waiting_bytes=progress.waiting_bytes,
    )


def _record(record: SyncRecord, now: float) -> coordinator_pb2.SyncRecord:
    return coordinator_pb2.SyncRecord(
        seconds_ago=now - record.last_at,
        first_seconds_ago=now - record.at,
        times=record.times,
        cause=_CAUSES[record.cause],
        verdict=_VERDICTS[record.verdict],
        explanation=record.explanation,
        candidate_node_id=record.candidate or b"",
        candidate_total_difficulty=big_to_bytes(record.theirs or 0),
        our_total_difficulty=big_to_bytes(record.ours),
        end=_end(record.end, now) if record.end is not None else None,
    )


def _end(end: SyncEnd, now: float) -> coordinator_pb2.SyncEnd:
    return coordinator_pb2.SyncEnd(
        seconds_ago=now - end.at,
        done=end.fault is None,
        fault=_FAULTS[end.fault] if end.fault is not None else coordinator_pb2.SYNC_FAULT_UNSPECIFIED,
        detail=end.detail,
        blocks=end.blocks,
        duration_seconds=end.duration_s,
    )
