"""Progress of long work, on stderr: a bar on a terminal, otherwise a plain line a second at most."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn
from rich.progress import Progress as Bar

from services.shared.runtime.shown_times import describe_seconds

LINE_EVERY_S: Final = 1.0

RATE_WINDOW_S: Final = 10.0
"""The rate shown is that of the last seconds: it tells the time left better than that of the whole work."""

STEADY_S: Final = 1.0
"""Before that a rate says nothing about the time left."""


class RateMeter:
    """Rate and time left of work that is counted. Pure: the caller passes the time."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def on_done(self, done: int, total: int, now: float) -> tuple[float, float | None]:
        """Items a second, and seconds left where they can be told. Counting that begins anew is new work."""
        if self._seen and done < self._seen[-1][1]:
            self._seen.clear()
        self._seen.append((now, done))
        while self._seen[0][0] < now - RATE_WINDOW_S and len(self._seen) > 2:
            self._seen.popleft()
        elapsed, more = now - self._seen[0][0], done - self._seen[0][1]
        rate = more / elapsed if elapsed > 0 else 0.0
        return rate, (total - done) / rate if rate and elapsed >= STEADY_S else None


class Progress:
    """Shows counts while its `with` block runs. `verb` is what is done to the items: imported."""

    def __init__(self, verb: str, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._verb = verb
        self._clock = clock
        self._started = clock()
        self._next_at = self._started + LINE_EVERY_S
        self._meter = RateMeter()
        console = Console(stderr=True) if console is None else console
        self._bar = _bar(console) if console.is_terminal and not console.is_dumb_terminal else None
        if self._bar is not None:
            # It shows from the start that something goes on, however long the first count takes.
            self._bar.add_task(verb, total=None, count="", speed="", left="")

    @property
    def seconds(self) -> float:
        """Since the start; never 0."""
        return max(self._clock() - self._started, 1e-3)

    def show(self, done: int, total: int, *, what: str = "blocks", note: str = "") -> None:
        """May be called for each item."""
        now = self._clock()
        if now < self._next_at:
            return
        self._next_at = now + (LINE_EVERY_S / 4 if self._bar is not None else LINE_EVERY_S)
        rate, left_s = self._meter.on_done(done, total, now)
        speed = f"{rate or done / self.seconds:.0f} {what}/s"
        left = f"{describe_seconds(left_s)} left" if left_s is not None else ""
        if self._bar is None:
            share = 100 * done // max(total, 1)
            inside = ", ".join(part for part in (f"{share} %", speed, left) if part)
            self.say(f"{self._verb} {done} of {total} {what} ({inside}){f', {note}' if note else ''}")
            return
        count = f"{done} of {total} {what}"
        self._bar.update(self._bar.task_ids[0], completed=done, total=total, count=count, speed=speed, left=left)

    def say(self, line: str) -> None:
        """A line that stays."""
        if self._bar is None:
            print(line, file=sys.stderr, flush=True)
        else:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def _bar(console: Console) -> Bar:
    return Bar(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[count]}"),
        TextColumn("{task.fields[speed]}"),
        TextColumn("{task.fields[left]}"),
        console=console,
        expand=True,
        transient=True,
        refresh_per_second=4,
    )
