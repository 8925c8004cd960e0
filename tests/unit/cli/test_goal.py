from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.node_statuses import IDLE, at_head, downloading
from trisync.cli.failures import BadUsage
from trisync.cli.goal import SETTLE_S, Goal, GoalWatch, parse_goal
from trisync.node_status import SyncMode


def test_until_is_a_block_number_or_the_word_head():
    assert parse_goal("head") == Goal(None)
    assert parse_goal("8191") == Goal(8191)
    for word in ("", "heads", "-1", "0x10", "1.5"):
        with pytest.raises(BadUsage, match="--until"):
            parse_goal(word)


def test_block_is_reached_when_the_head_is_there():
    watch = GoalWatch(Goal(100))
    assert not watch.reached(downloading(99, of=200), now=0.0)
    assert watch.reached(downloading(100, of=200), now=1.0)


def test_light_mode_counts_headers_and_full_mode_counts_blocks():
    status = replace(downloading(10, of=200), header_head=replace(IDLE.header_head, number=150))
    assert not GoalWatch(Goal(100)).reached(status, now=0.0)
    assert GoalWatch(Goal(100)).reached(replace(status, mode=SyncMode.LIGHT), now=0.0)


def test_head_is_reached_at_once_after_a_sync():
    assert GoalWatch(Goal(None)).reached(at_head(200, syncs_done=1), now=0.0)


def test_head_is_not_reached_while_a_sync_runs_or_without_a_peer():
    watch = GoalWatch(Goal(None))
    for status in (
        IDLE,
        downloading(100, of=200),
        replace(downloading(200, of=200), at_best_peer_head=True),
        replace(at_head(200, syncs_done=1), peer_count=0),
    ):
        assert not watch.reached(status, now=0.0)


def test_head_without_a_sync_is_reached_once_it_settled():
    watch, status = GoalWatch(Goal(None)), at_head(200, syncs_done=0)
    assert not watch.reached(status, now=10.0)
    assert not watch.reached(status, now=10.0 + SETTLE_S - 0.01)
    assert watch.reached(status, now=10.0 + SETTLE_S)


def test_settling_begins_anew_when_a_better_peer_joins():
    watch, status = GoalWatch(Goal(None)), at_head(200, syncs_done=0)
    assert not watch.reached(status, now=0.0)
    assert not watch.reached(replace(status, at_best_peer_head=False), now=2.0)
    assert not watch.reached(status, now=SETTLE_S)
    assert watch.reached(status, now=2 * SETTLE_S)
