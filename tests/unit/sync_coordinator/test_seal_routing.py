from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.sync_coordinator.core.ethash_epochs import MAX_EPOCH, epoch_at
from services.sync_coordinator.core.seal_routing import (
    AHEAD_BLOCKS,
    MAX_HELD,
    STRAGGLER_BLOCKS,
    UNUSED_S,
    EndWorker,
    RoutingAction,
    SealRouting,
    StartWorker,
)

EPOCH = [epoch_at(number * 30_000, None) for number in range(8)]
CHUNK = 64


class Sync:
    """Questions in number order at a steady pace, each answered at once."""

    def __init__(self, *, switch: int | None = None, blocks_per_s: float = 600.0) -> None:
        self.routing, self.now, self.blocks_per_s = SealRouting(switch), 0.0, blocks_per_s
        self.actions: list[tuple[int, RoutingAction]] = []
        """Each with the block at which it came."""

    def ask(self, last_number: int) -> None:
        taken = self.routing.on_question(last_number, self.now)
        taken += self.routing.on_answer(self.routing.epoch_of(last_number), self.now)
        self.actions += [(last_number, action) for action in taken]

    def follow(self, first: int, last: int) -> None:
        """An uncle seven blocks below comes with each chunk."""
        for number in range(first, last, CHUNK):
            self.now += CHUNK / self.blocks_per_s
            self.ask(number)
            self.ask(max(0, number - 7))

    def starts(self) -> list[RoutingAction]:
        return [action for _, action in self.actions if isinstance(action, StartWorker)]


def test_no_epoch_is_started_twice_when_a_sync_crosses_edges_with_uncles():
    sync = Sync()
    sync.follow(20_000, 160_000)
    assert sync.starts() == [StartWorker(EPOCH[0], False), *[StartWorker(epoch, True) for epoch in EPOCH[1:6]]]
    assert [action.epoch for _, action in sync.actions if isinstance(action, EndWorker)] == EPOCH[:5]


@pytest.mark.parametrize("blocks_per_s", [200.0, 600.0, 900.0])
def test_next_epoch_is_started_half_a_minute_ahead_at_the_pace_of_the_sync(blocks_per_s):
    sync = Sync(blocks_per_s=blocks_per_s)
    sync.follow(0, 29_990)
    (at,) = [number for number, action in sync.actions if action == StartWorker(EPOCH[1], True)]
    assert (30_000 - at) / blocks_per_s == pytest.approx(30.0, rel=0.05)


def test_next_epoch_is_started_as_early_as_stragglers_allow_when_headers_fly():
    sync = Sync(blocks_per_s=25_000.0)
    sync.follow(0, 29_990)
    (at,) = [number for number, action in sync.actions if action == StartWorker(EPOCH[1], True)]
    assert STRAGGLER_BLOCKS <= at < STRAGGLER_BLOCKS + 25_000


def test_next_epoch_is_started_a_thousand_blocks_ahead_when_blocks_come_one_by_one():
    sync = Sync(blocks_per_s=CHUNK / 13)
    sync.follow(28_000, 29_990)
    (at,) = [number for number, action in sync.actions if action == StartWorker(EPOCH[1], True)]
    assert AHEAD_BLOCKS - CHUNK <= 30_000 - at <= AHEAD_BLOCKS


def test_burst_of_one_batch_does_not_count_as_a_pace():
    routing = SealRouting(None)
    for number in range(3000, 3512, CHUNK):
        assert StartWorker(EPOCH[1], True) not in routing.on_question(number, 10.0)


@pytest.mark.parametrize(
    ("head", "epochs"),
    [(0, [0]), (40_000, [1]), (60_000 - AHEAD_BLOCKS - 1, [1]), (60_000 - AHEAD_BLOCKS, [1, 2]), (60_000, [2])],
)
def test_worker_of_the_head_and_one_beyond_a_near_edge_are_started_before_any_question(head, epochs):
    routing = SealRouting(None)
    assert routing.prepare(head, 5.0) == [StartWorker(EPOCH[number], True) for number in epochs]
    assert routing.on_question(head, 6.0) == []


