"""What is measured of requests and syncs: latency, what is open, time-outs, and whose time a sync takes."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from services.sync_coordinator.core.capacity import DownloadPeers, PartKind
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.fetcher_tally import FetcherTally
from services.sync_coordinator.edges.request_watch import RequestWatch, timeouts
from services.sync_coordinator.edges.sync_activity import SyncActivity
from services.sync_coordinator.metrics import CoordinatorMetrics
from tests.support.peers import ALICE, BOB


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Watched:
    """A `RequestWatch` and what its metrics show."""

    def __init__(self, clock: Clock) -> None:
        self._registry = CollectorRegistry()
        self.watch = RequestWatch(CoordinatorMetrics(self._registry), clock)

    def shown(self, name: str, kind: str) -> float | None:
        return self._registry.get_sample_value(f"coordinator_{name}", {"kind": kind})


def test_a_request_is_timed_from_the_ask_to_its_whole_reply(clock):
    watched = Watched(clock)
    watched.watch.asked(1, "bodies")
    watched.watch.asked(2, "headers")
    assert watched.shown("requests_in_flight", "bodies") == 1
    clock.now = 0.3
    watched.watch.answered(1)
    watched.watch.answered(1)
    assert watched.shown("request_seconds_count", "bodies") == 1
    assert watched.shown("request_seconds_sum", "bodies") == pytest.approx(0.3)
    assert watched.shown("requests_in_flight", "bodies") == 0
    assert watched.shown("requests_in_flight", "headers") == 1
    assert watched.shown("requests_total", "headers") == 1


def test_a_request_that_is_lost_is_not_timed(clock):
    watched = Watched(clock)
    watched.watch.asked(1, "receipts")
    watched.watch.lost([1, 2])
    watched.watch.answered(1)
    assert watched.shown("requests_in_flight", "receipts") == 0
    assert watched.shown("request_seconds_count", "receipts") == 0


def test_time_outs_of_syncs_and_of_the_fetcher_are_told_together():
    peers, tally = DownloadPeers(DownloaderConfig()), FetcherTally()
    peers.timeouts[PartKind.STATE] += 2
    peers.timeouts[PartKind.BODIES] += 1
    tally.body_timeouts += 1
    tally.header_timeouts += 4
    assert timeouts(peers, tally) == {("headers",): 4, ("bodies",): 2, ("receipts",): 0, ("node_data",): 2}


def test_capacity_is_that_of_all_peers_together():
    peers = DownloadPeers(DownloaderConfig())
    for peer in (ALICE, BOB):
        peers.join(peer, 63)
        known = peers.get(peer)
        assert known is not None
        known.throughput[PartKind.BODIES] = 20.0
    assert peers.capacity(PartKind.BODIES) == 40.0
    assert peers.capacity(PartKind.HEADERS) == 0.0


class Timed:
    """A `SyncActivity` whose clock the test moves."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.activity = SyncActivity(clock)

    def passes(self, seconds: float) -> None:
        self._clock.now += seconds

    @property
    def seconds(self) -> dict[str, float]:
        return {activity: round(seconds, 6) for (activity,), seconds in self.activity.read().items()}


@pytest.fixture
def timed(clock) -> Timed:
    return Timed(clock)


def test_a_reply_is_handled_until_the_search_for_the_next_request_begins(timed):
    timed.activity.sync_began()
    with timed.activity.handling():
        timed.passes(3.0)
        timed.activity.prepare_from_here()
        timed.passes(2.0)
        timed.activity.rest(waits=True)
        timed.passes(0.5)
    assert timed.seconds == {"handle": 3.5, "prepare": 2.0, "wait_for_peer": 0.0}


def test_peers_are_waited_for_while_requests_are_open_and_the_import_is_idle(timed):
    timed.activity.sync_began()
    timed.activity.prepare_from_here()
    timed.passes(1.0)
    timed.activity.rest(waits=True)
    timed.passes(7.0)
    assert timed.seconds["wait_for_peer"] == 7.0, "told before the wait is over"
    with timed.activity.handling():
        timed.passes(1.0)
        timed.activity.prepare_from_here()
        timed.activity.rest(waits=False)
    timed.passes(5.0)
    assert timed.seconds == {"handle": 1.0, "prepare": 1.0, "wait_for_peer": 7.0}


def test_nothing_is_measured_while_no_sync_runs(timed):
    with timed.activity.handling():
        timed.passes(1.0)
    timed.activity.sync_began()
    timed.activity.rest(waits=True)
    timed.activity.sync_ended()
    timed.passes(9.0)
    with timed.activity.handling():
        timed.passes(1.0)
    assert timed.seconds == {"handle": 0.0, "prepare": 0.0, "wait_for_peer": 0.0}


def test_a_reply_that_ends_the_sync_is_handled_up_to_there(timed):
    timed.activity.sync_began()
    with timed.activity.handling():
        timed.passes(1.0)
        timed.activity.sync_ended()
        timed.passes(1.0)
    timed.passes(1.0)
    assert timed.seconds["handle"] == 1.0
