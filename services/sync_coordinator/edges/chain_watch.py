"""The ChainWatch service: broadcasters follow our head through it, with the blocks that joined and left the chain.

Like the feed it keeps nothing for a reader but its place, so that slow readers, restarts and reorgs need no care.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import grpc
from blocksync.v1 import coordinator_pb2, coordinator_pb2_grpc

from services.shared.ethwire.bodies import EMPTY_BODY_RLP
from services.shared.rpc.convert import block_hash_from_proto
from services.sync_coordinator.core.block_feed import Apply, BlockForgotten, ChainBroken, Position, steps_from
from services.sync_coordinator.core.feed_cursor import Place
from services.sync_coordinator.edges.block_feed import MAX_NUMBER, ShownChain
from services.sync_coordinator.edges.change_signal import ChangeSignal
from services.sync_coordinator.edges.status_board import StatusBoard
from services.sync_coordinator.store.chain_store import ChainStore

NEAR_BLOCKS: Final = 128
"""A reader that is further behind is not told what was between: pools look at minutes, not at a sync."""

BATCH_STEPS: Final = 16
BATCH_BYTES: Final = 4 * 1024 * 1024
"""One message ends with the block that reaches this."""

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchParts:
    """What the watch reads."""

    board: StatusBoard
    store: ChainStore
    reader: Executor
    """One thread. Caller's duty: it is shut down before the store is closed."""


class _Steps(NamedTuple):
    """What was read for one message, and where the reader stands after it."""

    undone: list[coordinator_pb2.BlockContents]
    applied: list[coordinator_pb2.BlockContents]
    skipped: bool
    newest: Place


class ChainWatchServicer(coordinator_pb2_grpc.ChainWatchServiceServicer):
    """Every reader goes at its own pace: changes that it was too slow for come together."""

    def __init__(self, parts: WatchParts) -> None:
        self._parts = parts
        self._changes = ChangeSignal()

    def notify(self) -> None:
        """The head, or whether transactions are accepted, may have changed."""
        self._changes.notify()

    async def WatchChain(
        self, request: coordinator_pb2.WatchChainRequest, context: Context
    ) -> AsyncIterator[coordinator_pb2.WatchChainResponse]:
        with self._changes.reader() as changed:
            snapshot = self._parts.board.chain_snapshot()
            yield coordinator_pb2.WatchChainResponse(snapshot=snapshot)
            shown = Place(snapshot.head.number, block_hash_from_proto(snapshot.head.block_hash))
            told, accepted = shown, snapshot.accepts_transactions
            if request.newest_hash:
                told = Place(request.newest_number, block_hash_from_proto(request.newest_hash))
            while True:
                changed.clear()
                head, accepts = self._head(), self._parts.board.accepts_transactions
                if (head, accepts) == (shown, accepted) and (told == head or not accepts):
                    await changed.wait()
                    continue
                # While no transactions are accepted the blocks wait: what the reader had before may be near.
                steps = await self._steps(told, head) if accepts else _Steps([], [], skipped=False, newest=told)
                shown, accepted, told = head, accepts, steps.newest
                yield coordinator_pb2.WatchChainResponse(moved=self._moved(steps))

    def _head(self) -> Place:
        head = self._parts.store.heads().full_block
        return Place(head.number, head.hash)

    def _moved(self, steps: _Steps) -> coordinator_pb2.ChainMoved:
        board = self._parts.board
        return coordinator_pb2.ChainMoved(
            head=board.full_block_head(),
            accepts_transactions=board.accepts_transactions,
            gas_limit=self._parts.store.heads().full_block.gas_limit,
            undone=steps.undone,
            applied=steps.applied,
            blocks_skipped=steps.skipped,
        )

    async def _steps(self, newest: Place, head: Place) -> _Steps:
        if newest.number + NEAR_BLOCKS < head.number:
            return _Steps([], [], skipped=True, newest=head)
        return await asyncio.get_running_loop().run_in_executor(self._parts.reader, self._read, newest, head)

    # In the thread

    def _read(self, newest: Place, head: Place) -> _Steps:
        """From `newest` towards the head, which may have moved on meanwhile."""
        steps, size_bytes = _Steps([], [], False, newest), 0
        if newest == head:
            return steps
        try:
            # The first number wanted lies below whatever may be undone.
            for step in steps_from(ShownChain(self._parts.store, MAX_NUMBER, has_bodies=True), Position(0, newest)):
                if isinstance(step, Apply):
                    steps.applied.append(self._contents(step.header.block))
                    size_bytes += len(steps.applied[-1].body_rlp)
                elif steps.applied:
                    # A reorg between two reads: what is undone comes before what is applied, in the next message.
                    break
                else:
                    steps.undone.append(self._contents(step.block))
                assert step.after.newest is not None, "genesis is never undone"
                steps = steps._replace(newest=step.after.newest)
                is_long = len(steps.undone) + len(steps.applied) >= BATCH_STEPS or size_bytes >= BATCH_BYTES
                # Not between undo and apply: what is in both would be given back and taken away again.
                if is_long and steps.applied:
                    break
                if len(steps.undone) > NEAR_BLOCKS:
                    return _Steps([], [], skipped=True, newest=head)
        except (BlockForgotten, ChainBroken):
            return _Steps([], [], skipped=True, newest=head)
        # Where the heads part, as in light mode, there may be nothing to tell: the reader goes on from the head.
        return steps if steps.newest != newest else _Steps([], [], skipped=True, newest=head)

    def _contents(self, block: Place) -> coordinator_pb2.BlockContents:
        return coordinator_pb2.BlockContents(
            number=block.number,
            block_hash=block.hash,
            body_rlp=self._parts.store.body_rlp(block.hash) or EMPTY_BODY_RLP,
        )
