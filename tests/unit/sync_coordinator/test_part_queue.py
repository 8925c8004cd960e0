"""Parts are pending, in flight or done, and never lost or doubled."""

from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.shared.ethwire.types import PeerId
from services.sync_coordinator.core.part_queue import LACKING_SCAN, PartQueue
from tests.support.sim_peers import peer_id

ALICE, BOB, MALLORY = (peer_id(name) for name in ("alice", "bob", "mallory"))


def number_queue(**limits: int) -> PartQueue[int]:
    return PartQueue(order=lambda part: part, key=lambda part: part, **limits)


@pytest.fixture
def queue() -> PartQueue[int]:
    queue = number_queue()
    queue.schedule(range(10))
    return queue


def parts_of(reservation):
    return None if reservation is None else list(reservation.parts)


def test_lowest_parts_are_reserved_first(queue):
    assert parts_of(queue.reserve(1, ALICE, 3, 0.0)) == [0, 1, 2]
    assert parts_of(queue.reserve(2, BOB, 4, 0.0)) == [3, 4, 5, 6]
    assert (queue.pending, queue.in_flight, queue.done) == (3, 7, 0)


def test_lowest_parts_are_reserved_first_in_whatever_order_they_were_scheduled():
    queue = number_queue()
    queue.schedule_unordered([7, 3, 9])
    queue.schedule_unordered([5, 1])
    assert queue.first_pending() == 1
    assert parts_of(queue.reserve(1, ALICE, 2, 0.0)) == [1, 3]
    queue.schedule_unordered([2])
    queue.complete(1, [3])
    assert parts_of(queue.reserve(2, ALICE, 9, 0.0)) == [2, 3, 5, 7, 9]


def test_peer_gets_nothing_more_when_its_requests_are_all_open(queue):
    queue.reserve(1, ALICE, 3, 0.0)
    assert not queue.has_room(ALICE)
    assert queue.reserve(2, ALICE, 3, 0.0) is None
    assert queue.pending == 7


def test_peer_may_have_several_requests_when_the_queue_allows_it():
    queue = number_queue(requests_per_peer=2)
    queue.schedule(range(10))
    assert parts_of(queue.reserve(1, ALICE, 1, 0.0)) == [0]
    assert parts_of(queue.reserve(2, ALICE, 1, 0.0)) == [1]
    assert queue.reserve(3, ALICE, 1, 0.0) is None
    queue.complete(1, [])
    assert parts_of(queue.reserve(4, ALICE, 1, 0.0)) == [2]


def test_missing_parts_are_reserved_next_when_a_request_completes(queue):
    queue.reserve(1, ALICE, 5, 0.0)
    queue.complete(1, [1, 3])
    assert queue.done == 3
    assert queue.first_pending() == 1
    assert parts_of(queue.reserve(2, BOB, 4, 0.0)) == [1, 3, 5, 6]


def test_all_parts_come_back_when_a_request_is_cancelled(queue):
    queue.reserve(1, ALICE, 5, 0.0)
    assert parts_of(queue.cancel(1)) == [0, 1, 2, 3, 4]
    assert (queue.pending, queue.in_flight) == (10, 0)
    assert 1 not in queue
    assert queue.reservation(1) is None


def test_only_old_requests_expire(queue):
    queue.reserve(1, ALICE, 2, 1.0)
    queue.reserve(2, BOB, 2, 2.0)
    queue.reserve(3, MALLORY, 2, 3.0)
    assert queue.oldest_request_at() == 1.0
    assert [expired.request_id for expired in queue.expire(2.0)] == [1, 2]
    assert queue.oldest_request_at() == 3.0
    assert queue.first_pending() == 0


def test_lacked_parts_are_left_for_others(queue):
    queue.mark_lacking(ALICE, [0, 2])
    assert parts_of(queue.reserve(1, ALICE, 3, 0.0)) == [1, 3, 4]
    assert parts_of(queue.reserve(2, BOB, 3, 0.0)) == [0, 2, 5]


def test_nothing_is_reserved_when_all_parts_are_lacked(queue):
    queue.mark_lacking(ALICE, range(10))
    assert queue.reserve(1, ALICE, 3, 0.0) is None
    assert queue.pending == 10
    assert queue.open_requests == 0


def test_search_is_bounded_when_very_many_parts_are_lacked():
    queue = number_queue()
    queue.schedule(range(10 * LACKING_SCAN))
    queue.mark_lacking(ALICE, range(2 * LACKING_SCAN))
    assert queue.reserve(1, ALICE, 3, 0.0) is None
    queue.reserve(2, BOB, 2 * LACKING_SCAN, 0.0)
    assert parts_of(queue.reserve(3, ALICE, 2, 0.0)) == [2 * LACKING_SCAN, 2 * LACKING_SCAN + 1]


def test_oldest_lacking_marks_are_forgotten_when_there_are_too_many():
    queue = number_queue(lacking_per_peer=3)
    queue.schedule(range(5))
    queue.mark_lacking(ALICE, range(5))
    assert queue.lacking_count(ALICE) == 3
    assert parts_of(queue.reserve(1, ALICE, 5, 0.0)) == [0, 1]


