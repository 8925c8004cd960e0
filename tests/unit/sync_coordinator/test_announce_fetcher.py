from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.shared.ethwire.types import Announce, Block, BlockHash, Body, PeerId
from services.sync_coordinator.core.announce_fetcher import AnnounceFetcher
from services.sync_coordinator.core.block_queue import BLOCKS_PER_PEER, DISTANCE_ABOVE_HEAD
from services.sync_coordinator.core.fetcher_actions import (
    BlockOutcome,
    DropFetchPeer,
    FetchBodies,
    FetcherAction,
    FetchHeader,
    ImportFetched,
)
from services.sync_coordinator.core.open_announces import ANNOUNCES_PER_PEER
from tests.support.chain_maker import MadeChain, made_chain
from tests.support.peers import ALICE, BOB, CAROL, MALLORY

CHAIN = made_chain(120)
START = 50
"""Our head when a test begins."""


@dataclass
class Follower:
    """A fetcher whose imports succeed, and peers that answer at once."""

    chain: MadeChain = CHAIN
    head: int = START
    outcome: BlockOutcome = BlockOutcome.IMPORTED
    answers_headers: bool = True
    answers_bodies: bool = True
    imports_at_once: bool = True
    now: float = 100.0
    imported: list[int] = field(default_factory=list)
    asked_headers: list[tuple[PeerId, int]] = field(default_factory=list)
    asked_bodies: list[tuple[PeerId, list[int]]] = field(default_factory=list)
    dropped: list[PeerId] = field(default_factory=list)
    importing: list[Block] = field(default_factory=list)
    """Handed to the importer, and not done."""

    def __post_init__(self) -> None:
        self.have = {header.hash for header in self.chain.headers[: self.head + 1]}
        ids = itertools.count(1)
        self.fetcher = AnnounceFetcher(lambda: self.head, self.have.__contains__, lambda: next(ids), random.Random(7))

    def announce(self, peer: PeerId, number: int, claimed: int | None = None) -> None:
        announce = Announce(self.chain.headers[number].hash, number if claimed is None else claimed)
        self.carry_out(self.fetcher.on_announce(peer, announce, self.now))

    def give_block(self, peer: PeerId, number: int) -> None:
        self.carry_out(self.fetcher.on_block(peer, self.chain.block(number), self.now))

    def run(self, seconds: float) -> None:
        """Let time pass, waking the fetcher exactly when it asks to be woken."""
        end = self.now + seconds
        while (due := self.fetcher.next_wakeup()) is not None and due <= end:
            self.now = max(self.now, due)
            self.carry_out(self.fetcher.on_wakeup(self.now))
        self.now = end

    def carry_out(self, actions: list[FetcherAction]) -> None:
        for action in actions:
            match action:
                case FetchHeader(request_id, peer, block_hash):
                    number = self.chain.numbers.get(block_hash, -1)
                    self.asked_headers.append((peer, number))
                    if self.answers_headers and number >= 0:
                        headers = [self.chain.headers[number]]
                        self.carry_out(self.fetcher.on_headers(request_id, headers, self.now))
                case FetchBodies(request_id, peer, hashes):
                    numbers = [self.chain.numbers[block_hash] for block_hash in hashes]
                    self.asked_bodies.append((peer, numbers))
                    if self.answers_bodies:
                        bodies = [self.chain.bodies[number] for number in numbers]
                        self.carry_out(self.fetcher.on_bodies(request_id, bodies, self.now))
                case ImportFetched(block, _):
                    self.importing.append(block)
                    if self.imports_at_once:
                        self.import_next()
                case DropFetchPeer(peer, _):
                    self.dropped.append(peer)

    def import_next(self) -> None:
        header = self.importing.pop(0).header
        outcome = self.outcome
        if outcome is BlockOutcome.IMPORTED and header.parent_hash not in self.have:
            outcome = BlockOutcome.PARENT_UNKNOWN
        if outcome is BlockOutcome.IMPORTED:
            self.imported.append(header.number)
            self.have.add(header.hash)
            self.head = max(self.head, header.number)
        self.carry_out(self.fetcher.on_imported(header.hash, outcome, self.now))


def test_sequential_announcements_are_imported():
    follower = Follower()
    for number in range(START + 1, START + 40):
        follower.announce(ALICE, number)
        follower.run(1.0)
    assert follower.imported == list(range(START + 1, START + 40))


