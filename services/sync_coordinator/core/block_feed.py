"""From where a reader of the feed stands to the steps that bring it to the end of the canonical chain.

The chain may change between any two reads: every step is checked against the one before it, so that what a
reader has is at every moment one linked chain, and the canonical one when the steps end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from services.shared.ethwire.types import BlockHash
from services.sync_coordinator.core.feed_cursor import Cursor, Direction, Place

HEADERS_PER_READ: Final = 32
"""Read at once: under half a millisecond, and little is thrown away where bodies fill a batch."""

MAX_MISSES: Final = 16
"""Reads in a row in which a child does not fit its parent: one for a reorg between them, endless in a damaged store."""


class FeedHeader(NamedTuple):
    """What the feed reads of a canonical block."""

    block: Place
    parent_hash: BlockHash
    header_rlp: bytes


class FeedChain(Protocol):
    """The reads of the walk. Each sees some commit, not all the same one."""

    def canonical_hash(self, number: int) -> BlockHash | None: ...

    def parent_hash(self, block_hash: BlockHash) -> BlockHash | None:
        """Of a stored block, canonical or not; None when it is not stored."""
        ...

    def shown_headers(self, start: int, amount: int) -> Sequence[FeedHeader]:
        """At most `amount` canonical blocks from number `start` on, as far as they may be sent."""
        ...


class Position(NamedTuple):
    """Where a reader stands: the newest block it has; None before the first."""

    first_wanted: int
    newest: Place | None


class Apply(NamedTuple):
    """Add this block: it is the child of the newest, or the first one wanted."""

    header: FeedHeader
    after: Position

    @property
    def cursor(self) -> Cursor:
        return Cursor(Direction.APPLY, self.header.block, self.after.first_wanted)


class Undo(NamedTuple):
    """Take the newest block away."""

    block: Place
    parent_hash: BlockHash
    after: Position

    @property
    def cursor(self) -> Cursor:
        return Cursor(Direction.UNDO, self.block, self.after.first_wanted)


Step = Apply | Undo


class BlockForgotten(Exception):
    """A block that the reader has is not stored, so nothing can be said of its ancestors."""

    def __init__(self, block: Place) -> None:
        super().__init__(
            f"block {block.number} 0x{block.hash.hex()} of the cursor is not stored here: the node has not come so far "
            "yet, or never had that branch; try again when it is further, or start from a number"
        )
        self.block = block


class ChainBroken(Exception):
    """Canonical blocks that are not each other's children: the store is damaged."""


def position_after(chain: FeedChain, cursor: Cursor) -> Position:
    """Where the reader of a cursor stands. Raises BlockForgotten."""
    parent_hash = chain.parent_hash(cursor.block.hash)
    if parent_hash is None:
        raise BlockForgotten(cursor.block)
    at = Position(cursor.first_wanted, cursor.block)
    return at if cursor.direction is Direction.APPLY else _below(at, cursor.block, parent_hash)


def steps_from(chain: FeedChain, position: Position) -> Iterator[Step]:
    """The steps from `position` to the end of the chain; what is not taken is not read. Raises BlockForgotten."""
    at, misses = position, 0
    while True:
        newest = at.newest
        if newest is not None and chain.canonical_hash(newest.number) != newest.hash:
            undo = _undo(chain, at, newest)
            yield undo
            at, misses = undo.after, 0
            continue
        headers = chain.shown_headers(at.first_wanted if newest is None else newest.number + 1, HEADERS_PER_READ)
        if not headers:
            return
        before = at
        for header in headers:
            if at.newest is not None and header.parent_hash != at.newest.hash:
                break
            apply = Apply(header, Position(at.first_wanted, header.block))
            yield apply
            at = apply.after
        misses = misses + 1 if at is before else 0
        if misses > MAX_MISSES:
            raise ChainBroken(f"canonical block {headers[0].block.number} is not the child of the one before it")


def _undo(chain: FeedChain, at: Position, newest: Place) -> Undo:
    parent_hash = chain.parent_hash(newest.hash)
    if parent_hash is None:
        raise BlockForgotten(newest)
    return Undo(newest, parent_hash, _below(at, newest, parent_hash))


def _below(at: Position, block: Place, parent_hash: BlockHash) -> Position:
    """The reader's place without `block`; below the first number wanted there is nothing."""
    parent = Place(block.number - 1, parent_hash) if block.number > at.first_wanted else None
    return Position(at.first_wanted, parent)
