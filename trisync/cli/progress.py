"""What a person sees of a sync: a bar on a terminal, otherwise a plain line now and then."""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from services.shared.runtime.shown_times import describe_seconds
from trisync.node_status import NodeStatus, SyncPhase

RATE_WINDOW_S: Final = 10.0
"""The rate shown is that of the last ten seconds: steady enough to read, quick to follow a change."""

STEADY_BLOCKS: Final = 64
STEADY_S: Final = 8.0
"""So many blocks or seconds of a sync tell how long it takes; the first blocks wait for the seals' caches."""

LINE_INTERVAL_S: Final = 1.0
"""Plain lines come at most this often."""

FAILURE_INTERVAL_S: Final = 10.0
"""Syncs that fail for ever new reasons do not fill the screen."""

PHASE_TEXTS: Final = {
    SyncPhase.UNKNOWN: "starting",
    SyncPhase.IDLE: "idle",
    SyncPhase.HEIGHT: "asking for the head",
    SyncPhase.ANCESTOR: "common ancestor",
    SyncPhase.DOWNLOAD: "downloading",
}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One status, reduced to what is shown."""

    phase: str
    block: int
    target: int
    blocks_per_s: float
    peers: int
    seconds_left: float | None
    """None while the rate is too young to tell."""

    def __str__(self) -> str:
        left = f", {describe_seconds(self.seconds_left)} left" if self.seconds_left is not None else ""
        target = f" of {self.target}" if self.target > self.block else ""
        rate = f", {self.blocks_per_s:.0f} blocks/s" if self.blocks_per_s else ""
        return f"{self.phase}: block {self.block}{target}{rate}, {peers(self.peers)}{left}"


class SyncMeter:
    """Turns statuses into snapshots. Pure: the caller passes the time."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def on_status(self, status: NodeStatus, now: float) -> Snapshot:
        block, running = status.head.number, status.phase is not SyncPhase.IDLE
        if not running:
            self._seen.clear()
        self._seen.append((now, block))
        while self._seen[0][0] < now - RATE_WINDOW_S and len(self._seen) > 2:
            self._seen.popleft()
        (then, first), elapsed = self._seen[0], now - self._seen[0][0]
        rate = max(0.0, (block - first) / elapsed) if elapsed > 0 and then < now else 0.0
        best = status.best_peer_head.number if status.best_peer_head is not None else 0
        target = max(block, status.progress.highest_block if running else best)
        phase = PHASE_TEXTS[status.phase]
        if running and status.progress.known_states:
            phase += f", {status.progress.pulled_states} of {status.progress.known_states} known state entries"
        if status.phase is SyncPhase.IDLE and not status.peer_count:
            phase = "looking for peers"
        steady = elapsed >= STEADY_S or block - first >= STEADY_BLOCKS
        left = (target - block) / rate if steady and rate and target > block else None
        return Snapshot(phase, block, target, rate, status.peer_count, left)


class FailedSyncs:
    """Says why syncs fail: else nobody sees more than that the peers are gone. Pure: the caller passes the time."""

    def __init__(self) -> None:
        self._failed = 0
        self._said = ""
        self._next_line = 0.0

    def on_status(self, status: NodeStatus, now: float) -> str | None:
        """A line for people, at most one in ten seconds, and none twice in a row."""
        reason = status.last_sync_outcome if status.syncs_failed > self._failed else ""
        self._failed = status.syncs_failed
        if reason in ("", "done", self._said) or now < self._next_line:
            return None
        self._said, self._next_line = reason, now + FAILURE_INTERVAL_S
        return f"a sync failed: {reason}"


class View(Protocol):
    """Shows snapshots and lines on stderr while its `with` block runs."""

    def show(self, snapshot: Snapshot, now: float) -> None: ...
    def say(self, line: str) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class PlainView:
    """At most one line a second, and only when something changed."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last: tuple[str, int, int] | None = None
        self._next_line = 0.0

    def show(self, snapshot: Snapshot, now: float) -> None:
        seen = (snapshot.phase, snapshot.block, snapshot.peers)
        if seen == self._last or now < self._next_line:
            return
        self._last, self._next_line = seen, now + LINE_INTERVAL_S
        self.say(str(snapshot))

    def say(self, line: str) -> None:
        print(line, file=self._stream, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class BarView:
    """A progress bar that stays in place; other lines scroll above it."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[blocks]}"),
            TextColumn("{task.fields[rate]:.0f} blocks/s"),
            TextColumn("{task.fields[peers]}"),
            TextColumn("{task.fields[left]}"),
            console=console,
            refresh_per_second=4,
        )
        self._task = self._progress.add_task("starting", total=None, blocks="", rate=0.0, peers="no peers", left="")

    def show(self, snapshot: Snapshot, now: float) -> None:
        del now
        left = snapshot.seconds_left
        self._progress.update(
            self._task,
            description=snapshot.phase,
            completed=snapshot.block,
            # Without a peer nobody knows where the chain ends: no full bar then.
            total=snapshot.target if snapshot.peers and snapshot.target else None,
            blocks=f"{snapshot.block} / {snapshot.target}" if snapshot.peers else f"block {snapshot.block}",
            rate=snapshot.blocks_per_s,
            peers=peers(snapshot.peers),
            left=f"{describe_seconds(left)} left" if left is not None else "",
        )

    def say(self, line: str) -> None:
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


def make_view() -> View:
    console = Console(stderr=True)
    return BarView(console) if console.is_terminal else PlainView(sys.stderr)


def peers(count: int) -> str:
    return {0: "no peers", 1: "1 peer"}.get(count, f"{count} peers")