def tally(follower: Follower, source: str) -> list[float]:
    """In, out, dropped, over a limit."""
    return [follower.fetcher.tally.counts[source, fate] for fate in ("in", "out", "dropped", "dos")]


def test_announces_are_counted_by_what_became_of_them():
    follower = Follower()
    follower.announce(ALICE, START + 1)
    follower.announce(BOB, START + 1)
    follower.announce(ALICE, START + 1)
    follower.announce(ALICE, START)
    follower.announce(ALICE, START + DISTANCE_ABOVE_HEAD + 1)
    follower.run(1.0)
    assert tally(follower, "announce") == [5, 1, 3, 0]
    for number in range(ANNOUNCES_PER_PEER + 2):
        unknown = Announce(BlockHash(number.to_bytes(32)), START + 2)
        follower.carry_out(follower.fetcher.on_announce(MALLORY, unknown, follower.now))
    assert tally(follower, "announce") == [5 + ANNOUNCES_PER_PEER + 2, 1, 3, 2]


def test_whole_blocks_are_counted_by_what_became_of_them():
    follower = Follower(imports_at_once=False)
    follower.give_block(ALICE, START + 1)
    follower.give_block(BOB, START + 1)
    follower.give_block(BOB, START + DISTANCE_ABOVE_HEAD + 1)
    assert tally(follower, "broadcast") == [3, 1, 2, 0]
    for branch in range(BLOCKS_PER_PEER + 1):
        block = made_chain(START + 3, branch=branch + 2).block(START + 3)
        follower.carry_out(follower.fetcher.on_block(MALLORY, block, follower.now))
    assert tally(follower, "broadcast") == [3 + BLOCKS_PER_PEER + 1, 1 + BLOCKS_PER_PEER, 2, 1]


def test_requests_that_take_too_long_are_counted_by_kind():
    follower = Follower(answers_headers=False)
    follower.announce(ALICE, START + 1)
    follower.run(10.0)
    follower.answers_headers, follower.answers_bodies = True, False
    follower.announce(ALICE, START + 1)
    follower.run(10.0)
    assert (follower.fetcher.tally.header_timeouts, follower.fetcher.tally.body_timeouts) == (1, 1)


def test_concurrent_announcements_are_imported_once():
    follower = Follower()
    for number in range(START + 1, START + 30):
        for peer in (ALICE, BOB, CAROL):
            follower.announce(peer, number)
        follower.run(1.0)
    assert follower.imported == list(range(START + 1, START + 30))
    assert len(follower.asked_headers) == 29


def test_overlapping_announcements_are_imported():
    follower = Follower()
    for number in range(START + 1, START + 30):
        follower.announce(ALICE, number)
        follower.run(0.13)
    follower.run(5.0)
    assert follower.imported == list(range(START + 1, START + 30))


def test_pending_announcement_is_asked_for_once():
    follower = Follower(answers_headers=False)
    follower.announce(ALICE, START + 1)
    follower.run(0.5)
    for peer in (ALICE, BOB):
        follower.announce(peer, START + 1)
    follower.run(3.0)
    assert follower.asked_headers == [(ALICE, START + 1)]


@pytest.mark.parametrize("seed", range(10))
def test_random_arrival_of_announcements_is_imported_in_order(seed):
    follower = Follower()
    numbers = list(range(START + 1, START + 30))
    random.Random(seed).shuffle(numbers)
    for number in numbers:
        follower.announce(ALICE, number)
        follower.run(0.01)
    follower.run(2.0)
    assert follower.imported == list(range(START + 1, START + 30))


def test_gap_in_the_queue_is_filled_by_a_propagated_block():
    follower = Follower()
    for number in range(START + 2, START + 20):
        follower.announce(ALICE, number)
    follower.run(2.0)
    assert follower.imported == []
    follower.give_block(BOB, START + 1)
    assert follower.imported == list(range(START + 1, START + 20))


def test_block_that_is_propagated_and_announced_is_imported_once():
    follower = Follower()
    follower.announce(ALICE, START + 1)
    follower.give_block(BOB, START + 1)
    follower.give_block(CAROL, START + 1)
    follower.announce(CAROL, START + 1)
    follower.run(2.0)
    assert follower.imported == [START + 1]
    assert follower.asked_headers == []
    assert follower.fetcher.next_wakeup() is None


