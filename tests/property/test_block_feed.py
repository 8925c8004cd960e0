"""However the chain moves and wherever a reader stops, it ends with the canonical chain, without loss or repetition."""

from __future__ import annotations

import random
from collections.abc import Iterator

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.sync_coordinator.core.block_feed import Position, Step, position_after, steps_from
from services.sync_coordinator.core.feed_cursor import Place, decode_cursor
from tests.support.chain_maker import MadeChain, made_genesis
from tests.support.feed_reader import GENESIS_HASH, FeedReader, MemoryFeed
from tests.support.memory_chain import MemoryChain


class FeedMachine(RuleBasedStateMachine):
    """A chain that grows and reorgs under a reader, which stops and resumes, and under steps that are half read."""

    @initialize(first_wanted=st.integers(0, 6))
    def start(self, first_wanted: int) -> None:
        self.chain = MemoryChain()
        self.feed = MemoryFeed(self.chain)
        self.known = made_genesis()
        self.branches = 0
        self.reader = FeedReader(first_wanted)
        self.saved: list[tuple[str, list[Place]]] = []
        self.open: Iterator[Step] = iter(())

    @rule(keep=st.integers(0, 60), count=st.integers(1, 50), difficulty=st.sampled_from([500, 1000, 3000]))
    def grow_or_fork(self, keep: int, count: int, difficulty: int) -> None:
        """A branch off the last one made, `keep` blocks from its end; whether it wins is the fork choice's matter."""
        self.branches += 1
        fork = max(0, self.known.head.number - keep)
        made: MadeChain = self.known.shortened(fork).extended(count, branch=self.branches, difficulty=difficulty)
        self.known = made
        self.chain.fill(made)

    @rule(most=st.integers(1, 80))
    def read_some(self, most: int) -> None:
        """A new stream from the last cursor."""
        self.open = iter(())
        self.reader.read(self.feed, most)
        self.save()

    @rule()
    def open_stream(self) -> None:
        self.open = steps_from(self.feed, self.reader.position(self.feed))

    @rule(most=st.integers(1, 20))
    def go_on_with_the_stream(self, most: int) -> None:
        """The chain may have moved since the stream's last read."""
        for _, step in zip(range(most), self.open, strict=False):
            self.reader.take(step)
        self.save()

    @rule()
    def read_to_the_end(self) -> None:
        self.open = iter(())
        self.reader.read(self.feed)
        assert self.reader.has_all_of(self.chain)
        assert self.reader.read(self.feed) == []

    @rule(seed=st.integers(0, 1000))
    def go_back_to_a_former_state(self, seed: int) -> None:
        """A reader whose database was put back to an older state, cursor and blocks together."""
        if self.saved:
            cursor, blocks = random.Random(seed).choice(self.saved)
            again = FeedReader(self.reader.first_wanted)
            again.cursor, again.blocks = cursor, list(blocks)
            again.read(self.feed)
            assert again.has_all_of(self.chain)

    def save(self) -> None:
        if self.reader.cursor is not None:
            self.saved.append((self.reader.cursor, list(self.reader.blocks)))

    @invariant()
    def the_cursor_tells_what_the_reader_has(self) -> None:
        if not hasattr(self, "reader") or self.reader.cursor is None:
            return
        position = position_after(self.feed, decode_cursor(self.reader.cursor, GENESIS_HASH))
        newest = self.reader.blocks[-1] if self.reader.blocks else None
        assert position == Position(self.reader.first_wanted, newest)


TestFeed = FeedMachine.TestCase
TestFeed.settings = settings(max_examples=120, stateful_step_count=30, deadline=None)
