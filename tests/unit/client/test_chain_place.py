"""When a reader of the feed goes on after a failure, and from where."""

from __future__ import annotations

import random

import grpc
import pytest

from trisync.client import CoordinatorError
from trisync.client.chain_place import FIRST_DELAY_S, MOST_DELAY_S, STREAM_S, WORKED_S, ChainPlace

AWAY = CoordinatorError("the coordinator does not answer", retryable=True)
REFUSED = CoordinatorError("no cursor", retryable=False, code=grpc.StatusCode.INVALID_ARGUMENT)


def place(patience_s: float | None = None) -> ChainPlace:
    return ChainPlace(0, patience_s, random.Random(7))


def delays(where: ChainPlace, times: int, now: float = 0.0) -> list[float]:
    found = []
    for _ in range(times):
        where.opened(now)
        found.append(where.delay_after(AWAY, now))
    return found


def test_the_place_is_the_start_and_then_the_cursor_of_the_last_step():
    assert place().start == 0
    where = place()
    where.took("cursor 1")
    where.took("cursor 2")
    where.delay_after(AWAY, now=1.0)
    assert where.start == "cursor 2"


def test_delays_grow_to_the_longest_while_nothing_works():
    found = delays(place(), 20)
    assert FIRST_DELAY_S / 2 <= found[0] <= FIRST_DELAY_S
    assert all(MOST_DELAY_S / 2 <= delay <= MOST_DELAY_S for delay in found[10:])


@pytest.mark.parametrize("worked", ["a step", "a stream that lasted"])
def test_delays_begin_anew_once_it_worked(worked):
    where = place()
    delays(where, 20)
    if worked == "a step":
        where.took("cursor")
    where.opened(50.0)
    ended = 50.0 if worked == "a step" else 50.1 + WORKED_S
    assert where.delay_after(AWAY, ended) <= FIRST_DELAY_S


def test_what_is_refused_is_raised_at_once():
    with pytest.raises(CoordinatorError, match="no cursor"):
        place().delay_after(REFUSED, now=0.0)


def test_patience_ends_so_long_after_the_first_failure_in_a_row():
    where = place(patience_s=8.0)
    for now in (0.0, 3.0, 7.9):
        delays(where, 1, now)
    with pytest.raises(CoordinatorError, match="does not answer"):
        delays(where, 1, 8.0)
    where = place(patience_s=8.0)
    delays(where, 1, 0.0)
    where.took("cursor")
    assert delays(where, 2, 8.0)


def test_a_stream_whose_time_is_over_is_replaced_at_once_and_has_not_failed():
    where = place(patience_s=0.0)
    where.opened(10.0)
    assert where.delay_after(AWAY, 10.0 + STREAM_S) == 0.0
