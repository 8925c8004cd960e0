"""Anchors, gaps and the headers between."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.linked_headers import LinkedHeaders, first_unlinked
from services.sync_coordinator.core.skeleton import Skeleton
from services.sync_coordinator.core.sync_faults import SyncFailed, SyncFault
from tests.support.chain_maker import made_chain
from tests.support.sim_peers import peer_id

CONFIG = DownloaderConfig(headers_per_request=10, skeleton_anchors=4, fills_per_peer=3)
CHAIN = made_chain(100)
FORGED = CHAIN.shortened(3).extended(97, branch=1)
ALICE, BOB = peer_id("alice"), peer_id("bob")


@pytest.fixture
def skeleton() -> Skeleton:
    """Gaps 1-10, 11-20, 21-30, 31-40."""
    skeleton = Skeleton(CONFIG, 1)
    skeleton.start(CHAIN.headers[10:41:10])
    return skeleton


def reserve(skeleton, request_id, peer=ALICE):
    return skeleton.queue.reserve(request_id, peer, 1, 0.0)


def fill(skeleton, request_id, headers, peer=ALICE):
    reservation = reserve(skeleton, request_id, peer)
    accepted = skeleton.accepts(reservation, headers)
    skeleton.queue.complete(request_id, [] if accepted else reservation.parts)
    return accepted


def test_gaps_end_at_their_anchors(skeleton):
    gaps = [reserve(skeleton, request_id, peer).parts[0] for request_id, peer in enumerate([ALICE] * 3 + [BOB])]
    assert [(gap.start, gap.anchor.number) for gap in gaps] == [(1, 10), (11, 20), (21, 30), (31, 40)]


def test_peer_may_fill_several_gaps_at_once_up_to_the_limit(skeleton):
    assert all(reserve(skeleton, request_id) for request_id in range(3))
    assert reserve(skeleton, 3) is None


def test_fills_leave_in_order_whatever_order_they_came_in(skeleton):
    reservations = [reserve(skeleton, request_id) for request_id in range(3)]
    for reservation in reversed(reservations[1:]):
        start = reservation.parts[0].start
        assert skeleton.accepts(reservation, CHAIN.headers[start : start + 10])
        assert skeleton.take_ready() == []
    assert skeleton.held_headers == 20
    assert skeleton.accepts(reservations[0], CHAIN.headers[1:11])
    assert [headers[0].number for headers in skeleton.take_ready()] == [1, 11, 21]
    assert skeleton.held_headers == 0
    assert skeleton.next_number == 31


@pytest.mark.parametrize(
    "reply",
    [
        [],
        CHAIN.headers[1:10],
        CHAIN.headers[1:12],
        CHAIN.headers[0:10],
        CHAIN.headers[2:12],
        FORGED.headers[1:11],
        [*FORGED.headers[1:10], CHAIN.headers[10]],
        [*CHAIN.headers[1:5], *CHAIN.headers[6:11], CHAIN.headers[10]],
    ],
    ids=["none", "one short", "one more", "shifted down", "shifted up", "forged", "unlinked", "hole"],
)
def test_bad_fill_is_missed_for_that_peer_only(skeleton, reply):
    assert not fill(skeleton, 1, reply)
    assert reserve(skeleton, 2).parts[0].start == 11
    assert reserve(skeleton, 3, BOB).parts[0].start == 1


def test_skeleton_is_complete_when_all_fills_left(skeleton):
    for request_id, start in enumerate(range(1, 41, 10)):
        assert not skeleton.is_complete
        assert fill(skeleton, request_id, CHAIN.headers[start : start + 10])
        skeleton.take_ready()
    assert skeleton.is_complete
    skeleton.start(CHAIN.headers[50:61:10])
    assert reserve(skeleton, 9).parts[0].start == 41


@pytest.mark.parametrize(
    "anchors",
    [CHAIN.headers[9:40:10], CHAIN.headers[10:61:10], [CHAIN.headers[10], CHAIN.headers[30]]],
    ids=["shifted", "too many", "one left out"],
)
def test_anchors_are_refused_when_they_are_not_what_was_asked(anchors):
    with pytest.raises(SyncFailed) as failed:
        Skeleton(CONFIG, 1).start(anchors)
    assert failed.value.fault is SyncFault.INVALID_CHAIN


@given(seed=st.integers(0, 1000))
def test_filling_gives_linked_headers_whatever_the_peers_do(seed):
    rng = random.Random(seed)
    skeleton = Skeleton(CONFIG, 1)
    skeleton.start(CHAIN.headers[10:41:10])
    linked = LinkedHeaders(0, CHAIN.headers[0].hash)
    request_id = 0
    while not skeleton.is_complete:
        request_id += 1
        reservation = reserve(skeleton, request_id, peer_id(f"peer {rng.randrange(40)}"))
        if reservation is None:
            continue
        start = reservation.parts[0].start + rng.choice([0, 0, -1, 1])
        source = rng.choice([CHAIN, CHAIN, FORGED])
        accepted = skeleton.accepts(reservation, source.headers[start : start + rng.choice([10, 10, 9])])
        skeleton.queue.complete(request_id, [] if accepted else reservation.parts)
        for headers in skeleton.take_ready():
            linked.add(headers)
    assert linked.take(1000) == CHAIN.headers[1:41]


def test_linked_headers_refuse_what_does_not_follow():
    linked = LinkedHeaders(0, CHAIN.headers[0].hash)
    linked.add(CHAIN.headers[1:4])
    linked.add([])
    for reply in (CHAIN.headers[3:5], CHAIN.headers[5:7], FORGED.headers[5:6]):
        with pytest.raises(SyncFailed) as failed:
            linked.add(reply)
        assert failed.value.fault is SyncFault.INVALID_CHAIN
    assert len(linked) == linked.last_number == 3
    assert linked.take(2) == CHAIN.headers[1:3]
    assert linked.take(2) == CHAIN.headers[3:4]


def test_first_unlinked_header_is_found():
    assert first_unlinked(CHAIN.headers[5:9], 5, None) is None
    assert first_unlinked(CHAIN.headers[5:9], 6, None) == 0
    assert first_unlinked(CHAIN.headers[5:9], 5, CHAIN.headers[3].hash) == 0
    assert first_unlinked([*CHAIN.headers[4:6], FORGED.headers[6]], 4, None) == 2
    assert first_unlinked([], 4, None) is None
