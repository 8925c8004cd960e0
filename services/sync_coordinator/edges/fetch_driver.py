"""Carries out what the announce fetcher decides: asks peers, checks and imports blocks, has them relayed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import assert_never

import structlog

from services.shared.ethwire.messages import GetBlockHeaders
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import Announce, Block, Body, Header, PeerId
from services.shared.runtime.tracing import Step
from services.sync_coordinator.core.announce_fetcher import AnnounceFetcher
from services.sync_coordinator.core.chain_rules import ChainRules
from services.sync_coordinator.core.fetcher_actions import (
    BlockOutcome,
    DropFetchPeer,
    FetchBodies,
    FetcherAction,
    FetchHeader,
    ImportFetched,
)
from services.sync_coordinator.core.reply_router import Asker
from services.sync_coordinator.core.rule_broken import RuleBroken
from services.sync_coordinator.edges.block_import import BlockImport
from services.sync_coordinator.edges.block_traces import BlockTraces
from services.sync_coordinator.edges.broadcaster_client import BroadcasterClient, source_of, unix_us
from services.sync_coordinator.edges.peer_asker import PeerAsker
from services.sync_coordinator.edges.seal_workers import SealWorkersFailed
from services.sync_coordinator.edges.wakeup import Wakeup
from services.sync_coordinator.metrics import CoordinatorMetrics
from services.sync_coordinator.store.chain_store import ChainStore, StoreFailed

_log = structlog.get_logger("fetcher")


@dataclass(frozen=True, slots=True)
class ImportParts:
    """What judging and importing a single block needs."""

    store: ChainStore
    rules: ChainRules
    block_import: BlockImport
    traces: BlockTraces = field(default_factory=BlockTraces)


class FetchDriver:
    """The edge around one `AnnounceFetcher`; imports run as tasks, one after the other in the importer."""

    def __init__(
        self,
        fetcher: AnnounceFetcher,
        asker: PeerAsker,
        importing: FetchImport | LightImport,
        tasks: asyncio.TaskGroup,
        metrics: CoordinatorMetrics,
    ) -> None:
        self._fetcher = fetcher
        self._asker = asker
        self._importing = importing
        self._traces = importing.traces
        self._tasks = tasks
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._wakeup = Wakeup(self._on_wakeup)
        metrics.fetcher.follow(lambda: fetcher.tally.counts)

    def close(self) -> None:
        """Stop the timer: the store is about to be closed."""
        self._wakeup.at(None)

    def on_announces(self, peer: PeerId, announces: Sequence[Announce]) -> None:
        before = self._fetcher.refused_announces
        for announce in announces:
            self._carry_out(self._fetcher.on_announce(peer, announce, self._loop.time()))
        self._asker.note(peer, Offence.ANNOUNCES_BEYOND_LIMIT, self._fetcher.refused_announces - before)

    def on_block(self, peer: PeerId, block: Block) -> None:
        before = self._fetcher.blocks.over_limit
        self._traces.arrived(block.header.hash)
        self._carry_out(self._fetcher.on_block(peer, block, self._loop.time()))
        self._asker.note(peer, Offence.BLOCKS_BEYOND_LIMIT, self._fetcher.blocks.over_limit - before)

    def on_headers(self, request_id: int, headers: Sequence[Header]) -> None:
        self._carry_out(self._fetcher.on_headers(request_id, headers, self._loop.time()))

    def on_bodies(self, request_id: int, bodies: Sequence[Body]) -> None:
        self._carry_out(self._fetcher.on_bodies(request_id, bodies, self._loop.time()))

    def on_request_lost(self, request_id: int) -> None:
        self._fetcher.on_request_lost(request_id)

    def on_peer_left(self, peer: PeerId) -> None:
        self._fetcher.on_peer_left(peer)

    def on_head_moved(self) -> None:
        self._carry_out(self._fetcher.on_head_moved())

    def _on_wakeup(self) -> None:
        self._carry_out(self._fetcher.on_wakeup(self._loop.time()))

    def _carry_out(self, actions: Sequence[FetcherAction]) -> None:
        for action in actions:
            match action:
                case FetchHeader(request_id, peer, block_hash):
                    self._traces.asked(block_hash)
                    query = GetBlockHeaders(block_hash, 1, 0, reverse=False)
                    if not self._asker.ask_headers(Asker.FETCHER, request_id, peer, query):
                        self._fetcher.on_request_lost(request_id)
                case FetchBodies(request_id, peer, hashes):
                    if not self._asker.ask_bodies(Asker.FETCHER, request_id, peer, hashes):
                        self._fetcher.on_request_lost(request_id)
                case ImportFetched(block, peer):
                    self._tasks.create_task(self._import(block, peer), name=f"import-{block.header.number}")
                case DropFetchPeer(peer, offence, explanation):
                    self._asker.drop(peer, offence, explanation)
                case _:
                    assert_never(action)
        self._metrics.fetcher_refused.labels("announces").set(self._fetcher.refused_announces)
        self._metrics.fetcher_refused.labels("blocks").set(self._fetcher.blocks.refused)
        self._wakeup.at(self._fetcher.next_wakeup())

    async def _import(self, block: Block, peer: PeerId) -> None:
        broken_rule = ""
        self._traces.importing(block.header)
        try:
            outcome = await self._importing.import_block(block, peer)
        except RuleBroken as broken:
            outcome, broken_rule = outcome_of(broken), str(broken)
        except (StoreFailed, SealWorkersFailed) as failed:
            _log.error("fetched block not imported", number=block.header.number, why=str(failed))
            outcome = BlockOutcome.REFUSED
        self._metrics.fetched_blocks.labels(outcome.name.lower()).inc()
        self._traces.taken(block.header, peer, outcome.name.lower())
        if outcome is BlockOutcome.PARENT_UNKNOWN:
            _log.debug("block not relayed: its parent is unknown", number=block.header.number, peer=peer.hex()[:16])
        now = self._loop.time()
        self._carry_out(self._fetcher.on_imported(block.header.hash, outcome, now, broken_rule))


@dataclass(frozen=True, slots=True)
class Published:
    """What came of a block whose header was valid, unless its parent is unknown. `broken` is a rule of its body."""

    outcome: BlockOutcome
    broken: RuleBroken | None = None
    relay: asyncio.Task[int] | None = None
    """Ends with the number of peers that were sent the block."""
    announce: asyncio.Task[int] | None = None
    """Ends with the number of peers that were told of it."""


class FetchImport:
    """Takes one announced, propagated or submitted block from "here" to "imported, and the others know"."""

    def __init__(
        self,
        parts: ImportParts,
        broadcaster: BroadcasterClient,
        tasks: asyncio.TaskGroup,
        is_fast_syncing: Callable[[], bool],
    ) -> None:
        self._parts, self.traces = parts, parts.traces
        self._is_fast_syncing = is_fast_syncing
        self._broadcaster = broadcaster
        self._tasks = tasks

    async def import_block(self, block: Block, peer: PeerId) -> BlockOutcome:
        """Raises RuleBroken for the header's fault.

        During a fast sync blocks are discarded, which is nobody's fault: their parents have no state yet.
        """
        if self._is_fast_syncing():
            return BlockOutcome.REFUSED
        return (await self.publish(block, [peer])).outcome

    async def publish(self, block: Block, origins: Sequence[PeerId]) -> Published:
        """Header valid: propagate at once; then import; then announce. Raises RuleBroken for the header's fault.

        Without origins it is a block of our own.
        """
        header, store = block.header, self._parts.store
        parent = store.header(header.parent_hash)
        parent_total_difficulty = store.total_difficulty(header.parent_hash)
        if parent is None or parent_total_difficulty is None or not store.has_body(header.parent_hash):
            return Published(BlockOutcome.PARENT_UNKNOWN)
        with self.traces.step(Step.HEADER_CHECKED, header):
            self._parts.rules.check_header(header, parent, now=time.time())
            self._parts.rules.check_before_merge(header, parent_total_difficulty)
        with self.traces.step(Step.SEAL_CHECKED, header):
            seal = await self._parts.block_import.check_seal(header)
        total_difficulty = parent_total_difficulty + header.difficulty
        # The relay must not wait for our import, nor our import for a slow broadcaster.
        propagation = self._broadcaster.propagate(block, total_difficulty, origins)
        relay = self._tasks.create_task(propagation, name=f"propagate-{header.number}")
        try:
            with self.traces.step(Step.IMPORTED, header):
                await self._parts.block_import.import_blocks([block], checked=seal)
        except RuleBroken as broken:
            # Its header is valid, so somebody worked for it; whoever relayed it could not know (as in geth).
            _log.warning("block not imported", number=header.number, why=str(broken))
            return Published(BlockOutcome.REFUSED, broken, relay)
        telling = self._announce(Announce(header.hash, header.number), origins, relay, unix_us())
        announce = self._tasks.create_task(telling, name=f"announce-{header.number}")
        return Published(BlockOutcome.IMPORTED, None, relay, announce)

    async def _announce(
        self, announce: Announce, origins: Sequence[PeerId], relay: asyncio.Task[int], imported_us: int
    ) -> int:
        """Not before the relay: whoever is to get the whole block would be told its hash instead."""
        await relay
        source = source_of(origins)
        return await self._broadcaster.announce(announce, origins, source=source, imported_us=imported_us)


class LightImport:
    """What `FetchImport` is for a light node: the header alone; nobody is told, for we cannot serve its body."""

    def __init__(self, parts: ImportParts, is_syncing: Callable[[], bool]) -> None:
        self._parts, self.traces = parts, parts.traces
        self._is_syncing = is_syncing

    async def import_block(self, block: Block, peer: PeerId) -> BlockOutcome:
        """Nothing while a sync runs: one that fails takes its headers back, and this one's parent may be among them."""
        header = block.header
        if self._is_syncing():
            return BlockOutcome.REFUSED
        if self._parts.store.header(header.parent_hash) is None:
            return BlockOutcome.PARENT_UNKNOWN
        with self.traces.step(Step.IMPORTED, header):
            await self._parts.block_import.import_headers([header])
        return BlockOutcome.IMPORTED


def outcome_of(fault: RuleBroken) -> BlockOutcome:
    """What a broken rule means for the block, and so for its peer. Being ahead of our clock is nobody's fault."""
    if fault.is_early:
        return BlockOutcome.IN_NEAR_FUTURE
    return BlockOutcome.REFUSED if fault.ahead_s > 0 else BlockOutcome.INVALID
