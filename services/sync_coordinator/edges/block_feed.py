"""Streams the canonical chain to any number of readers, each at its own pace.

Nothing is kept for a reader but its place: each batch is read from the store when the one before is gone.
All reading is done in one thread, a batch at a time in turns, so that many readers take no more from a
sync than one does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from blocksync.v1 import common_pb2, coordinator_pb2

from services.shared.ethwire.bodies import EMPTY_RECEIPTS_RLP
from services.shared.ethwire.hashing import EMPTY_TRIE_ROOT, keccak256
from services.shared.ethwire.headers import decode_header, place_of
from services.shared.ethwire.types import BlockHash
from services.shared.rpc.convert import big_to_bytes
from services.shared.rpc.errors import InvalidRequest, LimitReached, StoreDamaged, UnknownBlock
from services.sync_coordinator.core.block_feed import (
    Apply,
    BlockForgotten,
    ChainBroken,
    FeedHeader,
    Position,
    Step,
    position_after,
    steps_from,
)
from services.sync_coordinator.core.feed_cursor import CursorInvalid, Place, decode_cursor, encode_cursor
from services.sync_coordinator.edges.change_signal import ChangeSignal
from services.sync_coordinator.metrics import CoordinatorMetrics
from services.sync_coordinator.store.chain_store import ChainStore

R = TypeVar("R")

MAX_STREAMS: Final = 32
"""Open at once. Each costs a batch and what gRPC holds of one on its way: some 2 MiB."""

BATCH_BYTES: Final = 512 * 1024
"""A batch ends with the block that reaches this: encoding it holds the event loop for well under a millisecond."""

BATCH_STEPS: Final = 256
BATCH_S: Final = 0.05
"""A batch from a slow disk ends early, so that other readers get their turn."""

MAX_NUMBER: Final = 2**64 - 1


class FeedOrder(NamedTuple):
    """What a reader asked for; `start` is a number or the text of a cursor."""

    start: int | str
    follow: bool
    include_bodies: bool
    include_receipts: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedParts:
    """What the feed reads, and what tells it that there is more."""

    store: ChainStore
    genesis: BlockHash
    is_light: bool
    reader: Executor
    """One thread. Caller's duty: it is shut down before the store is closed."""
    changes: ChangeSignal
    revocable: Callable[[], int]
    """So many of the newest headers a running sync may yet take back: they are not sent."""
    metrics: CoordinatorMetrics


class _State(NamedTuple):
    """What the end of the feed follows from."""

    header_head: BlockHash
    full_block_head: BlockHash
    revocable: int


class _Batch(NamedTuple):
    """Steps that were read together, and where a reader stands after them."""

    message: coordinator_pb2.StreamBlocksResponse
    size_bytes: int
    undone: int
    after: Position