@pytest.mark.parametrize(
    ("number", "is_taken"), [(START - 8, False), (START - 7, True), (START + 32, True), (START + 33, False)]
)
def test_distant_announcements_and_blocks_are_discarded(number, is_taken):
    follower = Follower()
    follower.have.discard(CHAIN.headers[number].hash)
    follower.announce(ALICE, number)
    assert (follower.fetcher.next_wakeup() is not None) is is_taken
    follower = Follower()
    follower.have.discard(CHAIN.headers[number].hash)
    follower.give_block(ALICE, number)
    assert follower.fetcher.blocks.refused == (0 if is_taken else 1)


def test_announced_number_that_is_not_the_headers_drops_the_peer():
    follower = Follower()
    follower.announce(MALLORY, START + 1, claimed=START + 2)
    follower.run(1.0)
    assert follower.dropped == [MALLORY]
    assert follower.imported == []


def test_header_with_an_empty_body_completes_without_a_body_request():
    follower = Follower()
    empty = next(n for n in range(START + 1, START + 20) if CHAIN.bodies[n].body_rlp == b"\xc2\xc0\xc0")
    follower.head = empty - 1
    follower.have.add(CHAIN.headers[empty - 1].hash)
    follower.announce(ALICE, empty)
    follower.run(1.0)
    assert follower.imported == [empty]
    assert follower.asked_bodies == []


def test_headers_are_asked_after_the_arrive_timeout_and_gathered_with_younger_ones():
    follower = Follower(answers_headers=False)
    follower.announce(ALICE, START + 1)
    follower.run(0.09)
    follower.announce(ALICE, START + 2)
    follower.run(0.06)
    follower.announce(ALICE, START + 3)
    follower.run(0.34)
    assert follower.asked_headers == []
    follower.run(0.01)
    assert [number for _, number in follower.asked_headers] == [START + 1, START + 2]
    follower.run(0.15)
    assert [number for _, number in follower.asked_headers] == [START + 1, START + 2, START + 3]


def test_bodies_are_gathered_for_a_tenth_of_a_second():
    follower = Follower()
    for number in (START + 1, START + 2, START + 3):
        follower.announce(ALICE, number)
    follower.run(0.59)
    assert follower.asked_bodies == []
    follower.run(0.02)
    assert follower.asked_bodies == [(ALICE, [START + 1, START + 2, START + 3])]


def test_unanswered_request_is_forgotten_after_five_seconds_without_penalty():
    follower = Follower(answers_headers=False)
    follower.announce(ALICE, START + 1)
    follower.run(5.4)
    follower.announce(BOB, START + 1)
    assert follower.fetcher.next_wakeup() == pytest.approx(105.5)
    follower.run(0.2)
    follower.answers_headers = True
    follower.announce(BOB, START + 1)
    follower.run(1.0)
    assert follower.imported == [START + 1]
    assert follower.dropped == []


def test_late_and_foreign_replies_are_ignored():
    follower = Follower(answers_headers=False)
    follower.announce(ALICE, START + 1)
    follower.run(0.5)
    assert follower.fetcher.on_headers(999, [CHAIN.headers[START + 1]], follower.now) == []
    assert follower.fetcher.on_bodies(999, [CHAIN.bodies[START + 1]], follower.now) == []
    follower.run(6.0)
    assert follower.fetcher.on_headers(1, [CHAIN.headers[START + 1]], follower.now) == []
    assert follower.imported == []


def test_body_that_matches_no_asked_header_is_not_imported():
    follower = Follower(answers_bodies=False)
    follower.announce(MALLORY, START + 1)
    follower.run(1.0)
    request_id = 2
    other = Body(b"\xc2\xc0\xc0", b"t" * 32, b"u" * 32)
    follower.carry_out(follower.fetcher.on_bodies(request_id, [other], follower.now))
    assert follower.imported == []
    assert follower.fetcher.next_wakeup() is None


def test_one_peer_cannot_open_more_announces_than_its_limit():
    follower = Follower()
    for at in range(2 * ANNOUNCES_PER_PEER):
        announce = Announce(BlockHash(at.to_bytes(32)), START + 1)
        follower.carry_out(follower.fetcher.on_announce(MALLORY, announce, follower.now))
    assert follower.fetcher.refused_announces == ANNOUNCES_PER_PEER
    follower.announce(ALICE, START + 1)
    follower.run(1.0)
    assert START + 1 in follower.imported


