"""A reader of the block feed: the chain it has after the steps it took."""

from __future__ import annotations

from collections.abc import Sequence

from services.shared.ethwire.types import BlockHash
from services.sync_coordinator.core.block_feed import Apply, FeedHeader, Position, Step, position_after, steps_from
from services.sync_coordinator.core.feed_cursor import Cursor, Place, decode_cursor, encode_cursor
from tests.support.chain_maker import made_genesis
from tests.support.memory_chain import MemoryChain

GENESIS_HASH = made_genesis().head.hash


class MemoryFeed:
    """The reads of the feed on a chain in memory."""

    def __init__(self, chain: MemoryChain, ceiling: int | None = None) -> None:
        self.chain, self.ceiling = chain, ceiling

    def canonical_hash(self, number: int) -> BlockHash | None:
        return self.chain.canonical_hash(number)

    def parent_hash(self, block_hash: BlockHash) -> BlockHash | None:
        header = self.chain.header(block_hash)
        return None if header is None else header.parent_hash

    def shown_headers(self, start: int, amount: int) -> Sequence[FeedHeader]:
        last = start + amount if self.ceiling is None else min(start + amount, self.ceiling + 1)
        hashes = [self.chain.canonical_hash(number) for number in range(start, last)]
        headers = [self.chain.header(block_hash) for block_hash in hashes if block_hash is not None]
        return [
            FeedHeader(Place(header.number, header.hash), header.parent_hash, header.header_rlp)
            for header in headers
            if header is not None
        ]


class FeedReader:
    """Takes steps that must fit what it has; keeps its chain and the last cursor, as a database would."""

    def __init__(self, first_wanted: int = 0) -> None:
        self.first_wanted = first_wanted
        self.blocks: list[Place] = []
        self.cursor: str | None = None
        self.undone = 0

    def take(self, step: Step) -> None:
        if isinstance(step, Apply):
            block, parent_hash, _ = step.header
            assert block.number == self.first_wanted + len(self.blocks), "a number is left out or repeated"
            assert not self.blocks or parent_hash == self.blocks[-1].hash, "not the child of the newest"
            self.blocks.append(block)
        else:
            assert self.blocks.pop() == step.block, "not the newest is undone"
            assert not self.blocks or step.parent_hash == self.blocks[-1].hash
            self.undone += 1
        self.cursor = encode_cursor(step.cursor, GENESIS_HASH)

    def position(self, feed: MemoryFeed) -> Position:
        """As after a restart: from the stored cursor alone."""
        return Position(self.first_wanted, None) if self.cursor is None else position_after(feed, self.last_step)

    @property
    def last_step(self) -> Cursor:
        assert self.cursor is not None
        return decode_cursor(self.cursor, GENESIS_HASH)

    def read(self, feed: MemoryFeed, most: int | None = None) -> list[Step]:
        """Take at most so many steps from where it stands."""
        taken: list[Step] = []
        for step in steps_from(feed, self.position(feed)):
            if most is not None and len(taken) == most:
                break
            self.take(step)
            taken.append(step)
        return taken

    def has_all_of(self, chain: MemoryChain) -> bool:
        head = chain.heads().header.number
        canonical = [chain.canonical_hash(number) for number in range(self.first_wanted, head + 1)]
        return [block.hash for block in self.blocks] == canonical
