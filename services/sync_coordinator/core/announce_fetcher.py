"""Turns announced and propagated blocks into imports (geth `eth/fetcher/fetcher.go` of 1.8).

The stages of a hash, in order; it is in at most one of the first four, and nothing else moves it:

    announced -> fetching (header asked) -> fetched (header here) -> completing (body asked) -> queued -> importing
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from services.shared.ethwire.bodies import EMPTY_BODY_RLP
from services.shared.ethwire.hashing import EMPTY_LIST_HASH, EMPTY_TRIE_ROOT
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import Announce, Block, BlockHash, Body, Header, PeerId
from services.sync_coordinator.core.block_queue import BlockQueue
from services.sync_coordinator.core.fetcher_actions import (
    BlockOutcome,
    DropFetchPeer,
    FetchBodies,
    FetcherAction,
    FetchHeader,
    ImportFetched,
)
from services.sync_coordinator.core.fetcher_tally import FetcherTally
from services.sync_coordinator.core.open_announces import OpenAnnounces

ARRIVE_TIMEOUT_S: Final = 0.5
"""How long an announced block may still arrive by propagation before we ask for it."""

GATHER_SLACK_S: Final = 0.1
"""Announces this much younger than the due one are asked for with it; bodies are gathered this long."""

FETCH_TIMEOUT_S: Final = 5.0
"""A request unanswered for so long is forgotten; slow peers are not punished for being asked."""


@dataclass(slots=True)
class _Announced:
    """A hash somebody announced: since when, and by whom with which number."""

    since: float
    announcers: dict[PeerId, int]


@dataclass(slots=True)
class _Asked:
    """A hash whose header or body is on its way: from whom, since when. `header` once it is here."""

    peer: PeerId
    number: int
    since: float
    request_id: int = 0
    header: Header | None = None


class AnnounceFetcher:
    """See the module's text. Pure: callers pass `now`, which never goes back, and carry out the returned actions.

    `head_number` and `has_block` look at our chain: the head's number, and whether a block is imported.
    Without `with_bodies` (light mode) no body is asked for, and blocks fetched by announce have an empty one.
    """

    def __init__(
        self,
        head_number: Callable[[], int],
        has_block: Callable[[BlockHash], bool],
        next_id: Callable[[], int],
        rng: random.Random,
        *,
        with_bodies: bool = True,
    ) -> None:
        self._with_bodies = with_bodies
        self._has_block = has_block
        self._next_id = next_id
        self._rng = rng
        # Each stage is in the order in which its hashes came to it: the first is the one that is due first.
        self._announced: dict[BlockHash, _Announced] = {}
        self._fetching: dict[BlockHash, _Asked] = {}
        self._fetched: dict[BlockHash, _Asked] = {}
        self._completing: dict[BlockHash, _Asked] = {}
        self._open_announces = OpenAnnounces()
        self.blocks = BlockQueue(head_number, has_block)
        self.refused_announces = 0
        self.tally = FetcherTally()

    # Input from peers

    def on_announce(self, peer: PeerId, announce: Announce, now: float) -> list[FetcherAction]:
        """A peer says that a block exists that is unknown to us."""
        block_hash, number = announce
        self.tally.add("announce", "in")
        entry = self._announced.get(block_hash)
        if not self._is_wanted(block_hash, number) or (entry is not None and peer in entry.announcers):
            self.tally.add("announce", "dropped")
            return []
        if not self._open_announces.open(peer, block_hash):
            self.refused_announces += 1
            self.tally.add("announce", "dos")
            return []
        if entry is None:
            self._announced[block_hash] = entry = _Announced(now, {})
        entry.announcers[peer] = number
        return []

    def on_block(self, peer: PeerId, block: Block, now: float) -> list[FetcherAction]:
        """A peer propagated a whole block, whose body matches its header."""
        del now
        over_limit = self.blocks.over_limit
        self.tally.add("broadcast", "in")
        is_queued = self.blocks.put(peer, block)
        self.tally.add("broadcast", "out" if is_queued else "dos" if self.blocks.over_limit > over_limit else "dropped")
        if block.header.hash in self.blocks:
            self._forget_fetch(block.header.hash)
        return self._import_ready()

    def on_headers(self, request_id: int, headers: Sequence[Header], now: float) -> list[FetcherAction]:
        """The answer to a FetchHeader; one that is late, or not what was asked, is ignored."""
        block_hash = next((key for key, asked in self._fetching.items() if asked.request_id == request_id), None)
        if block_hash is None:
            return []
        asked = self._fetching.pop(block_hash)
        header = headers[0] if len(headers) == 1 and headers[0].hash == block_hash else None
        if header is None or self._has_block(block_hash):
            self._open_announces.close(asked.peer, block_hash)
            return []
        if header.number != asked.number:
            self._open_announces.close(asked.peer, block_hash)
            explanation = f"announced block {asked.number} 0x{block_hash.hex()}, whose header says {header.number}"
            return [DropFetchPeer(asked.peer, Offence.FALSE_ANNOUNCE, explanation)]
        is_empty = header.transactions_root == EMPTY_TRIE_ROOT and header.uncles_hash == EMPTY_LIST_HASH
        if is_empty or not self._with_bodies:
            self._open_announces.close(asked.peer, block_hash)
            self._queue_fetched(asked.peer, Block(header, EMPTY_BODY_RLP))
            return self._import_ready()
        self._fetched[block_hash] = _Asked(asked.peer, asked.number, now, header=header)
        return []

    def on_bodies(self, request_id: int, bodies: Sequence[Body], now: float) -> list[FetcherAction]:
        """The answer to a FetchBodies: each body is matched to a header by its two roots."""
        del now
        open_hashes = [key for key, asked in self._completing.items() if asked.request_id == request_id]
        for body in bodies:
            for block_hash in open_hashes:
                header = self._completing[block_hash].header
                assert header is not None
                if (header.transactions_root, header.uncles_hash) == (body.transactions_root, body.uncles_hash):
                    asked = self._completing.pop(block_hash)
                    open_hashes.remove(block_hash)
                    self._open_announces.close(asked.peer, block_hash)
                    self._queue_fetched(asked.peer, Block(header, body.body_rlp))
                    break
        for block_hash in open_hashes:
            self._open_announces.close(self._completing.pop(block_hash).peer, block_hash)
        return self._import_ready()

    def on_request_lost(self, request_id: int) -> None:
        """A request will not be answered: the hash may be announced, and asked for, again."""
        for stage in (self._fetching, self._completing):
            for block_hash in [key for key, asked in stage.items() if asked.request_id == request_id]:
                self._open_announces.close(stage.pop(block_hash).peer, block_hash)

    def on_peer_left(self, peer: PeerId) -> None:
        """Blocks it gave stay; what it announced or was asked for is forgotten."""
        for block_hash in self._open_announces.forget(peer):
            entry = self._announced.get(block_hash)
            if entry is not None:
                del entry.announcers[peer]
                if not entry.announcers:
                    del self._announced[block_hash]
            for stage in (self._fetching, self._fetched, self._completing):
                stage.pop(block_hash, None)

    # Input from our side

    def on_head_moved(self) -> list[FetcherAction]:
        """Our head changed: blocks that waited for it may be imported now."""
        return self._import_ready()

    def on_imported(
        self, block_hash: BlockHash, outcome: BlockOutcome, now: float, broken_rule: str = ""
    ) -> list[FetcherAction]:
        """What came of an ImportFetched; `broken_rule` says more of an invalid one."""
        block, peer = self.blocks.done(block_hash)
        actions: list[FetcherAction] = []
        if outcome is BlockOutcome.IN_NEAR_FUTURE:
            self.blocks.hold(block, peer, now)
        elif outcome is BlockOutcome.INVALID:
            why = broken_rule or f"block {block.header.number} 0x{block_hash.hex()}"
            actions.append(DropFetchPeer(peer, Offence.INVALID_BLOCK, f"gave an invalid block: {why}"))
        return actions + self._import_ready()

    def next_wakeup(self) -> float | None:
        """Earliest time `on_wakeup` has work, or None; the edge owns the timer."""
        first: list[tuple[_Announced | _Asked | None, float]] = [
            (next(iter(self._announced.values()), None), ARRIVE_TIMEOUT_S),
            (next(iter(self._fetching.values()), None), FETCH_TIMEOUT_S),
            (next(iter(self._fetched.values()), None), GATHER_SLACK_S),
            (next(iter(self._completing.values()), None), FETCH_TIMEOUT_S),
        ]
        due = [entry.since + wait_s for entry, wait_s in first if entry is not None]
        if self.blocks.retry_at is not None:
            due.append(self.blocks.retry_at)
        return min(due, default=None)

    def on_wakeup(self, now: float) -> list[FetcherAction]:
        self.tally.header_timeouts += self._expire(self._fetching, now)
        self.tally.body_timeouts += self._expire(self._completing, now)
        self.blocks.retry_held(now)
        return self._ask_headers(now) + self._ask_bodies(now) + self._import_ready()

    # Stages

    def _ask_headers(self, now: float) -> list[FetcherAction]:
        oldest = next(iter(self._announced.values()), None)
        if oldest is None or oldest.since + ARRIVE_TIMEOUT_S > now:
            return []
        actions: list[FetcherAction] = []
        for block_hash in _due(self._announced, ARRIVE_TIMEOUT_S - GATHER_SLACK_S, now):
            entry = self._announced.pop(block_hash)
            peer = self._rng.choice(list(entry.announcers))
            for announcer in entry.announcers:
                if announcer != peer:
                    self._open_announces.close(announcer, block_hash)
            if self._has_block(block_hash):
                self._open_announces.close(peer, block_hash)
                continue
            request_id = self._next_id()
            self._fetching[block_hash] = _Asked(peer, entry.announcers[peer], now, request_id)
            actions.append(FetchHeader(request_id, peer, block_hash))
        return actions

    def _ask_bodies(self, now: float) -> list[FetcherAction]:
        oldest = next(iter(self._fetched.values()), None)
        if oldest is None or oldest.since + GATHER_SLACK_S > now:
            return []
        by_peer: dict[PeerId, list[BlockHash]] = {}
        for block_hash, asked in self._fetched.items():
            by_peer.setdefault(asked.peer, []).append(block_hash)
        actions: list[FetcherAction] = []
        for peer, hashes in by_peer.items():
            request_id = self._next_id()
            for block_hash in hashes:
                asked = self._fetched.pop(block_hash)
                asked.since, asked.request_id = now, request_id
                self._completing[block_hash] = asked
            actions.append(FetchBodies(request_id, peer, hashes))
        return actions

    def _expire(self, stage: dict[BlockHash, _Asked], now: float) -> int:
        """Forget what was asked too long ago; returns how many requests that were."""
        requests: set[int] = set()
        for block_hash in _due(stage, FETCH_TIMEOUT_S, now):
            asked = stage.pop(block_hash)
            self._open_announces.close(asked.peer, block_hash)
            requests.add(asked.request_id)
        return len(requests)

    def _queue_fetched(self, peer: PeerId, block: Block) -> None:
        self.tally.add("announce", "out" if self.blocks.put(peer, block) else "dropped")

    def _is_wanted(self, block_hash: BlockHash, number: int) -> bool:
        """Whether an announced block is near our head, and neither here nor asked for."""
        if not self.blocks.is_near_head(number) or self._has_block(block_hash):
            return False
        return block_hash not in self.blocks and self._stage_after_announced(block_hash) is None

    def _import_ready(self) -> list[FetcherAction]:
        return [ImportFetched(block, peer) for block, peer in self.blocks.take_ready()]

    def _stage_after_announced(self, block_hash: BlockHash) -> _Asked | None:
        return self._fetching.get(block_hash) or self._fetched.get(block_hash) or self._completing.get(block_hash)

    def _forget_fetch(self, block_hash: BlockHash) -> None:
        """The block is here: nothing is left to ask for."""
        entry = self._announced.pop(block_hash, None)
        for announcer in entry.announcers if entry is not None else ():
            self._open_announces.close(announcer, block_hash)
        for stage in (self._fetching, self._fetched, self._completing):
            asked = stage.pop(block_hash, None)
            if asked is not None:
                self._open_announces.close(asked.peer, block_hash)


def _due(stage: Mapping[BlockHash, _Announced | _Asked], wait_s: float, now: float) -> list[BlockHash]:
    """The hashes that came to this stage `wait_s` ago or before."""
    return [key for key, _ in itertools.takewhile(lambda entry: entry[1].since + wait_s <= now, stage.items())]
