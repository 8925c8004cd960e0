"""Blocks that operators hand in: judged, sent to peers, imported, announced, like blocks that peers bring."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from services.shared.ethwire.bodies import body_roots_steps
from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.roots import WorkMeter
from services.shared.ethwire.types import Block, BlockHash, Body, Header
from services.sync_coordinator.core.block_submission import (
    BlockRefused,
    RefusalCause,
    check_age,
    check_body,
    named,
    parent_unknown,
    read_submitted,
    rule_broken,
    undecodable,
)
from services.sync_coordinator.core.fetcher_actions import BlockOutcome
from services.sync_coordinator.core.rule_broken import RuleBroken
from services.sync_coordinator.edges.fetch_driver import FetchImport
from services.sync_coordinator.edges.seal_workers import SealWorkersFailed
from services.sync_coordinator.metrics import CoordinatorMetrics
from services.sync_coordinator.store.chain_store import ChainStore, StoreFailed

_log = structlog.get_logger("submissions")


class SubmissionFailed(Exception):
    """The block may be good, but this node could not do its work."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A block that is stored now, and how many peers heard of it; of one that was known nobody hears again."""

    header: Header
    is_new: bool
    propagated: int = 0
    announced: int = 0


class BlockSubmissions:
    """One import per block, however often it is handed in at once; it goes on when the caller goes away.

    Blocks are refused while the first sync of this process runs or a fast sync is to be done, and taken while a later
    one does: else whoever offers a longer chain again and again could keep a sealer from its network (as geth's miner).
    """

    def __init__(
        self,
        importing: FetchImport | None,
        store: ChainStore,
        is_first_sync: Callable[[], bool],
        tasks: asyncio.TaskGroup,
        metrics: CoordinatorMetrics,
    ) -> None:
        """`importing` is None in light mode, where no block can be taken."""
        self._importing, self._store, self._is_first_sync = importing, store, is_first_sync
        self._tasks, self._metrics = tasks, metrics
        self._under_way: dict[BlockHash, asyncio.Task[Submission | Exception]] = {}

    async def submit(self, block_rlp: bytes) -> Submission:
        """Raises BlockRefused, SubmissionFailed or StoreFailed."""
        try:
            submission = await self._submit(block_rlp)
        except BlockRefused as refusal:
            self._metrics.submitted_blocks.labels(refusal.cause.name.lower()).inc()
            _log.warning("submitted block refused", why=str(refusal))
            raise
        self._metrics.submitted_blocks.labels("imported" if submission.is_new else "known").inc()
        return submission

    async def _submit(self, block_rlp: bytes) -> Submission:
        block = read_submitted(block_rlp)
        block_hash = block.header.hash
        if block_hash not in self._under_way:
            if self._store.has_body(block_hash):
                return Submission(block.header, is_new=False)
            work = self._tasks.create_task(self._work(block), name=f"submit-{block.header.number}")
            self._under_way[block_hash] = work
            work.add_done_callback(lambda _: self._under_way.pop(block_hash))
        outcome = await asyncio.shield(self._under_way[block_hash])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _work(self, block: Block) -> Submission | Exception:
        """The refusal is a result: an exception of a task would end the service."""
        try:
            return await self._take(block)
        except RuleBroken as fault:
            return rule_broken(block.header, fault)
        except BlockRefused as refusal:
            return refusal
        except StoreFailed as failed:
            _log.error("submitted block not imported", number=block.header.number, why=str(failed))
            return failed
        except SealWorkersFailed as failed:
            _log.error("submitted block not imported", number=block.header.number, why=str(failed))
            return SubmissionFailed(f"{named(block.header)}: its seal could not be checked: {failed}; submit it again")

    async def _take(self, block: Block) -> Submission:
        header = block.header
        if self._importing is None:
            why = "this node runs in light mode, which stores headers only; submit to a node in another mode"
            raise BlockRefused(RefusalCause.LIGHT_MODE, f"{named(header)}: {why}")
        if self._is_first_sync():
            why = "this node's first sync is not done, so it cannot judge new blocks; submit again when it is"
            raise BlockRefused(RefusalCause.FIRST_SYNC, f"{named(header)}: {why}")
        check_age(header, self._store.heads().full_block.number)
        check_body(header, await _read_body(block.body_rlp))
        traces = self._importing.traces
        traces.importing(header)
        published = await self._importing.publish(block, ())
        traces.taken(header, None, published.outcome.name.lower())
        if published.outcome is BlockOutcome.PARENT_UNKNOWN:
            raise parent_unknown(header)
        assert published.relay is not None, "a valid header is propagated"
        propagated = await published.relay
        if published.broken is not None:
            raise published.broken
        assert published.announce is not None, "an imported block is announced"
        announced = await published.announce
        _log.info("submitted block imported", number=header.number, propagated=propagated, announced=announced)
        return Submission(header, is_new=True, propagated=propagated, announced=announced)


async def _read_body(body_rlp: bytes) -> Body:
    """Its roots, in slices: the event loop waits for no body. Raises BlockRefused for what is none."""
    steps = body_roots_steps(body_rlp, WorkMeter())
    while True:
        try:
            next(steps)
        except StopIteration as end:
            body: Body = end.value
            return body
        except MalformedRlp as fault:
            raise undecodable(len(body_rlp), fault) from fault
        await asyncio.sleep(0)
