"""The screen of `trisync watch`: lines made of a state, for a size. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from services.shared.runtime.shown_times import describe_seconds
from trisync.blocks import Propagation
from trisync.cli.progress import Snapshot
from trisync.cli.progress import peers as describe_peers
from trisync.cli.watch_numbers import compact, compact_bytes, grouped, signed
from trisync.cli.watch_state import Connection, WatchState
from trisync.node_status import NodeStatus, Peer, SyncMode, SyncPhase

LEAST_WIDTH: Final = 20
"""Below this nothing can be read; lines are then cut off."""

SHARE_OF_PEERS: Final = 0.6
"""Of the lines that are left, when both lists are longer than their part."""

BAR_CELLS: Final = 30


@dataclass(frozen=True, slots=True)
class Column:
    """It is shown on screens of at least `least_width`; one that `grows` takes what the others leave."""

    title: str
    cells: int
    least_width: int = 0
    right: bool = False
    grows: bool = False


def screen(state: WatchState, width: int, height: int) -> list[Text]:
    """At most `height` lines of at most `width` cells each."""
    width = max(width, 1)
    top = _top(state, width, height)
    left = height - len(top)
    peers = _peer_lines(state, width)
    spread = _propagation_lines(state, width)
    if left < 4 or not spread:
        lines = [*top, *_cut(peers, left)]
    else:
        for_peers = min(len(peers), max(left - len(spread), int(left * SHARE_OF_PEERS)))
        for_spread = left - for_peers
        lines = [*top, *_cut(peers, for_peers), *(_cut(spread, for_spread) if for_spread > 1 else [])]
    return [_fitted(line, width) for line in lines[:height]]


def _cut(lines: list[Text], count: int) -> list[Text]:
    """The first ones, the last of which tells how many are left out."""
    if len(lines) <= count:
        return lines
    if count < 2:
        return lines[: max(count, 0)]
    return [*lines[: count - 1], Text(f"… {len(lines) - count + 1} more", style="dim")]


def _fitted(line: Text, width: int) -> Text:
    if line.cell_len > width:
        line = line.copy()
        line.truncate(width, overflow="ellipsis" if width >= LEAST_WIDTH else "crop")
    line.no_wrap = True
    return line


def _top(state: WatchState, width: int, height: int) -> list[Text]:
    """Title, connection, progress, heads, best peer, and why: the most important first where the screen is low."""
    lines = [_title(state, width)]
    if state.connection is not Connection.LIVE:
        away = f" for {describe_seconds(state.lost_s)}" if state.lost_s >= 1 else ""
        lines.append(Text(f"{state.connection} to {clean(state.address)}{away} …", style="bold red"))
    status, snapshot = state.status, state.snapshot
    if status is None or snapshot is None:
        return lines
    lines.append(_progress_line(status, snapshot, width))
    if height >= 12:
        lines += [_rate_line(status, snapshot), *(Text(line) for line in _head_lines(status))]
    lines.append(Text(_why(state), style="yellow" if status.phase is SyncPhase.IDLE else ""))
    if height >= 16:
        lines.append(Text(""))
    return lines


def _title(state: WatchState, width: int) -> Text:
    status = state.status
    if status is None:
        return Text("trisync watch", style="bold")
    parts = [f"trisync  network {status.network_id}", status.mode.value, f"up {describe_seconds(status.uptime_s)}"]
    if width >= 60:
        gateways = len(status.gateways)
        parts.append(f"{gateways} {'gateway' if gateways == 1 else 'gateways'}")
    return Text("  ".join(parts), style="bold")


def _progress_line(status: NodeStatus, snapshot: Snapshot, width: int) -> Text:
    line = Text(snapshot.phase, style="bold green" if status.at_best_peer_head else "bold cyan")
    if snapshot.target > snapshot.block:
        line.append(f"  {grouped(snapshot.block)} of {grouped(snapshot.target)}", style="not bold default")
        share = snapshot.block / snapshot.target
        cells = min(BAR_CELLS, width - line.cell_len - len("   99.9 %") - 1)
        if cells >= 6:
            done = int(cells * share)
            line.append("  ").append("━" * done, style="green").append("━" * (cells - done), style="dim")
        line.append(f"  {100 * share:.1f} %", style="not bold default")
    else:
        line.append(f"  block {grouped(snapshot.block)}", style="not bold default")
    return line


def _rate_line(status: NodeStatus, snapshot: Snapshot) -> Text:
    parts = [f"{compact(snapshot.blocks_per_s)} blocks/s"]
    if status.sync_seconds > 0:
        parts.append(f"on average {compact(status.blocks_synced / status.sync_seconds)}")
        parts.append(f"{compact_bytes(status.bytes_synced / status.sync_seconds)}/s")
    if status.phase is not SyncPhase.IDLE:
        left = snapshot.seconds_left
        parts.append(f"{describe_seconds(left)} left" if left is not None else "time left not known yet")
    return Text(", ".join(parts))


def _head_lines(status: NodeStatus) -> list[str]:
    heads = [f"headers {grouped(status.header_head.number)}"]
    if status.mode is SyncMode.FAST:
        heads.append(f"receipts {grouped(status.fast_block_head.number)}")
    if status.mode is not SyncMode.LIGHT:
        heads.append(
            f"blocks {grouped(status.full_block_head.number)} 0x{status.full_block_head.block_hash.hex()[:8]}…"
        )
    best = status.best_peer_head
    lead = "no peer" if best is None else _lead(best.total_difficulty, status.whole_head.total_difficulty)
    number = f"{grouped(best.number)} " if best is not None and best.number else ""
    hash_ = f"0x{best.block_hash.hex()[:8]}…, " if best is not None else ""
    return [f"heads: {', '.join(heads)}", f"best peer: {number}{hash_}{lead}"]


def _lead(theirs: int, ours: int) -> str:
    if theirs == ours:
        return "as heavy as ours"
    return f"total difficulty {signed(theirs - ours)} to ours"


def _why(state: WatchState) -> str:
    """Whether a sync runs and why, or why the last one failed when none does."""
    status, sync = state.status, state.sync
    if sync is None or status is None:
        return "asking why a sync runs or does not …"
    text = f"sync: {sync.verdict.replace('_', ' ')}: {clean(sync.explanation)}"
    end = sync.last.end if sync.last is not None else None
    if sync.running is None and end is not None and end.fault is not None:
        detail = f" ({clean(end.detail)})" if end.detail else ""
        failed = f"last sync failed {describe_seconds(end.seconds_ago)} ago: {end.fault.replace('_', ' ')}{detail}"
        return failed if not status.at_best_peer_head else text
    return text


PEER_COLUMNS: Final = (
    Column("", 1),
    Column("node", 9),
    Column("dir", 3),
    Column("client", 6, grows=True),
    Column("eth", 3, 50, right=True),
    Column("difficulty", 10, 34, right=True),
    Column("head", 11, 72),
    Column("headers", 8, 80, right=True),
    Column("bodies", 8, 92, right=True),
    Column("up for", 11, 60, right=True),
    Column("address", 24, 110),
)


def _peer_lines(state: WatchState, width: int) -> list[Text]:
    if state.status is None:
        return []
    inbound = sum(peer.inbound for peer in state.peers)
    if not state.peers:
        return [Text(describe_peers(0), style="bold")]
    title = f"{describe_peers(len(state.peers))}, {inbound} in, {len(state.peers) - inbound} out"
    ours = state.status.whole_head.total_difficulty
    rows = [_peer_cells(peer, ours) for peer in state.peers]
    return [Text(title, style="bold"), *_table(PEER_COLUMNS, rows, width)]


def _peer_cells(peer: Peer, our_total_difficulty: int) -> list[str]:
    return [
        "*" if peer.is_best else "",
        f"{peer.node_id.hex()[:8]}…",
        "in" if peer.inbound else "out",
        clean(peer.client_name),
        str(peer.eth_version),
        signed(peer.total_difficulty - our_total_difficulty),
        f"0x{peer.head_hash.hex()[:8]}…",
        compact(peer.headers_delivered),
        compact(peer.bodies_delivered),
        describe_seconds(peer.connected_s),
        clean(peer.remote_address),
    ]


PROPAGATION_COLUMNS: Final = (
    Column("block", 11, right=True),
    Column("hash", 11),
    Column("by", 9, 40),
    Column("valid", 8, 56, right=True),
    Column("imported", 9, 66, right=True),
    Column("sent to", 10, 34, right=True),
    Column("told", 6, 76, right=True),
    Column("again", 6, 90, right=True),
)


def _propagation_lines(state: WatchState, width: int) -> list[Text]:
    if state.propagation_problem:
        return [Text(f"propagation: {clean(state.propagation_problem)}", style="yellow")]
    if not state.propagations:
        return [Text("no block was relayed yet", style="dim")] if state.status is not None else []
    title = Text("last blocks, and how they spread", style="bold")
    return [title, *_table(PROPAGATION_COLUMNS, [_propagation_cells(one) for one in state.propagations], width)]


def _propagation_cells(one: Propagation) -> list[str]:
    start = one.first_seen_us or one.header_valid_us or one.imported_us
    return [
        grouped(one.number),
        f"0x{one.block_hash.hex()[:8]}…",
        str(one.source),
        _after(one.header_valid_us, start),
        _after(one.imported_us, start),
        f"{one.propagated_to} of {one.lacked_by}",
        str(one.announced_to),
        str(one.duplicates),
    ]


def _after(at_us: int | None, start_us: int | None) -> str:
    return "" if at_us is None or start_us is None else f"{compact((at_us - start_us) / 1000)} ms"


def _table(columns: Sequence[Column], rows: Iterable[Sequence[str]], width: int) -> list[Text]:
    """A line of titles and one for each row, in the columns that the width has room for."""
    shown = [place for place, column in enumerate(columns) if width >= column.least_width]
    spare = width - sum(columns[place].cells + 1 for place in shown) + 1
    cells = {place: columns[place].cells + (max(spare, 0) if columns[place].grows else 0) for place in shown}

    def line(texts: Sequence[str], style: str = "") -> Text:
        parts = [_cell(texts[place], cells[place], right=columns[place].right) for place in shown]
        return Text(" ".join(parts).rstrip(), style=style)

    return [line([column.title for column in columns], "dim"), *(line(row) for row in rows)]


def _cell(text: str, cells: int, *, right: bool) -> str:
    if cell_len(text) > cells:
        return set_cell_size(text, cells - 1) + "…" if cells > 1 else set_cell_size(text, cells)
    return " " * (cells - cell_len(text)) + text if right else set_cell_size(text, cells)


def clean(text: str) -> str:
    """Without what moves a terminal's cursor, or joins letters to others: peers choose some of these words."""
    return "".join("?" if unicodedata.category(letter)[0] in "CM" else letter for letter in text)
