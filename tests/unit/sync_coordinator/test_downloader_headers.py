"""The header download's dialogue with the master."""

from __future__ import annotations

import pytest

from services.sync_coordinator.core.ancestor_search import CommonAncestor
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.header_download import HeaderDownload, HeaderStage
from services.sync_coordinator.core.sync_faults import SyncFailed, SyncFault
from tests.support.chain_maker import made_chain
from tests.support.sim_peers import peer_id

CONFIG = DownloaderConfig(
    headers_per_request=10, skeleton_anchors=3, hold_back_headers=2, hold_back_distance=5, max_queued_headers=40
)
CHAIN = made_chain(100)
ALICE = peer_id("alice")


class Ours:
    """Where our imported head is."""

    number = 0

    def __call__(self):
        return self.number


@pytest.fixture
def ours():
    return Ours()


@pytest.fixture
def headers(ours):
    return HeaderDownload(CONFIG, CommonAncestor(0, CHAIN.headers[0].hash), ours)


@pytest.fixture
def tail(headers):
    headers.on_reply([], 0.0)
    assert headers.stage is HeaderStage.TAIL
    return headers


def fill_all(headers):
    request_id = 0
    while (reservation := headers.skeleton.queue.reserve(request_id, ALICE, 1, 0.0)) is not None:
        start = reservation.parts[0].start
        assert headers.on_fill(reservation, CHAIN.headers[start : start + 10])
        headers.skeleton.queue.complete(request_id, [])
        headers.on_fill_settled()
        request_id += 1


def test_skeleton_is_asked_again_when_all_gaps_are_filled(headers):
    assert headers.question(0, 0.0) == (10, 3, 10)
    headers.on_reply(CHAIN.headers[10:31:10], 0.0)
    assert headers.stage is HeaderStage.FILLING
    assert headers.question(0, 0.0) is None
    fill_all(headers)
    assert headers.fetched == headers.ready.last_number == 30
    assert headers.ready.take(30) == CHAIN.headers[1:31]
    assert headers.question(0, 0.0) == (40, 3, 10)


def test_tail_is_asked_when_the_skeleton_is_empty(headers):
    headers.on_reply([], 0.0)
    assert headers.question(0, 0.0) == (1, 10, 1)


def test_download_is_done_when_the_tail_is_empty(tail):
    tail.on_reply([], 0.0)
    assert tail.stage is HeaderStage.DONE
    assert tail.question(0, 0.0) is None
    assert tail.next_wakeup(0) is None


def test_newest_headers_are_held_back_when_our_head_is_far(tail, ours):
    ours.number = 4
    tail.on_reply(CHAIN.headers[1:11], 0.0)
    assert tail.ready.last_number == 8
    assert tail.question(0, 0.0) == (9, 10, 1)


def test_all_headers_are_taken_when_our_head_is_near(tail, ours):
    ours.number = 5
    tail.on_reply(CHAIN.headers[1:11], 0.0)
    assert tail.ready.last_number == 10


def test_tail_is_asked_again_later_when_all_of_it_is_held_back(tail):
    tail.on_reply(CHAIN.headers[1:11], 0.0)
    tail.on_reply(CHAIN.headers[9:11], 1.0)
    assert tail.stage is HeaderStage.TAIL_HELD_BACK
    assert tail.ready.last_number == 8
    assert tail.next_wakeup(0) == 4.0
    assert tail.question(0, 3.99) is None
    assert tail.question(0, 4.0) == (9, 10, 1)
    tail.on_asked()
    assert tail.next_wakeup(0) is None


def test_tail_is_asked_sooner_when_import_comes_near(tail, ours):
    tail.on_reply(CHAIN.headers[1:11], 0.0)
    tail.on_reply(CHAIN.headers[9:11], 1.0)
    ours.number = 5
    assert tail.question(0, 1.1) == (9, 10, 1)
    tail.on_asked()
    tail.on_reply(CHAIN.headers[9:11], 1.2)
    assert tail.ready.last_number == 10


def test_master_is_not_asked_when_there_is_no_room(tail):
    assert tail.question(30, 0.0) is not None
    assert tail.question(31, 0.0) is None
    tail.on_reply(CHAIN.headers[1:11], 0.0)
    tail.on_reply(CHAIN.headers[9:11], 1.0)
    assert tail.next_wakeup(31) is None, "only the importer can make room"
    assert tail.next_wakeup(0) == 4.0


def test_gaps_are_asked_only_as_far_as_there_is_room(headers):
    headers.on_reply(CHAIN.headers[10:31:10], 0.0)
    assert headers.fill_budget(0) == 4
    assert headers.fill_budget(20) == 2
    assert headers.fill_budget(30) == 1
    assert headers.fill_budget(31) <= 0
    headers.skeleton.queue.reserve(1, ALICE, 1, 0.0)
    assert headers.fill_budget(20) == 1


def test_next_gap_is_asked_even_when_later_ones_fill_the_queue(ours):
    config = DownloaderConfig(headers_per_request=10, skeleton_anchors=3, max_queued_headers=20, fills_per_peer=4)
    headers = HeaderDownload(config, CommonAncestor(0, CHAIN.headers[0].hash), ours)
    headers.on_reply(CHAIN.headers[10:31:10], 0.0)
    queue = headers.skeleton.queue
    first, *later = filter(None, (queue.reserve(request_id, ALICE, 1, 0.0) for request_id in range(3)))
    assert len(later) == 2
    for reservation in later:
        start = reservation.parts[0].start
        headers.on_fill(reservation, CHAIN.headers[start : start + 10])
        queue.complete(reservation.request_id, [])
    queue.cancel(first.request_id)
    assert headers.held == 20
    assert headers.fill_budget(0) == 1
    assert headers.fill_budget(15) <= 0, "what is downstream makes room by itself"


@pytest.mark.parametrize(
    "reply",
    [CHAIN.headers[1:12], CHAIN.headers[2:12], [CHAIN.headers[1], *CHAIN.headers[3:9]]],
    ids=["too many", "shifted", "hole"],
)
def test_tail_is_refused_when_it_is_not_what_was_asked(tail, reply):
    with pytest.raises(SyncFailed) as failed:
        tail.on_reply(reply, 0.0)
    assert failed.value.fault is SyncFault.INVALID_CHAIN


def test_skeleton_is_refused_when_its_gaps_do_not_follow_each_other(headers):
    other = CHAIN.shortened(5).extended(95, branch=1)
    headers.on_reply([CHAIN.headers[10], other.headers[20]], 0.0)
    queue = headers.skeleton.queue
    assert headers.on_fill(queue.reserve(1, ALICE, 1, 0.0), CHAIN.headers[1:11])
    with pytest.raises(SyncFailed) as failed:
        headers.on_fill(queue.reserve(2, ALICE, 1, 0.0), other.headers[11:21])
    assert failed.value.fault is SyncFault.INVALID_CHAIN
