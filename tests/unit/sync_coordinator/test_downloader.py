"""Conversations with the downloader: what it asks, what it ends with."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from services.sync_coordinator.core.capacity import DownloadPeers, PartKind
from services.sync_coordinator.core.downloader import Downloader
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.sync_actions import (
    DropPeer,
    ImportBlocks,
    ImportHeaders,
    RequestBodies,
    RequestHeaders,
    RollBackHeaders,
    SyncEnded,
    SyncMode,
    SyncPhase,
    SyncTarget,
)
from services.sync_coordinator.core.sync_faults import SyncFault
from services.sync_coordinator.core.sync_run import SyncRun
from tests.support.chain_maker import made_chain
from tests.support.memory_chain import MemoryChain
from tests.support.sim_peers import peer_id

ALICE, BOB = peer_id("alice"), peer_id("bob")
CHAIN = made_chain(8, branch=5, empty_every=1000)


class Conversation:
    """One downloader with alice as master, who has `CHAIN`."""

    tail: RequestHeaders
    downloader: Any

    def __init__(
        self, mode=SyncMode.FULL, *, eth_version=63, peers=(ALICE,), promised=None, on_prepare=lambda: None, **config
    ):
        self.config = DownloaderConfig(**config)
        self.chain = MemoryChain()
        self.peers = DownloadPeers(self.config)
        for peer in peers:
            self.peers.join(peer, eth_version)
        promised = CHAIN.total_difficulty if promised is None else promised
        self.downloader = Downloader(
            SyncRun(
                config=self.config,
                target=SyncTarget(mode, ALICE, CHAIN.head.hash, promised),
                chain=self.chain,
                peers=self.peers,
                rng=random.Random(1),
                next_request_id=itertools.count(1).__next__,
                on_prepare=on_prepare,
            )
        )

    def answer(self, request, now):
        """Alice's true answer to `request`."""
        if isinstance(request, RequestBodies):
            bodies = [CHAIN.bodies[CHAIN.numbers[wanted]] for wanted in request.hashes]
            return self.downloader.on_bodies(request.request_id, bodies, now)
        start = request.origin if isinstance(request.origin, int) else CHAIN.numbers[request.origin]
        headers = CHAIN.headers[start : start + request.amount * (request.skip + 1) : request.skip + 1]
        return self.downloader.on_headers(request.request_id, headers, now)

    def to_tail(self):
        """Up to and with the answer to the first tail request, which takes all; returns what follows."""
        actions = self.downloader.start(0.0)
        while not (isinstance(actions[0], RequestHeaders) and actions[0].amount == self.config.headers_per_request):
            actions = self.answer(actions[0], 0.1)
        return self.answer(actions[0], 0.2)

    def to_import(self):
        """Up to the first import; returns that batch. The next tail request stays open, as `self.tail`."""
        actions = self.to_tail()
        self.tail = next(action for action in actions if isinstance(action, RequestHeaders))
        while not any(isinstance(action, ImportBlocks | ImportHeaders) for action in actions):
            actions = self.answer(next(action for action in actions if isinstance(action, RequestBodies)), 0.5)
        return next(action for action in actions if isinstance(action, ImportBlocks | ImportHeaders))


def ended(actions):
    """The outcome's fault, of the last action."""
    assert isinstance(actions[-1], SyncEnded)
    return actions[-1].outcome.fault


def test_master_is_asked_for_its_head_when_a_sync_starts():
    talk = Conversation()
    assert talk.downloader.start(0.0) == [RequestHeaders(1, ALICE, CHAIN.head.hash, 1)]
    assert talk.downloader.progress().phase is SyncPhase.HEIGHT


def test_span_then_skeleton_are_asked_when_the_master_answers():
    talk = Conversation()
    talk.downloader.start(0.0)
    assert talk.downloader.on_headers(1, [CHAIN.head], 0.1) == [RequestHeaders(2, ALICE, 1, 4, skip=1)]
    assert talk.downloader.progress().phase is SyncPhase.ANCESTOR
    assert talk.downloader.progress().highest_block == 8
    (skeleton,) = talk.downloader.on_headers(2, CHAIN.headers[1::2], 0.2)
    assert skeleton == RequestHeaders(3, ALICE, 192, 128, skip=191)


def test_sync_ends_at_once_when_the_master_is_not_connected():
    talk = Conversation(peers=(BOB,))
    assert ended(talk.downloader.start(0.0)) is SyncFault.UNKNOWN_PEER


def test_master_is_dropped_when_its_protocol_is_too_old():
    talk = Conversation(eth_version=61)
    drop, end = talk.downloader.start(0.0)
    assert isinstance(drop, DropPeer)
    assert (drop.peer, drop.reason) == (ALICE, SyncFault.PROTOCOL_TOO_OLD)
    assert ended([end]) is SyncFault.PROTOCOL_TOO_OLD