def test_last_epoch_that_can_be_judged_has_no_next():
    routing = SealRouting(None)
    routing.on_question((MAX_EPOCH + 1) * 30_000 - 1, 0.0)
    assert [epoch.size_epoch for epoch in routing.held] == [MAX_EPOCH]


def test_old_epoch_stays_for_reorgs_below_the_edge_and_ends_a_rollback_above_it():
    sync = Sync()
    sync.follow(25_000, 30_000)
    for fork_at in (29_300, 29_993):
        sync.follow(fork_at, 30_000 + STRAGGLER_BLOCKS - 10)
    assert sync.starts() == [StartWorker(EPOCH[0], False), StartWorker(EPOCH[1], True)]
    assert sync.routing.held == [EPOCH[0], EPOCH[1]]
    sync.now += UNUSED_S
    sync.ask(30_000 + STRAGGLER_BLOCKS)
    assert sync.routing.held == [EPOCH[1]]


def test_lone_straggler_of_an_old_branch_leaves_present_and_next_epoch_alone():
    sync = Sync()
    sync.follow(85_000, 89_900)
    sync.ask(31_000)
    assert set(sync.routing.held) == {EPOCH[1], EPOCH[2], EPOCH[3]}
    sync.follow(89_900, 91_000)
    assert [action.epoch for action in sync.starts()] == [EPOCH[2], EPOCH[3], EPOCH[1]]


def test_two_imports_far_apart_keep_their_epochs():
    sync = Sync()
    for step in range(100):
        sync.now += 1.0
        sync.ask(10_000 + step)
        sync.ask(190_000 + step)
    assert sync.starts() == [StartWorker(EPOCH[0], False), StartWorker(EPOCH[6], False)]


def test_epochs_are_started_ahead_across_the_switch_to_long_ones():
    sync = Sync(switch=60_000)
    sync.follow(50_000, 130_000)
    assert [(action.epoch.size_epoch, action.epoch.seed_epoch) for action in sync.starts()] == [(1, 1), (1, 2), (2, 4)]


def test_worker_with_open_questions_is_not_ended():
    routing = SealRouting(None)
    routing.on_question(29_999, 0.0)
    for number in (45_000, 105_000, 165_000, 225_000):
        assert EndWorker(EPOCH[0]) not in routing.on_question(number, 100.0)
        routing.on_answer(routing.epoch_of(number), 100.0)
    assert EPOCH[0] in routing.held
    assert EndWorker(EPOCH[0]) in routing.on_answer(EPOCH[0], 200.0)


class RoutingMachine(RuleBasedStateMachine):
    """Against a model that only knows what runs and what is open."""

    def __init__(self) -> None:
        super().__init__()
        self.routing, self.now = SealRouting(240_000), 0.0
        self.running: list[object] = []
        self.open: list[int] = []
        self.rng = random.Random(0)

    def carry_out(self, actions: list[RoutingAction]) -> None:
        for action in actions:
            match action:
                case StartWorker(epoch, _):
                    assert epoch not in self.running
                    self.running.append(epoch)
                case EndWorker(epoch):
                    assert all(number not in epoch.blocks for number in self.open)
                    self.running.remove(epoch)

    @rule(number=st.integers(0, 600_000))
    def ask(self, number: int) -> None:
        self.open.append(number)
        self.carry_out(self.routing.on_question(number, self.now))
        assert self.routing.epoch_of(number) in self.running

    @rule(number=st.integers(0, 600_000))
    def start_there(self, number: int) -> None:
        if not self.running:
            self.carry_out(self.routing.prepare(number, self.now))

    @rule()
    def answer(self) -> None:
        if self.open:
            number = self.open.pop(self.rng.randrange(len(self.open)))
            self.carry_out(self.routing.on_answer(self.routing.epoch_of(number), self.now))

    @rule(seconds=st.floats(0, 20))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def no_more_are_held_than_are_busy_or_of_use(self) -> None:
        assert self.running == self.routing.held or set(self.running) == set(self.routing.held)
        busy = {self.routing.epoch_of(number) for number in self.open}
        assert len(self.running) <= max(MAX_HELD, len(busy))


TestRouting = RoutingMachine.TestCase
TestRouting.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