class BlockFeed:
    """The feed of one node. Everything but the reading runs on the event loop."""

    def __init__(self, parts: FeedParts) -> None:
        self._parts = parts
        self._open = 0

    def take_place(self) -> None:
        """Caller's duty: `leave_place` when the stream has ended, however it ends. Raises LimitReached."""
        if self._open >= MAX_STREAMS:
            self._parts.metrics.feed_refused.inc()
            raise LimitReached(
                f"{self._open} streams of blocks are open, {MAX_STREAMS} may be; end one, or try again later",
                value=str(self._open),
                rule=f"at most {MAX_STREAMS}",
                reason="TOO_MANY_STREAMS",
            )
        self._open += 1
        self._parts.metrics.feed_streams.set(self._open)

    def leave_place(self) -> None:
        self._open -= 1
        self._parts.metrics.feed_streams.set(self._open)

    async def stream(self, order: FeedOrder) -> AsyncIterator[coordinator_pb2.StreamBlocksResponse]:
        """Batches until the end of the chain, or for ever. Raises RpcErrors."""
        self._check_contents(order)
        try:
            position = await self._in_thread(self._start, order)
            async for batch in self._batches(position, order):
                self._count(batch)
                yield batch.message
        except BlockForgotten as fault:
            raise UnknownBlock(str(fault)) from fault
        except ChainBroken as fault:
            raise StoreDamaged(f"the store is damaged: {fault}; `trisync verify` tells more") from fault

    async def _batches(self, position: Position, order: FeedOrder) -> AsyncIterator[_Batch]:
        with self._parts.changes.reader() as changed:
            while True:
                seen = self._state()
                batch = await self._in_thread(self._read, position, order, self._ceiling())
                if batch.after != position:
                    # A sync that has begun meanwhile may take back what was settled before.
                    if self._state().revocable <= seen.revocable:
                        position = batch.after
                        yield batch
                    continue
                if not order.follow:
                    return
                while self._state() == seen:
                    await changed.wait()
                    changed.clear()

    def _check_contents(self, order: FeedOrder) -> None:
        wanted = {"include_bodies": order.include_bodies, "include_receipts": order.include_receipts}
        for name, is_wanted in wanted.items():
            if is_wanted and self._parts.is_light:
                raise InvalidRequest(
                    f"{name} is refused: this node runs in light mode, which stores headers only; "
                    "leave it out, or ask a node in full mode",
                    field=name,
                    reason="LIGHT_MODE",
                )

    def _state(self) -> _State:
        heads = self._parts.store.heads()
        return _State(heads.header.hash, heads.full_block.hash, self._parts.revocable())

    def _ceiling(self) -> int:
        """The highest number that may be sent."""
        revocable = self._parts.revocable()
        return self._parts.store.heads().header.number - revocable if revocable else MAX_NUMBER

    async def _in_thread(self, read: Callable[..., R], *arguments: object) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._parts.reader, read, *arguments)

    def _count(self, batch: _Batch) -> None:
        metrics, steps = self._parts.metrics, len(batch.message.steps)
        metrics.feed_steps.labels("undo").inc(batch.undone)
        metrics.feed_steps.labels("apply").inc(steps - batch.undone)
        metrics.feed_bytes.inc(batch.size_bytes)

    # In the thread

    def _start(self, order: FeedOrder) -> Position:
        chain = ShownChain(self._parts.store, MAX_NUMBER, has_bodies=not self._parts.is_light)
        if isinstance(order.start, str):
            try:
                return position_after(chain, decode_cursor(order.start, self._parts.genesis))
            except CursorInvalid as fault:
                raise InvalidRequest(str(fault), field="cursor", value=order.start, reason="CURSOR_INVALID") from fault
        if not order.follow and not chain.shown_headers(order.start, 1):
            heads = self._parts.store.heads()
            head = heads.header if self._parts.is_light else heads.full_block
            raise UnknownBlock(
                f"block {order.start} is not there yet, the chain ends at {head.number}; start lower, or follow"
            )
        return Position(order.start, None)

    def _read(self, position: Position, order: FeedOrder, ceiling: int) -> _Batch:
        chain = ShownChain(self._parts.store, ceiling, has_bodies=not self._parts.is_light)
        message = coordinator_pb2.StreamBlocksResponse()
        size_bytes, undone, after = 0, 0, position
        deadline = time.monotonic() + BATCH_S
        for step in steps_from(chain, position):
            sent = self._message(step, order)
            message.steps.append(sent)
            size_bytes += sent.ByteSize()
            undone += sent.HasField("undone")
            after = step.after
            if size_bytes >= BATCH_BYTES or len(message.steps) >= BATCH_STEPS or time.monotonic() > deadline:
                break
        return _Batch(message, size_bytes, undone, after)

    def _message(self, step: Step, order: FeedOrder) -> coordinator_pb2.BlockStep:
        cursor = encode_cursor(step.cursor, self._parts.genesis)
        if not isinstance(step, Apply):
            number, block_hash = step.block
            undone = coordinator_pb2.UndoneBlock(number=number, block_hash=block_hash, parent_hash=step.parent_hash)
            return coordinator_pb2.BlockStep(undone=undone, cursor=cursor)
        store, (block, _, header_rlp) = self._parts.store, step.header
        applied = coordinator_pb2.AppliedBlock(
            head=common_pb2.ChainHead(
                block_hash=block.hash,
                number=block.number,
                total_difficulty=big_to_bytes(store.total_difficulty(block.hash) or 0),
            ),
            header_rlp=header_rlp,
            body_rlp=store.body_rlp(block.hash) if order.include_bodies else None,
            receipts_rlp=stored_receipts(store, block.hash) if order.include_receipts else None,
        )
        return coordinator_pb2.BlockStep(applied=applied, cursor=cursor)


def stored_receipts(store: ChainStore, block_hash: BlockHash) -> bytes | None:
    """The receipts of a stored block; those of a block that has none need not be stored."""
    found = store.receipts_rlp(block_hash)
    header_rlp = store.header_rlp(block_hash) if found is None else None
    if header_rlp is not None and decode_header(header_rlp, block_hash).receipts_root == EMPTY_TRIE_ROOT:
        return EMPTY_RECEIPTS_RLP
    return found


class ShownChain:
    """A `FeedChain`: the canonical chain up to `ceiling`, and where bodies are kept up to the last one that has one."""

    def __init__(self, store: ChainStore, ceiling: int, *, has_bodies: bool) -> None:
        self._store, self._ceiling, self._has_bodies = store, ceiling, has_bodies

    def canonical_hash(self, number: int) -> BlockHash | None:
        return self._store.canonical_hash(number)

    def parent_hash(self, block_hash: BlockHash) -> BlockHash | None:
        header_rlp = self._store.header_rlp(block_hash)
        return None if header_rlp is None else BlockHash(place_of(header_rlp)[0])

    def shown_headers(self, start: int, amount: int) -> list[FeedHeader]:
        headers = [
            FeedHeader(
                Place(start + index, BlockHash(keccak256(header_rlp))), BlockHash(place_of(header_rlp)[0]), header_rlp
            )
            for index, header_rlp in enumerate(
                self._store.canonical_headers(start, max(0, min(amount, self._ceiling - start + 1)))
            )
        ]
        if self._has_bodies:
            # A body is only stored on top of its parent's, so the last one vouches for all.
            while headers and not self._store.has_body(headers[-1].block.hash):
                headers.pop()
        return headers