@pytest.mark.parametrize(
    ("fault", "drops"),
    [
        (SyncFault.TIMEOUT, True),
        (SyncFault.BAD_PEER, True),
        (SyncFault.STALLING_PEER, True),
        (SyncFault.EMPTY_HEADER_SET, True),
        (SyncFault.PEERS_UNAVAILABLE, True),
        (SyncFault.PROTOCOL_TOO_OLD, True),
        (SyncFault.INVALID_ANCESTOR, True),
        (SyncFault.INVALID_CHAIN, True),
        (SyncFault.INVALID_BODY, False),
        (SyncFault.INVALID_RECEIPTS, False),
        (SyncFault.INVALID_STATE_ENTRY, False),
        (SyncFault.UNKNOWN_PEER, False),
        (SyncFault.MASTER_LEFT, False),
        (SyncFault.REQUEST_LOST, False),
        (SyncFault.IMPORT_FAILED, False),
        (SyncFault.CANCELLED, False),
    ],
)
def test_master_is_dropped_only_for_what_is_its_fault(fault, drops):
    assert fault.drops_master is drops


def test_every_fault_is_decided():
    assert {fault for fault in SyncFault if fault.drops_master} | {
        SyncFault.INVALID_BODY,
        SyncFault.INVALID_RECEIPTS,
        SyncFault.INVALID_STATE_ENTRY,
        SyncFault.UNKNOWN_PEER,
        SyncFault.MASTER_LEFT,
        SyncFault.REQUEST_LOST,
        SyncFault.IMPORT_FAILED,
        SyncFault.CANCELLED,
    } == set(SyncFault)


def test_master_is_dropped_when_its_answer_is_late():
    talk = Conversation(request_timeout_max_s=7.0)
    talk.downloader.start(0.0)
    assert talk.downloader.on_wakeup(6.9) == []
    drop, end = talk.downloader.on_wakeup(7.0)
    assert (drop.peer, drop.reason) == (ALICE, SyncFault.TIMEOUT)
    assert ended([end]) is SyncFault.TIMEOUT
    assert talk.downloader.on_headers(1, [CHAIN.head], 7.1) == []
    assert talk.downloader.next_wakeup() is None


def test_a_question_to_the_master_that_timed_out_is_counted():
    talk = Conversation()
    talk.downloader.start(0.0)
    assert talk.downloader.open_requests == 1
    due = talk.downloader.next_wakeup()
    while talk.downloader.open_requests:
        talk.downloader.on_wakeup(due)
        due = talk.downloader.next_wakeup()
    assert talk.peers.timeouts[PartKind.HEADERS] == 1


def test_the_search_for_what_to_ask_next_is_told_when_it_begins():
    told: list[int] = []
    talk: Conversation = Conversation(on_prepare=lambda: told.append(talk.downloader.progress().headers_fetched))
    talk.to_import()
    assert told[0] == 0
    assert told[-1] == 8, "after the input was taken in"


def test_unknown_reply_is_counted_and_changes_nothing():
    talk = Conversation()
    talk.downloader.start(0.0)
    assert talk.downloader.on_headers(99, [CHAIN.head], 0.1) == []
    assert talk.downloader.on_bodies(98, [CHAIN.bodies[1]], 0.1) == []
    assert talk.downloader.progress().stale_replies == 2


def test_sync_ends_without_blame_when_a_question_to_the_master_is_lost():
    talk = Conversation()
    talk.downloader.start(0.0)
    assert ended(talk.downloader.on_request_failed(1, 0.1)) is SyncFault.REQUEST_LOST


def test_lost_body_request_is_made_again_after_a_pause():
    talk = Conversation(requests_per_peer=1)
    (request,) = (action for action in talk.to_tail() if isinstance(action, RequestBodies))
    assert talk.downloader.on_request_failed(request.request_id, 0.5) == []
    assert talk.downloader.next_wakeup() == 1.5
    (again,) = talk.downloader.on_wakeup(1.5)
    assert again.hashes == request.hashes


def test_peer_is_asked_for_the_next_bodies_when_it_still_owes_some():
    talk = Conversation(requests_per_peer=3)
    requests = [action for action in talk.to_tail() if isinstance(action, RequestBodies)]
    assert len(requests) == 3
    assert len({request.peer for request in requests}) == 1
    asked = [block_hash for request in requests for block_hash in request.hashes]
    assert asked == [header.hash for header in CHAIN.headers[1 : len(asked) + 1]]


def test_one_batch_is_out_at_a_time():
    talk = Conversation(SyncMode.LIGHT, import_batch=3)
    batch = talk.to_import()
    assert [header.number for header in batch.headers] == [1, 2, 3]
    assert talk.downloader.on_wakeup(0.6) == []
    talk.chain.add_headers(batch.headers)
    actions = talk.downloader.on_imported(batch.batch_id, 0.7)
    (following,) = (action for action in actions if isinstance(action, ImportHeaders))
    assert [header.number for header in following.headers] == [4, 5, 6]
    assert talk.downloader.on_imported(batch.batch_id, 0.8) == [], "an answer counts once"


