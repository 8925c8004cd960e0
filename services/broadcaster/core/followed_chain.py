"""The coordinator's chain as far as the broadcaster has heard."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from services.broadcaster.core.fork_blocks import ForkBlocks
from services.broadcaster.core.transaction_check import PoolRules
from services.shared.ethwire.types import BlockHash


@dataclass(frozen=True, slots=True)
class Head:
    """A block with the total difficulty of the chain that ends in it."""

    block_hash: BlockHash
    number: int
    total_difficulty: int


@dataclass(frozen=True, slots=True)
class ChainSnapshot:
    """What a stream of the chain starts with."""

    network_id: int
    genesis_hash: BlockHash
    head: Head
    accepts_transactions: bool
    gas_limit: int = 0
    """Of the head."""
    forks: ForkBlocks = field(default_factory=ForkBlocks)


class BlockBody(NamedTuple):
    """A block's transactions and uncles."""

    number: int
    block_hash: BlockHash
    body_rlp: bytes


class BlockChange(NamedTuple):
    """Blocks that left the chain, newest first, and blocks that joined it, oldest first."""

    undone: Sequence[BlockBody]
    applied: Sequence[BlockBody]
    skipped: bool
    """There were more, of which nothing is told."""


class SnapshotNews(enum.Enum):
    """What a snapshot tells beside the head."""

    FIRST = "first"
    SAME_CHAIN = "same chain"
    OTHER_CHAIN = "other chain"


class FollowedChain:
    """Network, head, and whether transactions are accepted; kept while the coordinator is away.

    Every stream starts with a snapshot, and only then moves. A move out of order is refused with ValueError.
    """

    def __init__(self) -> None:
        self._state: ChainSnapshot | None = None
        self._following = False

    @property
    def head(self) -> Head | None:
        return self._state.head if self._state else None

    def pool_rules(self, price_floor: int) -> PoolRules | None:
        """What holds for transactions of the next block; None before the first snapshot."""
        state = self._state
        return None if state is None else state.forks.rules_above(state.head.number, state.gas_limit, price_floor)

    @property
    def accepts_transactions(self) -> bool:
        """Nothing is accepted before the coordinator says so: before its first sync is done."""
        return self._state is not None and self._state.accepts_transactions

    @property
    def following(self) -> bool:
        """Whether a stream is up and its snapshot has come."""
        return self._following

    def on_snapshot(self, snapshot: ChainSnapshot) -> SnapshotNews:
        before, self._state, self._following = self._state, snapshot, True
        if before is None:
            return SnapshotNews.FIRST
        same = (before.network_id, before.genesis_hash) == (snapshot.network_id, snapshot.genesis_hash)
        return SnapshotNews.SAME_CHAIN if same else SnapshotNews.OTHER_CHAIN

    def on_moved(self, head: Head, *, accepts_transactions: bool, gas_limit: int = 0) -> None:
        if self._state is None or not self._following:
            raise ValueError("the head moved before the stream's snapshot")
        self._state = replace(self._state, head=head, accepts_transactions=accepts_transactions, gas_limit=gas_limit)

    def on_stream_ended(self) -> None:
        self._following = False
