"""Progress of long work: plain lines in a pipe, a bar on a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from services.shared.runtime.progress import Progress, RateMeter


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rate_and_time_left_are_those_of_the_last_seconds():
    meter = RateMeter()
    assert meter.on_done(0, 1000, 0.0) == (0.0, None)
    assert meter.on_done(50, 1000, 0.5) == (100.0, None)
    assert meter.on_done(200, 1000, 2.0) == (100.0, 8.0)
    for second in range(3, 60):
        rate, left = meter.on_done(200 + second, 1000, float(second))
    assert (rate, left) == (1.0, 1000 - 259)


def test_count_that_begins_anew_is_new_work():
    meter = RateMeter()
    meter.on_done(0, 1000, 0.0)
    meter.on_done(900, 1000, 9.0)
    assert meter.on_done(10, 5000, 10.0) == (0.0, None)


def test_plain_lines_come_once_a_second(capsys: pytest.CaptureFixture[str]):
    clock = Clock()
    with Progress("imported", Console(file=io.StringIO()), clock) as progress:
        for block in range(1, 41):
            clock.now = 100 + block / 10
            progress.show(block, 100, note="head 7")
        progress.say("a word between")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        "imported 10 of 100 blocks (10 %, 10 blocks/s), head 7",
        "imported 20 of 100 blocks (20 %, 10 blocks/s, 8 s left), head 7",
        "imported 30 of 100 blocks (30 %, 10 blocks/s, 7 s left), head 7",
        "imported 40 of 100 blocks (40 %, 10 blocks/s, 6 s left), head 7",
        "a word between",
    ]


def test_bar_has_count_rate_and_time_left_and_leaves_nothing_behind():
    terminal = io.StringIO()
    console = Console(file=terminal, force_terminal=True, width=100, color_system=None)
    clock = Clock()
    with Progress("verified", console, clock) as progress:
        for second in range(1, 6):
            clock.now = 100.0 + second
            progress.show(100 * second, 1000, what="headers")
        progress.say("a problem [bold]with brackets[/]")
    shown = terminal.getvalue()
    assert "500 of 1000 headers" in shown
    assert "100 headers/s" in shown
    assert "5 s left" in shown
    assert "a problem [bold]with brackets[/]" in shown
    assert shown.endswith("\x1b[2K")


def test_work_without_a_count_yet_shows_that_it_goes_on():
    terminal = io.StringIO()
    with Progress("imported", Console(file=terminal, force_terminal=True, width=60, color_system=None)):
        pass
    assert "imported" in terminal.getvalue()
