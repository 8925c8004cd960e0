from __future__ import annotations

import io
from dataclasses import replace

from tests.support.node_statuses import IDLE, at_head, downloading
from trisync.cli.progress import FailedSyncs, PlainView, SyncMeter
from trisync.node_status import NodeStatus


def test_rate_and_time_left_come_from_the_last_seconds():
    meter = SyncMeter()
    first = meter.on_status(downloading(0, of=1000), now=100.0)
    assert (first.blocks_per_s, first.seconds_left) == (0.0, None)
    second = meter.on_status(downloading(200, of=1000), now=102.0)
    assert (second.blocks_per_s, second.seconds_left) == (100.0, 8.0)
    assert str(second) == "downloading: block 200 of 1000, 100 blocks/s, 1 peer, 8 s left"


def test_old_progress_is_forgotten():
    meter = SyncMeter()
    for second in range(60):
        meter.on_status(downloading(100 * second, of=10_000), now=float(second))
    assert meter.on_status(downloading(5910, of=10_000), now=60.0).blocks_per_s < 95


def test_rate_is_never_below_zero_after_a_reorganisation():
    meter = SyncMeter()
    meter.on_status(downloading(100, of=1000), now=0.0)
    assert meter.on_status(downloading(90, of=1000), now=1.0).blocks_per_s == 0.0


def test_node_without_peers_says_that_it_looks_for_them():
    assert str(SyncMeter().on_status(IDLE, now=0.0)) == "looking for peers: block 0, no peers"


def test_idle_node_says_so():
    assert str(SyncMeter().on_status(at_head(200, syncs_done=1), now=0.0)) == "idle: block 200, 1 peer"


def test_plain_lines_come_at_most_once_a_second_and_only_for_a_change():
    stream = io.StringIO()
    view, meter = PlainView(stream), SyncMeter()
    for step in range(40):
        now = step / 10
        status = downloading(step, of=100) if step < 20 else downloading(20, of=100)
        view.show(meter.on_status(status, now), now)
    assert [line.split(",")[0] for line in stream.getvalue().splitlines()] == [
        "downloading: block 0 of 100",
        "downloading: block 10 of 100",
        "downloading: block 20 of 100",
    ]


def failed(count: int, reason: str) -> NodeStatus:
    return replace(IDLE, syncs_failed=count, last_sync_outcome=reason)


def test_reason_of_a_failed_sync_is_said_once_and_seldom():
    failures = FailedSyncs()
    assert failures.on_status(IDLE, 0.0) is None
    assert failures.on_status(failed(1, "protocol_too_old: no receipts"), 1.0) == (
        "a sync failed: protocol_too_old: no receipts"
    )
    assert failures.on_status(failed(1, "protocol_too_old: no receipts"), 50.0) is None
    assert failures.on_status(failed(2, "protocol_too_old: no receipts"), 60.0) is None
    assert failures.on_status(failed(3, "timeout: no head"), 61.0) == "a sync failed: timeout: no head"
    assert failures.on_status(failed(4, "stalling: no headers"), 65.0) is None
    assert failures.on_status(failed(0, ""), 80.0) is None
    assert failures.on_status(failed(1, "stalling: no headers"), 81.0) == "a sync failed: stalling: no headers"
