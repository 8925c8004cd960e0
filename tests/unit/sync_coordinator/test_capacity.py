"""How much a peer is asked for, and how long that may take."""

from __future__ import annotations

import random

import pytest

from services.sync_coordinator.core.capacity import DownloadPeers, PartKind
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.round_trip import RoundTripEstimate
from tests.support.sim_peers import peer_id

ALICE, BOB, CAROL = (peer_id(name) for name in ("alice", "bob", "carol"))
BODIES = PartKind.BODIES


@pytest.fixture
def peers() -> DownloadPeers:
    return DownloadPeers(DownloaderConfig())


@pytest.fixture
def alice(peers):
    peers.join(ALICE, 63)
    return peers.get(ALICE)


def estimate() -> RoundTripEstimate:
    return RoundTripEstimate(rtt_min_s=2.0, rtt_max_s=20.0, timeout_max_s=60.0)


def test_two_parts_are_asked_when_nothing_is_measured(alice):
    assert alice.parts(BODIES, 18.0, 128) == 2


def test_batches_grow_with_measured_throughput(alice):
    alice.measure(BODIES, 10, 1.0)
    assert alice.throughput[BODIES] == pytest.approx(1.0)
    assert alice.parts(BODIES, 18.0, 128) == 19
    alice.measure(BODIES, 100, 1.0)
    assert alice.throughput[BODIES] == pytest.approx(0.9 + 10.0)
    assert alice.parts(BODIES, 18.0, 128) == 128


def test_batches_shrink_to_the_smallest_when_nothing_is_delivered(alice):
    alice.measure(BODIES, 100, 1.0)
    alice.measure(BODIES, 0, 1.0)
    assert alice.parts(BODIES, 18.0, 128) == 2


def test_kinds_are_measured_apart(alice):
    alice.measure(BODIES, 100, 1.0)
    assert alice.parts(PartKind.HEADERS, 18.0, 192) == 2


def test_reply_in_no_time_counts_as_very_fast(alice):
    alice.measure(BODIES, 1, 0.0)
    assert alice.parts(BODIES, 2.0, 128) == 128


def test_new_peer_is_thought_average(peers):
    peers.join(ALICE, 63)
    peers.join(BOB, 63)
    peers.get(ALICE).measure(BODIES, 100, 1.0)
    peers.join(CAROL, 63)
    assert peers.get(CAROL).throughput[BODIES] == pytest.approx(5.0)


def test_known_peer_keeps_its_speed_when_it_joins_again(peers, alice):
    alice.measure(BODIES, 100, 1.0)
    peers.join(ALICE, 63)
    assert peers.get(ALICE).throughput[BODIES] == pytest.approx(10.0)


def test_fastest_peers_come_first_and_equal_ones_by_chance(peers):
    for peer in (ALICE, BOB, CAROL):
        peers.join(peer, 63)
    peers.get(CAROL).measure(BODIES, 10, 1.0)
    rng = random.Random(1)
    orders = {tuple(known.peer for known in peers.fastest_first(BODIES, rng)) for _ in range(50)}
    assert orders == {(CAROL, ALICE, BOB), (CAROL, BOB, ALICE)}


def test_throughput_is_forgotten_and_round_trip_kept_when_a_sync_starts(peers, alice):
    alice.measure(BODIES, 10, 1.0)
    round_trip = alice.rtt_s
    peers.reset()
    assert alice.throughput[BODIES] == 0.0
    assert alice.rtt_s == round_trip < 20.0


def test_paused_peer_is_left_out_until_its_time(peers, alice):
    peers.on_time(0.0)
    peers.pause(ALICE, 1.0)
    assert peers.next_wakeup() == 1.0
    assert peers.fastest_first(BODIES, random.Random(0)) == []
    peers.on_time(0.99)
    assert peers.any_paused
    peers.on_time(1.0)
    assert not peers.any_paused
    assert peers.fastest_first(BODIES, random.Random(0)) == [alice]


def test_pause_of_an_unknown_or_gone_peer_leaves_no_trace(peers):
    peers.pause(BOB, 1.0)
    peers.join(ALICE, 63)
    peers.pause(ALICE, 1.0)
    peers.leave(ALICE)
    assert not peers.any_paused
    assert len(peers) == 0


def test_first_guess_is_the_longest_round_trip():
    assert estimate().target_s == pytest.approx(18.0)
    assert estimate().timeout_s == pytest.approx(60.0)


def test_estimate_moves_a_quarter_toward_the_median_each_round_trip():
    rtt = estimate()
    rtt.tune([4.0], 0.0)
    assert rtt.target_s == pytest.approx(0.9 * 16.0)
    assert rtt.next_tuning == pytest.approx(16.0)
    rtt.tune([4.0], 15.9)
    assert rtt.target_s == pytest.approx(0.9 * 16.0)
    rtt.tune([4.0], 16.0)
    assert rtt.target_s == pytest.approx(0.9 * 13.0)
    assert rtt.timeout_s == pytest.approx(39.0)


@pytest.mark.parametrize(
    ("round_trips", "median"),
    [
        ([], 20.0),
        ([7.0], 7.0),
        ([0.001], 2.0),
        ([90.0], 20.0),
        ([9.0, 3.0, 5.0], 5.0),
        ([3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], 5.0),
    ],
    ids=["no peer", "one peer", "below the least", "above the most", "three", "best five of seven"],
)
def test_median_is_of_the_best_five_and_within_the_limits(round_trips, median):
    assert estimate().median_s(round_trips) == median


def test_long_idle_time_settles_the_estimate_at_once():
    rtt = estimate()
    rtt.tune([2.0], 0.0)
    rtt.tune([2.0], 1e6)
    assert rtt.target_s == pytest.approx(1.8, rel=1e-2)
    assert rtt.next_tuning is not None
    assert 1e6 < rtt.next_tuning <= 1e6 + 20


@pytest.mark.parametrize(("count", "confidence"), [(1, 1.0), (2, 0.5), (4, 0.75), (9, 8 / 9), (10, 1.0), (50, 1.0)])
def test_new_peer_lowers_confidence_while_there_are_few(count, confidence):
    rtt = estimate()
    rtt.on_peer_joined(count)
    assert rtt.confidence == pytest.approx(confidence)


def test_confidence_has_a_floor_and_comes_back_with_time():
    rtt = estimate()
    for _ in range(20):
        rtt.on_peer_joined(2)
    assert rtt.confidence == pytest.approx(0.1)
    rtt.tune([2.0], 0.0)
    assert rtt.confidence == pytest.approx(0.55)


def test_time_out_never_exceeds_its_limit():
    rtt = estimate()
    rtt.on_peer_joined(2)
    assert rtt.timeout_s == 60.0
