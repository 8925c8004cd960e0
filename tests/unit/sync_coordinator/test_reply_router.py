from __future__ import annotations

from services.sync_coordinator.core.reply_router import Asker, ReplyRouter
from tests.support.peers import ALICE, MALLORY


def test_reply_goes_once_to_whoever_asked():
    router = ReplyRouter()
    ids = {asker: router.next_id() for asker in Asker}
    for asker, request_id in ids.items():
        router.asked(request_id, asker, ALICE)
    for asker, request_id in ids.items():
        assert router.take(request_id, ALICE) is asker
        assert router.take(request_id, ALICE) is None
    assert len(router) == 0


def test_reply_of_another_peer_is_nobodys():
    router = ReplyRouter()
    router.asked(1, Asker.FETCHER, ALICE)
    assert router.take(1, MALLORY) is None
    assert router.take(1, ALICE) is Asker.FETCHER


def test_unasked_reply_is_nobodys():
    assert ReplyRouter().take(7, ALICE) is None
    assert ReplyRouter().lost(7) is None


def test_lost_request_is_told_to_its_asker_once():
    router = ReplyRouter()
    router.asked(1, Asker.DOWNLOADER, ALICE)
    assert router.lost(1) is Asker.DOWNLOADER
    assert router.take(1, ALICE) is None


def test_nothing_is_kept_of_a_peer_that_left():
    router = ReplyRouter()
    for request_id in range(1, 4):
        router.asked(request_id, Asker.DOWNLOADER, ALICE)
    router.asked(9, Asker.DOWNLOADER, MALLORY)
    assert sorted(router.peer_left(ALICE)) == [1, 2, 3]
    assert len(router) == 1
    assert router.take(2, ALICE) is None
    assert router.take(9, MALLORY) is Asker.DOWNLOADER
