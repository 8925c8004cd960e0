"""Why a sync runs or does not, and whom it follows, as values.

Verdicts, causes and faults are the contract's names in lower case: `heaviest`, `too_few_peers`, `stalling_peer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from blocksync.v1 import coordinator_pb2

from trisync.node_status import SyncPhase, head_source_from_proto, phase_from_proto


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerChoice:
    """A peer as the next sync sees it. One that is not connected was dropped a short while ago."""

    node_id: bytes
    client_name: str
    gateway_id: str
    static: bool
    trusted: bool
    head_hash: bytes
    total_difficulty: int
    head_source: str
    verdict: str
    explanation: str
    is_master: bool
    challenge_open: bool
    lacking: int
    connected: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BestPeer:
    """`candidates` are the heaviest first; `dropped` are being disconnected, or were lately."""

    best: PeerChoice | None
    candidates: tuple[PeerChoice, ...]
    dropped: tuple[PeerChoice, ...]
    candidate_count: int
    our_total_difficulty: int
    explanation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningSync:
    phase: SyncPhase
    master_node_id: bytes
    cause: str
    seconds_ago: float
    current_block: int
    highest_block: int
    throttled: bool
    results_waiting: int
    waiting_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncEnd:
    """`fault` is None when the sync did what it should."""

    seconds_ago: float
    fault: str | None
    detail: str
    blocks: int
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRecord:
    """One decision, or several equal ones in a row; `end` where it started a sync that has ended."""

    seconds_ago: float
    first_seconds_ago: float
    times: int
    cause: str
    verdict: str
    explanation: str
    candidate_node_id: bytes | None
    candidate_total_difficulty: int
    our_total_difficulty: int
    end: SyncEnd | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncExplanation:
    """What would be decided now about the best peer, and what was decided before, newest first."""

    verdict: str
    explanation: str
    best: PeerChoice | None
    candidate_count: int
    min_peers: int
    our_total_difficulty: int
    running: RunningSync | None
    forced_in_s: float
    force_cycle_s: float
    last: SyncRecord | None
    history: tuple[SyncRecord, ...]


def best_peer_from_proto(answer: coordinator_pb2.BestPeerResponse) -> BestPeer:
    return BestPeer(
        best=_choice(answer.best) if answer.HasField("best") else None,
        candidates=tuple(_choice(each) for each in answer.candidates),
        dropped=tuple(_choice(each) for each in answer.dropped),
        candidate_count=answer.candidate_count,
        our_total_difficulty=int.from_bytes(answer.our_total_difficulty),
        explanation=answer.explanation,
    )


def explanation_from_proto(answer: coordinator_pb2.ExplainSyncResponse) -> SyncExplanation:
    return SyncExplanation(
        verdict=_name(coordinator_pb2.SyncVerdict.items(), answer.verdict, "SYNC_VERDICT_"),
        explanation=answer.explanation,
        best=_choice(answer.best) if answer.HasField("best") else None,
        candidate_count=answer.candidate_count,
        min_peers=answer.min_peers,
        our_total_difficulty=int.from_bytes(answer.our_total_difficulty),
        running=_running(answer.running) if answer.HasField("running") else None,
        forced_in_s=answer.forced_in_seconds,
        force_cycle_s=answer.force_cycle_seconds,
        last=_record(answer.last) if answer.HasField("last") else None,
        history=tuple(_record(each) for each in answer.history),
    )


def _choice(choice: coordinator_pb2.PeerChoice) -> PeerChoice:
    return PeerChoice(
        node_id=choice.node_id,
        client_name=choice.client_name,
        gateway_id=choice.gateway_id,
        static=choice.static,
        trusted=choice.trusted,
        head_hash=choice.head_hash,
        total_difficulty=int.from_bytes(choice.total_difficulty),
        head_source=head_source_from_proto(choice.head_source),
        verdict=_name(coordinator_pb2.PeerVerdict.items(), choice.verdict, "PEER_VERDICT_"),
        explanation=choice.explanation,
        is_master=choice.is_master,
        challenge_open=choice.challenge_open,
        lacking=choice.lacking,
        connected=choice.connected,
    )


def _running(running: coordinator_pb2.RunningSync) -> RunningSync:
    return RunningSync(
        phase=phase_from_proto(running.phase),
        master_node_id=running.master_node_id,
        cause=_name(coordinator_pb2.SyncCause.items(), running.cause, "SYNC_CAUSE_"),
        seconds_ago=running.seconds_ago,
        current_block=running.current_block,
        highest_block=running.highest_block,
        throttled=running.throttled,
        results_waiting=running.results_waiting,
        waiting_bytes=running.waiting_bytes,
    )


def _record(record: coordinator_pb2.SyncRecord) -> SyncRecord:
    return SyncRecord(
        seconds_ago=record.seconds_ago,
        first_seconds_ago=record.first_seconds_ago,
        times=record.times,
        cause=_name(coordinator_pb2.SyncCause.items(), record.cause, "SYNC_CAUSE_"),
        verdict=_name(coordinator_pb2.SyncVerdict.items(), record.verdict, "SYNC_VERDICT_"),
        explanation=record.explanation,
        candidate_node_id=record.candidate_node_id or None,
        candidate_total_difficulty=int.from_bytes(record.candidate_total_difficulty),
        our_total_difficulty=int.from_bytes(record.our_total_difficulty),
        end=_end(record.end) if record.HasField("end") else None,
    )


def _end(end: coordinator_pb2.SyncEnd) -> SyncEnd:
    return SyncEnd(
        seconds_ago=end.seconds_ago,
        fault=None if end.done else _name(coordinator_pb2.SyncFault.items(), end.fault, "SYNC_FAULT_"),
        detail=end.detail,
        blocks=end.blocks,
        duration_s=end.duration_seconds,
    )


def _name(values: Sequence[tuple[str, int]], number: int, prefix: str) -> str:
    """In words; a number that a newer coordinator has more of stays a number."""
    found = next((name for name, value in values if value == number), None)
    return str(number) if found is None else found.removeprefix(prefix).lower()
