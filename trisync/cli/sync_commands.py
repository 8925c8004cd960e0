"""`trisync best-peer|sync`: whom a sync follows, whether one runs, and why."""

from __future__ import annotations

import json
from typing import Annotated, Final

import typer
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from services.shared.runtime.shown_times import describe_seconds
from trisync.cli import flags
from trisync.cli.failures import DONE
from trisync.cli.node import Node, asks_node
from trisync.cli.tables import show
from trisync.client import AsyncCoordinator
from trisync.node_status import SyncAnswer
from trisync.sync_explained import BestPeer, PeerChoice, RunningSync, SyncEnd, SyncExplanation, SyncRecord

DEFAULT_LIMIT: Final = 20
"""As many lines as can be read at once."""

Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="List the heaviest so many.")]
Explain = Annotated[bool, typer.Option("--explain", help="Only tell why a sync runs or does not; start none.")]


@asks_node
def best_peer(
    node: Node,
    limit: Limit = DEFAULT_LIMIT,
    as_json: flags.Json = False,
) -> int:
    """Show which peer the next sync would follow, and why not the others."""
    found, explained = node.ask(lambda client: _ask_best(client, limit))
    if as_json:
        print(json.dumps(best_json(found) | {"sync": explanation_json(explained)}))
        return DONE
    table: list[RenderableType] = [choices_table(found), ""] if found.candidates or found.dropped else []
    show(*table, *map(Text, (*best_sentences(found), *sync_sentences(explained))))
    return DONE


@asks_node
def sync(
    node: Node,
    explain: Explain = False,
    as_json: flags.Json = False,
) -> int:
    """Ask for a sync now, and tell what came of it; with --explain only tell how things stand."""
    answer, explained = node.ask(lambda client: _ask_sync(client, explain=explain))
    if as_json:
        asked = {} if answer is None else {"result": answer[0].name.lower(), "explanation": answer[1]}
        print(json.dumps(asked | {"sync": explanation_json(explained)}))
        return DONE
    answered = [] if answer is None else [f"{_answer_words(answer[0])}: {answer[1]}"]
    table: list[RenderableType] = ["", history_table(explained)] if explained.history else []
    show(*map(Text, (*answered, *sync_sentences(explained))), *table)
    return DONE


async def _ask_best(client: AsyncCoordinator, limit: int) -> tuple[BestPeer, SyncExplanation]:
    return await client.best_peer(limit), await client.explain_sync()


async def _ask_sync(
    client: AsyncCoordinator, *, explain: bool
) -> tuple[tuple[SyncAnswer, str] | None, SyncExplanation]:
    answer = None if explain else await client.start_sync()
    return answer, await client.explain_sync()


def choices_table(found: BestPeer) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("", "node id", "client", "total difficulty", "head", "known by", "verdict", "why"):
        table.add_column(column, overflow="fold")
    best = found.best.node_id if found.best is not None else None
    for peer in (*found.candidates, *found.dropped):
        table.add_row(
            "*" if peer.node_id == best and peer in found.candidates else "",
            short_id(peer.node_id),
            escape(peer.client_name),
            str(peer.total_difficulty),
            f"0x{peer.head_hash.hex()[:8]}…",
            peer.head_source,
            peer.verdict.replace("_", " "),
            escape(_with_notes(peer)),
        )
    return table


def best_sentences(found: BestPeer) -> list[str]:
    """What the table cannot say."""
    lines = [f"best peer: {found.explanation}", f"our total difficulty: {found.our_total_difficulty}"]
    unlisted = found.candidate_count - len(found.candidates)
    return lines if unlisted <= 0 else [*lines, f"{unlisted} lighter peers are not listed"]


def sync_sentences(explained: SyncExplanation) -> list[str]:
    """Whether a sync runs and why, when the next is due, and what the last one did."""
    lines = [f"{explained.verdict.replace('_', ' ')}: {explained.explanation}"]
    if explained.running is None:
        lines.append(f"next forced sync: in {explained.forced_in_s:.1f} s")
    lines.append(f"last sync: {_last_words(explained.last)}")
    return lines


def history_table(explained: SyncExplanation) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("when", "times", "cause", "decision", "peer", "why"):
        table.add_column(column, overflow="fold")
    for record in explained.history:
        words = record.explanation if record.end is None else _end_words(record.end)
        table.add_row(
            f"{describe_seconds(record.seconds_ago)} ago",
            str(record.times),
            record.cause.replace("_", " "),
            record.verdict.replace("_", " "),
            short_id(record.candidate_node_id) if record.candidate_node_id is not None else "",
            escape(words),
        )
    return table