def test_one_peer_cannot_queue_more_blocks_than_its_limit():
    follower = Follower()
    for branch in range(2, 2 + BLOCKS_PER_PEER + 10):
        side = CHAIN.shortened(START + 1).extended(1, branch=branch)
        follower.carry_out(follower.fetcher.on_block(MALLORY, side.block(START + 2), follower.now))
    assert follower.fetcher.blocks.refused == 10
    follower.give_block(ALICE, START + 2)
    follower.give_block(BOB, START + 1)
    assert follower.imported.count(START + 2) == BLOCKS_PER_PEER + 1


def test_announce_outlives_the_block_of_a_peer_over_its_limit():
    follower = Follower()
    for branch in range(2, 2 + BLOCKS_PER_PEER):
        side = CHAIN.shortened(START + 1).extended(1, branch=branch)
        follower.carry_out(follower.fetcher.on_block(MALLORY, side.block(START + 2), follower.now))
    follower.announce(ALICE, START + 1)
    follower.give_block(MALLORY, START + 1)
    assert START + 1 not in follower.imported
    follower.run(1.0)
    assert START + 1 in follower.imported


def test_invalid_block_drops_its_peer():
    follower = Follower(outcome=BlockOutcome.INVALID)
    follower.give_block(MALLORY, START + 1)
    assert follower.dropped == [MALLORY]


@pytest.mark.parametrize("outcome", [BlockOutcome.PARENT_UNKNOWN, BlockOutcome.REFUSED])
def test_block_that_cannot_be_placed_is_forgotten_without_blame(outcome):
    follower = Follower(outcome=outcome)
    follower.give_block(ALICE, START + 1)
    assert follower.dropped == []
    assert follower.fetcher.next_wakeup() is None
    follower.outcome = BlockOutcome.IMPORTED
    follower.give_block(ALICE, START + 1)
    assert follower.imported == [START + 1]


def test_block_from_the_near_future_is_tried_again_every_five_seconds():
    follower = Follower(outcome=BlockOutcome.IN_NEAR_FUTURE)
    follower.give_block(ALICE, START + 1)
    follower.run(9.9)
    follower.outcome = BlockOutcome.IMPORTED
    assert follower.imported == []
    follower.run(0.2)
    assert follower.imported == [START + 1]
    assert follower.dropped == []


def test_announcer_that_left_is_not_asked():
    follower = Follower()
    follower.announce(ALICE, START + 1)
    follower.announce(BOB, START + 1)
    follower.fetcher.on_peer_left(ALICE)
    follower.run(1.0)
    assert follower.asked_headers == [(BOB, START + 1)]
    follower.announce(ALICE, START + 3)
    follower.fetcher.on_peer_left(ALICE)
    follower.fetcher.on_peer_left(BOB)
    assert follower.fetcher.next_wakeup() is None


SIDE_BLOCKS = [
    CHAIN.shortened(START + 30).extended(1, branch=branch).block(START + 31)
    for branch in range(2, 2 + 2 * BLOCKS_PER_PEER)
]
"""Blocks of Mallory's that wait for their parent."""

NUMBERS = st.one_of(st.integers(START + 1, START + 3), st.integers(START - 9, START + 40))
"""Mostly those whose turn it is, so that a block comes again while it is being imported."""