def test_parts_and_marks_are_freed_when_a_peer_is_revoked(queue):
    queue.mark_lacking(ALICE, [9])
    queue.reserve(1, ALICE, 5, 0.0)
    queue.reserve(2, BOB, 2, 0.0)
    queue.revoke(ALICE)
    assert (queue.pending, queue.in_flight) == (8, 2)
    assert queue.lacking_count(ALICE) == 0
    queue.revoke(ALICE)


REQUESTS, LACKING = 2, 3
"""Limits of the model: small, so that they are met."""


class PartQueueMachine(RuleBasedStateMachine):
    """Random use against a model that knows where each part is."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = number_queue(requests_per_peer=REQUESTS, lacking_per_peer=LACKING)
        self.rng = random.Random(0)
        self.now = 0.0
        self.scheduled = self.request_id = 0
        self.open: dict[int, list[int]] = {}
        self.done: list[int] = []
        self.lacking: dict[PeerId, list[int]] = {}
        """What each peer is known to lack, the latest last."""

    @rule(count=st.integers(0, 60))
    def schedule(self, count: int) -> None:
        self.queue.schedule(range(self.scheduled, self.scheduled + count))
        self.scheduled += count

    @rule(peer=st.sampled_from([ALICE, BOB, MALLORY]), count=st.integers(1, 12))
    def reserve(self, peer, count: int) -> None:
        self.request_id += 1
        has_room = self.open_of(peer) < REQUESTS
        assert self.queue.has_room(peer) is has_room
        reservation = self.queue.reserve(self.request_id, peer, count, self.now)
        if reservation is not None:
            assert has_room
            assert not set(reservation.parts) & set(self.lacking.get(peer, ()))
            assert 0 < len(reservation.parts) <= count
            assert list(reservation.parts) == sorted(reservation.parts)
            self.open[self.request_id] = list(reservation.parts)

    @precondition(lambda self: self.open)
    @rule(choice=st.randoms(use_true_random=False), lacking=st.booleans())
    def complete(self, choice, lacking: bool) -> None:
        request_id = choice.choice(list(self.open))
        parts = self.open.pop(request_id)
        missing = [part for part in parts if choice.random() < 0.5]
        if lacking:
            reservation = self.queue.reservation(request_id)
            assert reservation is not None
            self.queue.mark_lacking(reservation.peer, missing)
            known = self.lacking.get(reservation.peer, [])
            self.lacking[reservation.peer] = [*known, *missing][-LACKING:]
        self.queue.complete(request_id, missing)
        self.done += [part for part in parts if part not in missing]

    @precondition(lambda self: self.open)
    @rule(choice=st.randoms(use_true_random=False))
    def cancel(self, choice) -> None:
        request_id = choice.choice(list(self.open))
        assert list(self.queue.cancel(request_id).parts) == self.open.pop(request_id)

    @rule(seconds=st.floats(0, 5))
    def expire(self, seconds: float) -> None:
        asked_until = self.now - seconds
        for reservation in self.queue.expire(asked_until):
            assert reservation.asked_at <= asked_until
            assert self.open.pop(reservation.request_id) == list(reservation.parts)
        for request_id in self.open:
            kept = self.queue.reservation(request_id)
            assert kept is not None
            assert kept.asked_at > asked_until
        self.now += seconds

    @rule(peer=st.sampled_from([ALICE, BOB, MALLORY]))
    def revoke(self, peer) -> None:
        for request_id in list(self.open):
            reservation = self.queue.reservation(request_id)
            assert reservation is not None
            if reservation.peer == peer:
                del self.open[request_id]
        self.lacking.pop(peer, None)
        self.queue.revoke(peer)

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        queue = self.queue
        assert queue.pending + queue.in_flight + queue.done == self.scheduled
        assert queue.in_flight == sum(map(len, self.open.values()))
        assert queue.done == len(self.done)
        assert queue.open_requests == len(self.open)
        taken = [part for parts in self.open.values() for part in parts] + self.done
        assert len(taken) == len(set(taken))

    @invariant()
    def limits_hold(self) -> None:
        for peer in (ALICE, BOB, MALLORY):
            assert self.queue.lacking_count(peer) == len(self.lacking.get(peer, ())) <= LACKING
            assert self.open_of(peer) <= REQUESTS

    def open_of(self, peer) -> int:
        reservations = [self.queue.reservation(request_id) for request_id in self.open]
        return sum(1 for reservation in reservations if reservation is not None and reservation.peer == peer)

    def teardown(self) -> None:
        """Everything can still be fetched, each part once."""
        for request_id in list(self.open):
            self.queue.cancel(request_id)
        rest = self.queue.reserve(self.request_id + 1, peer_id("carol"), self.scheduled + 1, self.now)
        assert sorted(self.done + (list(rest.parts) if rest else [])) == list(range(self.scheduled))


TestPartQueueModel = PartQueueMachine.TestCase
TestPartQueueModel.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