def short_id(node_id: bytes) -> str:
    """As the logs have it."""
    return f"{node_id.hex()[:16]}…"


def _with_notes(peer: PeerChoice) -> str:
    notes = [
        peer.explanation,
        "the running sync follows it" if peer.is_master else "",
        "its challenge is not answered yet" if peer.challenge_open else "",
        f"it lacks {peer.lacking} parts of the running sync" if peer.lacking else "",
    ]
    return "; ".join(note for note in notes if note)


def _answer_words(answer: SyncAnswer) -> str:
    return "a sync starts" if answer is SyncAnswer.STARTED else f"no new sync ({answer.value})"


def _last_words(last: SyncRecord | None) -> str:
    if last is None or last.end is None:
        return "none has ended yet"
    master = short_id(last.candidate_node_id or b"")
    ago = describe_seconds(last.end.seconds_ago)
    return f"{_end_words(last.end)}, with {master}, because of {last.cause.replace('_', ' ')}, {ago} ago"


def _end_words(end: SyncEnd) -> str:
    blocks = f"{end.blocks} blocks in {end.duration_s:.1f} s"
    if end.fault is None:
        return f"done, {blocks}"
    detail = f" ({end.detail})" if end.detail else ""
    return f"failed, {end.fault.replace('_', ' ')}{detail}, {blocks}"


def best_json(found: BestPeer) -> dict[str, object]:
    return {
        "best": choice_json(found.best) if found.best is not None else None,
        "candidates": [choice_json(peer) for peer in found.candidates],
        "dropped": [choice_json(peer) for peer in found.dropped],
        "candidate_count": found.candidate_count,
        "our_total_difficulty": found.our_total_difficulty,
        "explanation": found.explanation,
    }


def choice_json(peer: PeerChoice) -> dict[str, object]:
    return {
        "node_id": peer.node_id.hex(),
        "client": peer.client_name,
        "gateway_id": peer.gateway_id,
        "static": peer.static,
        "trusted": peer.trusted,
        "head_hash": f"0x{peer.head_hash.hex()}",
        "total_difficulty": peer.total_difficulty,
        "head_source": peer.head_source,
        "verdict": peer.verdict,
        "explanation": peer.explanation,
        "is_master": peer.is_master,
        "challenge_open": peer.challenge_open,
        "lacking": peer.lacking,
        "connected": peer.connected,
    }


def explanation_json(explained: SyncExplanation) -> dict[str, object]:
    return {
        "verdict": explained.verdict,
        "explanation": explained.explanation,
        "best_node_id": explained.best.node_id.hex() if explained.best is not None else None,
        "candidate_count": explained.candidate_count,
        "min_peers": explained.min_peers,
        "our_total_difficulty": explained.our_total_difficulty,
        "running": _running_json(explained.running) if explained.running is not None else None,
        "forced_in_seconds": round(explained.forced_in_s, 3),
        "force_cycle_seconds": explained.force_cycle_s,
        "last": _record_json(explained.last) if explained.last is not None else None,
        "history": [_record_json(record) for record in explained.history],
    }


def _running_json(running: RunningSync) -> dict[str, object]:
    return {
        "phase": running.phase.value,
        "master_node_id": running.master_node_id.hex(),
        "cause": running.cause,
        "seconds_ago": round(running.seconds_ago, 3),
        "current_block": running.current_block,
        "highest_block": running.highest_block,
        "throttled": running.throttled,
        "results_waiting": running.results_waiting,
        "waiting_bytes": running.waiting_bytes,
    }


def _record_json(record: SyncRecord) -> dict[str, object]:
    return {
        "seconds_ago": round(record.seconds_ago, 3),
        "first_seconds_ago": round(record.first_seconds_ago, 3),
        "times": record.times,
        "cause": record.cause,
        "verdict": record.verdict,
        "explanation": record.explanation,
        "candidate_node_id": record.candidate_node_id.hex() if record.candidate_node_id is not None else None,
        "candidate_total_difficulty": record.candidate_total_difficulty,
        "our_total_difficulty": record.our_total_difficulty,
        "end": _end_json(record.end) if record.end is not None else None,
    }


def _end_json(end: SyncEnd) -> dict[str, object]:
    return {
        "seconds_ago": round(end.seconds_ago, 3),
        "fault": end.fault,
        "detail": end.detail,
        "blocks": end.blocks,
        "duration_seconds": round(end.duration_s, 3),
    }
