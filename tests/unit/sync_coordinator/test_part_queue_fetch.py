"""Parts are shared out among the peers."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from services.sync_coordinator.core.capacity import DownloadPeers, PartKind
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.part_fetch import PartFetch
from services.sync_coordinator.core.part_queue import PartQueue
from tests.support.sim_peers import peer_id

ALICE, BOB, CAROL = (peer_id(name) for name in ("alice", "bob", "carol"))
BODIES = PartKind.BODIES


@pytest.fixture
def peers():
    peers: Any = DownloadPeers(DownloaderConfig())
    for peer in (ALICE, BOB, CAROL):
        peers.join(peer, 63)
    peers.on_time(0.0)
    peers.get(BOB).measure(BODIES, 1000, 1.0)
    return peers


def fetch_of(peers, *, parts=100, most=20, requests_per_peer=1):
    queue: PartQueue[int] = PartQueue(
        order=lambda part: part, key=lambda part: part, requests_per_peer=requests_per_peer
    )
    queue.schedule(range(parts))
    next_id = itertools.count(1).__next__
    return PartFetch(BODIES, queue, peers, most=most, rng=random.Random(0), next_request_id=next_id)


def test_fastest_peer_gets_the_lowest_parts_and_the_most(peers):
    given = fetch_of(peers).assign(100, 0.0)
    assert given[0].peer == BOB
    assert list(given[0].parts) == list(range(20))
    assert sorted(len(reservation.parts) for reservation in given) == [2, 2, 20]


def test_nothing_is_assigned_when_there_is_no_budget(peers):
    fetch = fetch_of(peers)
    assert fetch.assign(0, 0.0) == []
    assert fetch.assign(-5, 0.0) == []
    assert [len(reservation.parts) for reservation in fetch.assign(7, 0.0)] == [7]


def test_requests_go_round_when_a_peer_may_have_several(peers):
    given = fetch_of(peers, most=1, requests_per_peer=3).assign(100, 0.0)
    assert given[0].peer == BOB
    assert {reservation.peer for reservation in given[:3]} == {ALICE, BOB, CAROL}
    assert len(given) == 9


def test_paused_peer_gets_nothing(peers):
    fetch = fetch_of(peers)
    request = fetch.assign(20, 0.0)[0]
    fetch.lose(request.request_id, until=1.0)
    assert request.peer == BOB
    assert {reservation.peer for reservation in fetch.assign(100, 0.5)} == {ALICE, CAROL}
    peers.on_time(1.0)
    assert {reservation.peer for reservation in fetch.assign(100, 1.0)} == {BOB}


def test_fetch_is_stuck_when_no_peer_has_what_is_pending(peers):
    fetch = fetch_of(peers, parts=1)
    for peer in (ALICE, BOB):
        fetch.queue.mark_lacking(peer, [0])
    (request,) = fetch.assign(100, 0.0)
    assert request.peer == CAROL
    assert not fetch.is_stuck(), "carol may still have it"
    fetch.queue.mark_lacking(CAROL, [0])
    fetch.settle(request, [0], 1.0)
    assert fetch.assign(100, 1.0) == []
    assert fetch.is_stuck()
    peers.pause(ALICE, 5.0)
    assert not fetch.is_stuck(), "nothing is certain while a peer is paused"


def test_reply_is_measured_and_its_missing_parts_come_back(peers):
    fetch = fetch_of(peers)
    request = fetch.assign(20, 0.0)[0]
    before = peers.get(BOB).throughput[BODIES]
    fetch.settle(request, request.parts[10:], 1.0)
    assert peers.get(BOB).throughput[BODIES] == pytest.approx(0.9 * before + 0.1 * 10)
    assert (fetch.queue.done, fetch.queue.pending) == (10, 90)


def test_large_request_that_expires_shrinks_the_peer_and_a_small_one_drops_it(peers):
    fetch = fetch_of(peers)
    fetch.assign(100, 0.0)
    due = fetch.next_wakeup()
    assert due == pytest.approx(peers.round_trip.timeout_s)
    assert fetch.expire(due - 0.01) == (0, [])
    count, too_slow = fetch.expire(due)
    assert count == 3
    assert set(too_slow) == {ALICE, CAROL}
    assert peers.get(BOB).parts(BODIES, 18.0, 128) == 2
    assert fetch.queue.pending == 100


def test_reply_of_a_peer_that_left_is_not_measured(peers):
    fetch = fetch_of(peers)
    request = fetch.assign(20, 0.0)[0]
    peers.leave(BOB)
    fetch.settle(request, [], 1.0)
    assert fetch.queue.done == 20
