"""The state below one root, fetched from all peers by hash (geth `trie/sync.go` of 1.8).

What is stored is complete below, so a download that starts again asks for nothing that an earlier one has
stored. Work comes in steps of a few milliseconds; `next_wakeup` is at once while there is more of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from services.shared.ethwire.hashing import EMPTY_TRIE_ROOT
from services.shared.ethwire.types import PeerId, StateEntry
from services.sync_coordinator.core.capacity import PartKind
from services.sync_coordinator.core.part_fetch import PartFetch
from services.sync_coordinator.core.part_queue import PartQueue
from services.sync_coordinator.core.state_commits import StateCommits
from services.sync_coordinator.core.state_tree import IncompleteEntry, StateTree
from services.sync_coordinator.core.state_trie import MalformedNode
from services.sync_coordinator.core.sync_actions import RequestNodeData, SyncAction
from services.sync_coordinator.core.sync_faults import SyncFailed, SyncFault
from services.sync_coordinator.core.sync_run import SyncRun

ASKED_PER_STEP: Final = 1024
"""Entries asked for in one step: taking them from the queue costs about 1 ms."""


class StateDownload:
    """One root at a time. The caller tells of every reply, loss and leave, and owes an answer for each `StoreState`."""

    def __init__(self, run: SyncRun, root: bytes) -> None:
        self._run = run
        self._commits = StateCommits(run.config)
        self._is_cancelled = False
        self._now = 0.0
        self._may_ask_more = False
        self.timeouts = 0
        self.pulled = 0
        """Entries that arrived and were asked for, under whatever root."""
        self._open(root)

    @property
    def root(self) -> bytes:
        return self._root

    @property
    def is_complete(self) -> bool:
        """Whether every entry below the root is in the store."""
        return not self._is_cancelled and not self.held

    @property
    def is_busy(self) -> bool:
        """Whether a commit is out."""
        return self._commits.is_busy

    @property
    def open_requests(self) -> int:
        return self._queue.open_requests

    @property
    def known(self) -> int:
        """Entries pulled, and those known to be missing."""
        return self.pulled + self._tree.missing

    @property
    def held(self) -> int:
        """Entries in memory that are missing, wait for what is below them, or wait for the store."""
        return len(self._tree) + len(self._commits)

    def lacking(self, peer: PeerId) -> int:
        """Entries that the peer is known not to have."""
        return self._queue.lacking_count(peer)

    def owes(self, batch_id: int) -> bool:
        """Whether the caller has still to say what became of a commit."""
        return self._commits.owes(batch_id)

    def advance(self, now: float) -> list[SyncAction]:
        """One step: look below what arrived, hand out a commit, ask idle peers.

        Raises SyncFailed when no peer can serve an entry, once what is complete was handed out, or when an entry
        below the root is not what it must be.
        """
        self._now = now
        if self._is_cancelled:
            return []
        try:
            self._tree.step()
        except MalformedNode as problem:
            raise SyncFailed(SyncFault.INVALID_CHAIN, f"the state of root 0x{self._root.hex()}: {problem}") from problem
        self._queue.schedule_unordered(self._tree.take_new())
        asked = self._ask(now)
        is_idle = not self._queue.open_requests and not self._tree.has_work
        batch = self._commits.next_batch(self._run.next_request_id, now, flush=is_idle)
        if batch is not None:
            return [batch, *asked]
        if is_idle and not self._commits.is_full and self._fetch.is_stuck():
            raise SyncFailed(
                SyncFault.PEERS_UNAVAILABLE, f"no peer has the state (entries to fetch: {self._queue.pending})"
            )
        return list(asked)

    def on_node_data(self, request_id: int, entries: Sequence[StateEntry], now: float) -> tuple[bool, PeerId | None]:
        """Take a peer's entries: whether somebody waits for them, and the peer if one of them was not asked for.

        They may be some of those asked for, in any order. A reply without any means that the peer has none.
        """
        reservation = self._queue.reservation(request_id)
        if reservation is None:
            return False, None
        if not entries:
            self._queue.mark_lacking(reservation.peer, reservation.parts)
        unanswered = {part.hash: part for part in reservation.parts}
        arrived: set[bytes] = set()
        has_foreign = False
        for value, entry_hash in entries:
            entry = unanswered.pop(entry_hash, None)
            if entry is not None:
                self._tree.arrive(entry, value)
                arrived.add(entry_hash)
            elif entry_hash not in arrived:
                has_foreign = True
        self.pulled += len(arrived)
        self._fetch.settle(reservation, list(unanswered.values()), now)
        return True, reservation.peer if has_foreign else None

    def on_stored(self, batch_id: int, now: float) -> None:
        """A commit is on disk. Caller's duty: `owes(batch_id)`."""
        self._now = now
        self._commits.close_batch(batch_id)

    def on_store_failed(self, batch_id: int) -> None:
        """A commit did not take place: the download is over. Caller's duty: `owes(batch_id)`."""
        self.cancel()
        self._commits.close_batch(batch_id)

    def on_request_lost(self, request_id: int, now: float) -> bool:
        """Take back what a request asked for that never got out; False when it is not open."""
        if request_id not in self._queue:
            return False
        self._fetch.lose(request_id, now + self._run.config.lost_request_pause_s)
        return True

    def on_peer_left(self, peer: PeerId) -> None:
        """Take back what the peer was asked for."""
        self._queue.revoke(peer)

    def expire(self, now: float) -> list[PeerId]:
        """Take back what requests asked for that took too long; returns the peers too slow to keep."""
        count, too_slow = self._fetch.expire(now)
        self.timeouts += count
        return too_slow

    def next_wakeup(self) -> float | None:
        """When `expire` or `advance` has something to do; now, if a step left more to do."""
        if self._is_cancelled:
            return None
        if self._tree.has_work or self._may_ask_more:
            return self._now
        due = (self._fetch.next_wakeup(), self._commits.next_wakeup())
        return min((at for at in due if at is not None), default=None)

    def move_to(self, root: bytes) -> None:
        """Go on below another root. What is complete stays; open requests are forgotten, their replies stale."""
        if root != self._root:
            self._open(root)

    def cancel(self) -> None:
        """Ask for nothing more and forget what is not stored. A commit that is out is still answered for."""
        self._is_cancelled = True
        self._commits.clear()
        self._open(EMPTY_TRIE_ROOT)

    def _open(self, root: bytes) -> None:
        self._root = root
        self._tree = StateTree(
            root, has_state=self._run.chain.has_state, leaving=self._commits, on_complete=self._commits.add
        )
        self._queue: PartQueue[IncompleteEntry] = PartQueue(
            order=attrgetter("order"), key=attrgetter("hash"), lacking_per_peer=self._run.config.lacking_per_peer
        )
        self._fetch = PartFetch(
            PartKind.STATE,
            self._queue,
            self._run.peers,
            most=self._run.config.state_per_request,
            rng=self._run.rng,
            next_request_id=self._run.next_request_id,
        )
        self._may_ask_more = False

    def _ask(self, now: float) -> list[RequestNodeData]:
        self._may_ask_more = False
        if self._commits.is_full:
            return []
        given = self._fetch.assign(ASKED_PER_STEP, now)
        self._may_ask_more = sum([len(reservation.parts) for reservation in given]) == ASKED_PER_STEP
        return [
            RequestNodeData(request_id, peer, [entry.hash for entry in entries])
            for request_id, peer, entries, _ in given
        ]