class FetcherMachine(RuleBasedStateMachine):
    """Any order of announces, blocks, answers, losses, floods and time: stages stay apart, nothing is imported twice,
    nobody gets beyond a limit, and what was heard can still be had in the end."""

    def __init__(self) -> None:
        super().__init__()
        self.follower = Follower()
        self.made_up = 0

    @rule(number=NUMBERS, peer=st.sampled_from([ALICE, BOB, MALLORY]))
    def announce(self, number, peer):
        self.follower.announce(peer, number)

    @rule(number=NUMBERS, peer=st.sampled_from([ALICE, BOB]))
    def block(self, number, peer):
        self.follower.give_block(peer, number)

    @rule(count=st.integers(1, ANNOUNCES_PER_PEER), number=st.integers(START - 7, START + 32))
    def announces_flood(self, count, number):
        for _ in range(count):
            self.made_up += 1
            announce = Announce(BlockHash(self.made_up.to_bytes(32)), number)
            self.follower.carry_out(self.follower.fetcher.on_announce(MALLORY, announce, self.follower.now))

    @rule(count=st.integers(1, 2 * BLOCKS_PER_PEER))
    def blocks_flood(self, count):
        for block in SIDE_BLOCKS[:count]:
            self.follower.carry_out(self.follower.fetcher.on_block(MALLORY, block, self.follower.now))

    @rule(at_once=st.booleans())
    def importer_changes_its_pace(self, at_once):
        self.follower.imports_at_once = at_once

    @precondition(lambda self: self.follower.importing)
    @rule()
    def import_ends(self):
        self.follower.import_next()

    @rule(answers=st.booleans())
    def peers_answer_headers(self, answers):
        self.follower.answers_headers = answers

    @rule(answers=st.booleans())
    def peers_answer_bodies(self, answers):
        self.follower.answers_bodies = answers

    @rule(request_id=st.integers(1, 30))
    def request_is_lost(self, request_id):
        self.follower.fetcher.on_request_lost(request_id)

    @rule(peer=st.sampled_from([ALICE, BOB, MALLORY]))
    def peer_leaves(self, peer):
        self.follower.fetcher.on_peer_left(peer)

    @rule(seconds=st.floats(0, 7))
    def time_passes(self, seconds):
        self.follower.run(seconds)

    @invariant()
    def a_hash_is_in_one_stage(self):
        fetcher = self.follower.fetcher
        hashes = [*fetcher._announced, *fetcher._fetching, *fetcher._fetched, *fetcher._completing]
        assert len(hashes) == len(set(hashes))

    @invariant()
    def no_block_is_imported_twice(self):
        assert len(self.follower.imported) == len(set(self.follower.imported))

    @invariant()
    def no_block_is_with_the_importer_twice(self):
        hashes = [block.header.hash for block in self.follower.importing]
        assert len(hashes) == len(set(hashes))

    @invariant()
    def nobody_is_beyond_a_limit(self):
        fetcher = self.follower.fetcher
        assert all(len(hashes) <= ANNOUNCES_PER_PEER for hashes in fetcher._open_announces._of.values())
        assert all(count <= BLOCKS_PER_PEER for count in fetcher.blocks.open_blocks.values())
        head = self.follower.head
        assert all(number <= head + DISTANCE_ABOVE_HEAD for number, _, _, _ in fetcher.blocks._queue)

    @invariant()
    def timer_is_due_while_anything_waits_for_time(self):
        fetcher = self.follower.fetcher
        waits = fetcher._announced or fetcher._fetching or fetcher._fetched or fetcher._completing
        assert (fetcher.next_wakeup() is not None) is bool(waits)

    def teardown(self):
        """Once peers answer again nothing stays open, and all blocks up to one that is announced are imported."""
        follower = self.follower
        follower.answers_headers = follower.answers_bodies = follower.imports_at_once = True
        while follower.importing:
            follower.import_next()
        follower.run(20.0)
        assert follower.fetcher.next_wakeup() is None
        assert not follower.fetcher._open_announces._of
        last = follower.head + 20
        for number in range(follower.head + 1, last + 1):
            follower.announce(CAROL, number)
        follower.run(20.0)
        assert follower.head >= last
        assert follower.fetcher.next_wakeup() is None

    @invariant()
    def counts_are_those_of_what_is_open(self):
        fetcher = self.follower.fetcher
        queued = [peer for _, _, _, peer in fetcher.blocks._queue]
        assert fetcher.blocks.open_blocks == {peer: queued.count(peer) for peer in set(queued)}
        open_announces = [(peer, key) for key, entry in fetcher._announced.items() for peer in entry.announcers]
        for stage in (fetcher._fetching, fetcher._fetched, fetcher._completing):
            open_announces += [(asked.peer, key) for key, asked in stage.items()]
        counted = [(peer, key) for peer, hashes in fetcher._open_announces._of.items() for key in hashes]
        assert sorted(counted) == sorted(open_announces)
        assert all(fetcher._open_announces._of.values())

    @invariant()
    def stages_are_in_the_order_of_their_times(self):
        fetcher = self.follower.fetcher
        for stage in (fetcher._announced, fetcher._fetching, fetcher._fetched, fetcher._completing):
            times = [entry.since for entry in stage.values()]
            assert times == sorted(times)


FetcherMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestFetcherMachine = FetcherMachine.TestCase
