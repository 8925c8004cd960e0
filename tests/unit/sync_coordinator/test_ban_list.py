from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.shared.ethwire.types import PeerId
from services.sync_coordinator.core.ban_list import BanList
from tests.support.peers import ALICE, BOB, CAROL, MALLORY

LIMIT = 4


def test_a_ban_lasts_until_its_end_and_no_longer():
    bans = BanList()
    bans.ban(MALLORY, 60.0, now=100.0)
    assert bans.left_s(MALLORY, 100.0) == 60.0
    assert bans.left_s(MALLORY, 159.5) == 0.5
    assert bans.left_s(MALLORY, 160.0) == 0
    assert bans.left_s(ALICE, 100.0) == 0
    assert (bans.count(159.5), bans.count(160.0)) == (1, 0)


def test_a_shorter_ban_does_not_end_a_longer_one():
    bans = BanList()
    bans.ban(MALLORY, 3600.0, now=0.0)
    bans.ban(MALLORY, 60.0, now=10.0)
    assert bans.left_s(MALLORY, 10.0) == 3590.0
    bans.ban(MALLORY, 3600.0, now=20.0)
    assert bans.left_s(MALLORY, 20.0) == 3600.0


def test_a_ban_of_no_time_is_none():
    bans = BanList()
    bans.ban(ALICE, 0.0, now=5.0)
    assert bans.count(5.0) == 0


def test_a_lifted_ban_is_over_and_can_be_had_again():
    bans = BanList()
    bans.ban(MALLORY, 60.0, now=0.0)
    assert bans.lift(MALLORY)
    assert not bans.lift(MALLORY)
    assert (bans.left_s(MALLORY, 1.0), bans.count(1.0)) == (0, 0)
    bans.ban(MALLORY, 10.0, now=1.0)
    assert bans.left_s(MALLORY, 1.0) == 10.0
    assert bans.left_s(MALLORY, 11.0) == 0


def test_of_too_many_the_soonest_to_end_goes_first():
    bans = BanList(limit=2)
    bans.ban(ALICE, 600.0, now=0.0)
    bans.ban(BOB, 3600.0, now=0.0)
    bans.ban(CAROL, 60.0, now=0.0)
    assert [bans.left_s(node_id, 0.0) for node_id in (ALICE, BOB, CAROL)] == [600.0, 3600.0, 0]
    bans.ban(MALLORY, 3600.0, now=1.0)
    assert [bans.left_s(node_id, 1.0) for node_id in (ALICE, BOB, MALLORY)] == [0, 3599.0, 3600.0]


def test_a_flood_of_offenders_and_of_repeats_keeps_the_list_small():
    bans = BanList(limit=100)
    for index in range(20_000):
        bans.ban(PeerId(index.to_bytes(64)), 600.0, now=index * 0.001)
        bans.ban(MALLORY, 600.0, now=index * 0.001)
    assert bans.count(20.0) == 100
    assert len(bans._by_end) <= 64 + 4 * 100


class Banning(RuleBasedStateMachine):
    """Against a plain dict, as long as that is not over the limit."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.bans = BanList(LIMIT)
        self.ends: dict[PeerId, float] = {}

    @rule(node=st.integers(0, LIMIT - 1), ban_s=st.integers(0, 50))
    def ban(self, node: int, ban_s: int) -> None:
        node_id = PeerId(bytes([node]) * 64)
        self.bans.ban(node_id, ban_s, self.now)
        self.ends[node_id] = max(self.ends.get(node_id, 0.0), self.now + ban_s)

    @rule(node=st.integers(0, LIMIT - 1))
    def lift(self, node: int) -> None:
        node_id = PeerId(bytes([node]) * 64)
        self.bans.lift(node_id)
        self.ends.pop(node_id, None)

    @rule(seconds=st.integers(0, 40))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @invariant()
    def it_knows_what_the_dict_knows(self) -> None:
        running = {node_id: end - self.now for node_id, end in self.ends.items() if end > self.now}
        assert {node_id: self.bans.left_s(node_id, self.now) for node_id in running} == running
        assert self.bans.count(self.now) == len(running)
        assert len(self.bans._by_end) <= 64 + 4 * LIMIT


class Flooding(RuleBasedStateMachine):
    """Any number of nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.bans = BanList(LIMIT)

    @rule(node=st.integers(0, 3 * LIMIT), ban_s=st.integers(1, 50))
    def ban(self, node: int, ban_s: int) -> None:
        self.bans.ban(PeerId(bytes([node]) * 64), ban_s, self.now)

    @rule(seconds=st.integers(0, 40))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @invariant()
    def it_is_never_over_its_limit(self) -> None:
        assert self.bans.count(self.now) <= LIMIT


TestBanning = Banning.TestCase
TestFlooding = Flooding.TestCase
