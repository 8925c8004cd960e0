"""A state download under a test's control: requests wait for their answers, commits until they are stored."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Sequence

from services.shared.ethwire.hashing import EMPTY_CODE_HASH, EMPTY_TRIE_ROOT, keccak256
from services.shared.ethwire.types import BlockHash, PeerId, StateEntry
from services.sync_coordinator.core.capacity import DownloadPeers
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.state_download import StateDownload
from services.sync_coordinator.core.sync_actions import RequestNodeData, StoreState, SyncMode, SyncTarget
from services.sync_coordinator.core.sync_run import SyncRun
from tests.support.memory_chain import MemoryChain
from tests.support.peers import ALICE

SMALL_COMMITS = DownloaderConfig(state_commit=40)
LARGE_COMMITS = DownloaderConfig(state_commit=100_000, state_commit_bytes=1 << 30)


class StateFetch:
    """Checks with every request and commit what must hold whatever happens."""

    def __init__(
        self, root: bytes, peers: Iterable[PeerId] = (ALICE,), config: DownloaderConfig = SMALL_COMMITS, seed: int = 1
    ) -> None:
        self.now = 0.0
        self.chain = MemoryChain()
        self.config = config
        self.peers = DownloadPeers(config)
        for peer in peers:
            self.peers.join(peer, 63)
        self._ids = itertools.count(1)
        self._rng = random.Random(seed)
        self.open: dict[int, RequestNodeData] = {}
        self.stale: list[RequestNodeData] = []
        self._asked_at: dict[int, float] = {}
        self.commit: StoreState | None = None
        self.largest_commit = 0
        self.asked: list[bytes] = []
        self.restart(root)

    def restart(self, root: bytes) -> None:
        """A new download over the same store, as after the death of the process."""
        self.stale += self.open.values()
        self.open, self.commit = {}, None
        run = SyncRun(
            config=self.config,
            target=SyncTarget(SyncMode.FULL, ALICE, BlockHash(bytes(32)), 1),
            chain=self.chain,
            peers=self.peers,
            rng=self._rng,
            next_request_id=self._ids.__next__,
        )
        self.download = StateDownload(run, root)
        self.accepted: set[bytes] = set()
        """Under the present root."""

    def move_to(self, root: bytes) -> None:
        if root != self.download.root:
            self.stale += self.open.values()
            self.open, self.accepted = {}, set()
        self.download.move_to(root)

    def advance(self) -> None:
        """One step, its actions noted and checked."""
        self.peers.on_time(self.now)
        for action in self.download.advance(self.now):
            if isinstance(action, RequestNodeData):
                self._check_request(action)
                self.open[action.request_id] = action
                self._asked_at[action.request_id] = self.now
                self.asked += action.hashes
            else:
                assert isinstance(action, StoreState)
                assert self.commit is None, "one commit is out at a time"
                self.commit = action
                self.largest_commit = max(self.largest_commit, len(action.entries))

    def settle(self) -> None:
        """Steps until there is nothing to do but wait."""
        self.advance()
        while (due := self.download.next_wakeup()) is not None and due <= self.now:
            self.advance()

    def answer(self, request: RequestNodeData, entries: Sequence[StateEntry]) -> PeerId | None:
        """Give a reply to an open request; who is guilty of it."""
        del self.open[request.request_id]
        fresh = {entry.hash for entry in entries} & set(request.hashes)
        assert not fresh & self.accepted, "nothing is asked for that arrived"
        self.accepted |= fresh
        pulled = self.download.pulled
        is_awaited, guilty = self.download.on_node_data(request.request_id, entries, self.now)
        assert is_awaited
        assert self.download.pulled == pulled + len(fresh)
        return guilty

    def answer_all(self, entries: dict[bytes, bytes]) -> None:
        """Whole replies to all open requests."""
        for request in list(self.open.values()):
            self.answer(request, entries_of(entries, request.hashes))

    def expire(self) -> list[PeerId]:
        """Give up what took too long; the peers too slow to keep."""
        self.peers.on_time(self.now)
        limit = self.now - self.peers.round_trip.timeout_s
        expired = [request for at, request in self.open.items() if self._asked_at[at] <= limit]
        timeouts = self.download.timeouts
        too_slow = self.download.expire(self.now)
        assert self.download.timeouts == timeouts + len(expired)
        for request in expired:
            self.stale.append(self.open.pop(request.request_id))
        return too_slow

    def leave(self, peer: PeerId) -> None:
        self.peers.leave(peer)
        self.download.on_peer_left(peer)
        self.stale += [request for request in self.open.values() if request.peer == peer]
        self.open = {at: request for at, request in self.open.items() if request.peer != peer}

    def store(self) -> None:
        """The commit that is out gets on disk; what its entries refer to is there already."""
        commit = self.commit
        assert commit is not None
        assert self.download.owes(commit.batch_id)
        for entry in commit.entries:
            assert entry.hash == keccak256(entry.value)
            assert entry.hash not in self.chain.state, "nothing is stored twice"
            self.chain.add_state([entry])
        self.commit = None
        self.download.on_stored(commit.batch_id, self.now)

    def finish(self, entries: dict[bytes, bytes]) -> None:
        """Whole and prompt answers to everything, until the download is complete."""
        for _ in range(100_000):
            self.settle()
            if self.download.is_complete:
                return
            if self.commit is not None:
                self.store()
            if not self.open:
                self.now += 1.0
            self.answer_all(entries)
        raise AssertionError("the download does not end")

    def _check_request(self, request: RequestNodeData) -> None:
        assert 0 < len(request.hashes) <= self.config.state_per_request
        assert len(set(request.hashes)) == len(request.hashes)
        assert all(held.peer != request.peer for held in self.open.values()), "one request per peer is open"
        in_flight = {wanted for held in self.open.values() for wanted in held.hashes}
        for wanted in request.hashes:
            assert wanted not in in_flight, "nothing is asked for twice at once"
            assert wanted not in self.chain.state, "nothing is asked for that is stored"
            assert wanted not in self.accepted, "nothing is asked for that arrived"
            assert wanted not in (EMPTY_TRIE_ROOT, EMPTY_CODE_HASH)


def entries_of(entries: dict[bytes, bytes], hashes: Iterable[bytes]) -> list[StateEntry]:
    """Those of the entries that are there."""
    return [StateEntry(entries[wanted], wanted) for wanted in hashes if wanted in entries]