def test_sync_succeeds_when_all_is_imported():
    talk = Conversation(SyncMode.LIGHT)
    batch = talk.to_import()
    talk.chain.add_headers(batch.headers)
    assert talk.downloader.on_imported(batch.batch_id, 0.6) == []
    end = talk.answer(talk.tail, 0.7)
    assert ended(end) is None
    progress = end[-1].outcome.progress
    assert (progress.phase, progress.current_block, progress.imported) == (SyncPhase.ENDED, 8, 8)
    assert progress.imported_bytes == sum(len(header.header_rlp) for header in CHAIN.headers[1:])
    assert (progress.started_at, progress.last_import_at) == (0.0, 0.6)
    assert progress.fault is None


def test_master_is_dropped_when_a_block_breaks_a_rule():
    talk = Conversation()
    batch = talk.to_import()
    drop, end = talk.downloader.on_import_failed(batch.batch_id, 1, "block 1: gas-limit", 0.6)
    assert (drop.peer, drop.reason) == (ALICE, SyncFault.INVALID_CHAIN)
    assert end.outcome.detail == "block 1: gas-limit"


def test_nobody_is_dropped_when_our_own_store_fails():
    talk = Conversation()
    batch = talk.to_import()
    actions = talk.downloader.on_import_failed(batch.batch_id, None, "disk full", 0.6)
    assert ended(actions) is SyncFault.IMPORT_FAILED
    assert len(actions) == 1


@pytest.mark.parametrize("mode", SyncMode)
def test_end_waits_for_the_importer_when_a_sync_is_cancelled(mode):
    talk = Conversation(mode)
    batch = talk.to_import()
    assert talk.downloader.cancel(0.6) == []
    assert talk.downloader.progress().phase is SyncPhase.ENDING
    assert talk.downloader.next_wakeup() is None
    assert talk.downloader.cancel(0.6) == []
    assert talk.downloader.on_wakeup(100.0) == []
    assert talk.downloader.on_peer_left(ALICE, 100.0) == []
    actions = talk.downloader.on_imported(batch.batch_id, 101.0)
    assert ended(actions) is SyncFault.CANCELLED
    assert [type(action) for action in actions] == (
        [SyncEnded] if mode is SyncMode.FULL else [RollBackHeaders, SyncEnded]
    )
    assert talk.downloader.on_imported(batch.batch_id, 102.0) == []


def test_only_new_headers_are_rolled_back_when_some_were_known():
    talk = Conversation(SyncMode.LIGHT)
    batch = talk.to_import()
    talk.chain.add_headers(CHAIN.headers[1:4])
    assert talk.downloader.cancel(0.6) == []
    roll_back, _ = talk.downloader.on_imported(batch.batch_id, 0.7)
    assert [header.number for header in roll_back.headers] == list(range(1, 9))

    talk = Conversation(SyncMode.LIGHT)
    talk.chain.add_headers(CHAIN.headers[1:4])
    batch = talk.to_import()
    talk.downloader.cancel(0.6)
    roll_back, _ = talk.downloader.on_imported(batch.batch_id, 0.7)
    assert [header.number for header in roll_back.headers] == [4, 5, 6, 7, 8]


def test_headers_below_the_invalid_one_are_rolled_back():
    talk = Conversation(SyncMode.LIGHT)
    batch = talk.to_import()
    actions = talk.downloader.on_import_failed(batch.batch_id, 5, "rule", 0.6)
    (roll_back,) = (action for action in actions if isinstance(action, RollBackHeaders))
    assert [header.number for header in roll_back.headers] == [1, 2, 3, 4]
    assert isinstance(actions[-1], SyncEnded)


def test_peer_that_joins_after_the_end_is_kept_for_the_next_sync():
    talk = Conversation()
    talk.downloader.start(0.0)
    talk.downloader.cancel(0.1)
    assert talk.downloader.on_peer_joined(BOB, 63, 0.2) == []
    assert talk.downloader.on_peer_left(ALICE, 0.3) == []
    assert [known.peer for known in talk.peers] == [BOB]


@pytest.mark.parametrize(
    "numbers",
    [
        {"headers_per_request": 193},
        {"bodies_per_request": 0},
        {"span_step_min": 17},
        {"max_queued_headers": 191},
        {"fills_per_peer": 0},
        {"rtt_min_s": 30.0},
        {"request_timeout_max_s": 0.0},
    ],
)
def test_config_is_refused_when_a_number_makes_no_sense(numbers):
    with pytest.raises(ValueError, match=next(iter(numbers))):
        DownloaderConfig(**numbers)
