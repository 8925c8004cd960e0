"""Whatever is lost, cut short or lied about: a whole state arrives, once, nothing stored before what is below it."""

from __future__ import annotations

import random
from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.types import PeerId, StateEntry
from services.sync_coordinator.core.state_trie import EntryKind, references
from services.sync_coordinator.core.sync_actions import RequestNodeData
from services.sync_coordinator.core.sync_faults import SyncFailed, SyncFault
from tests.support.peers import ALICE, BOB, CAROL, MALLORY
from tests.support.state_fetch import StateFetch, entries_of
from tests.support.state_trie import Account, made_state, seeded_accounts

PEERS = (ALICE, BOB, CAROL, MALLORY)
ACCOUNTS = seeded_accounts(11, 150)
CHANGED = {
    **dict(list(ACCOUNTS.items())[:140]),
    **seeded_accounts(12, 20),
    next(iter(ACCOUNTS)): Account(7, 7, {bytes(32): 7}, b"other code"),
}
STATES = [made_state(accounts) for accounts in ({}, ACCOUNTS, CHANGED, seeded_accounts(13, 3))]
"""A small one, an empty one, and two that share most of their subtrees, as those of two pivots do."""

KINDS: dict[bytes, tuple[EntryKind, int]] = {}
for state in STATES:
    todo = [(state.root, EntryKind.ACCOUNT, 0)] if state.entries else []
    while todo:
        entry_hash, kind, depth = todo.pop()
        KINDS[entry_hash] = kind, depth
        todo += references(state.entries[entry_hash], kind, depth)

ENTRIES = {entry_hash: value for state in STATES for entry_hash, value in state.entries.items()}


class StateMachine(RuleBasedStateMachine):
    """Peers of every sort, a process that dies, and a pivot that moves."""

    @initialize(seed=st.integers(0, 1000), at=st.integers(0, len(STATES) - 1))
    def start(self, seed: int, at: int) -> None:
        self.rng = random.Random(seed)
        self.state = STATES[at]
        self.fetch = StateFetch(self.state.root, PEERS, seed=seed)
        self.here = set(PEERS)
        self.checked: set[bytes] = set()

    @rule()
    def step(self) -> None:
        self._or_restart(self.fetch.advance)

    @rule()
    def go_on_until_all_wait(self) -> None:
        self._or_restart(self.fetch.settle)

    @precondition(lambda self: self.fetch.open)
    @rule(share=st.sampled_from([0.0, 0.3, 0.9, 1.0, 1.0, 1.0]), doubled=st.booleans())
    def answer(self, share: float, doubled: bool) -> None:
        """Some of what was asked for, in any order."""
        request = self._any_request()
        entries = entries_of(ENTRIES, request.hashes)
        self.rng.shuffle(entries)
        entries = entries[: round(share * len(entries))]
        if doubled and entries:
            entries.append(entries[0])
        assert self.fetch.answer(request, entries) is None

    @precondition(lambda self: self.fetch.open)
    @rule()
    def lie(self) -> None:
        request = self._any_request()
        entries = entries_of(ENTRIES, request.hashes)[1:]
        junk = self.rng.randbytes(40)
        entries.insert(self.rng.randint(0, len(entries)), StateEntry(junk, keccak256(junk)))
        assert self.fetch.answer(request, entries) == request.peer
        self._leave(request.peer)

    @rule()
    def late_reply_is_stale(self) -> None:
        for request in self.fetch.stale:
            entries = entries_of(ENTRIES, request.hashes)
            assert self.fetch.download.on_node_data(request.request_id, entries, self.fetch.now) == (False, None)

    @precondition(lambda self: self.fetch.open)
    @rule()
    def lose_a_request(self) -> None:
        request = self._any_request()
        del self.fetch.open[request.request_id]
        assert self.fetch.download.on_request_lost(request.request_id, self.fetch.now)
        assert not self.fetch.download.on_request_lost(request.request_id, self.fetch.now)

    @rule(seconds=st.floats(0, 80))
    def time_passes(self, seconds: float) -> None:
        self.fetch.now += seconds
        for peer in self.fetch.expire():
            self._leave(peer)

    @rule(which=st.sampled_from(PEERS))
    def peer_leaves(self, which: PeerId) -> None:
        self._leave(which)

    @rule(which=st.sampled_from(PEERS))
    def peer_comes(self, which: PeerId) -> None:
        self.here.add(which)
        self.fetch.peers.join(which, 63)

    @precondition(lambda self: self.fetch.commit)
    @rule()
    def commit_gets_on_disk(self) -> None:
        self.fetch.store()

    @rule()
    def process_dies(self) -> None:
        """At a commit's border: one that was out is lost."""
        self.fetch.restart(self.state.root)

    @rule(at=st.integers(0, len(STATES) - 1))
    def pivot_moves(self, at: int) -> None:
        self.state = STATES[at]
        self.fetch.move_to(self.state.root)
        assert self.fetch.download.root == self.state.root

    @rule()
    def all_goes_well_to_the_end(self) -> None:
        self.fetch.now += 100.0
        for request in list(self.fetch.open.values()):
            self.fetch.answer(request, entries_of(ENTRIES, request.hashes))
        for peer in PEERS:
            # Whoever comes anew may have what it lacked.
            self._leave(peer)
            self.here.add(peer)
            self.fetch.peers.join(peer, 63)
        self.fetch.finish(ENTRIES)
        assert self.state.entries.items() <= self.fetch.chain.state.items()
        assert self.fetch.download.held == 0
        assert self.fetch.download.known == self.fetch.download.pulled

    @invariant()
    def what_is_stored_is_complete_below(self) -> None:
        if not hasattr(self, "fetch"):
            return
        stored = self.fetch.chain.state
        for entry_hash in stored.keys() - self.checked:
            kind, depth = KINDS[entry_hash]
            assert all(below.hash in stored for below in references(stored[entry_hash], kind, depth))
        self.checked = set(stored)

    @invariant()
    def complete_means_that_all_is_stored(self) -> None:
        if hasattr(self, "fetch") and self.fetch.download.is_complete:
            assert self.state.entries.items() <= self.fetch.chain.state.items()

    def _or_restart(self, advance: Callable[[], None]) -> None:
        try:
            advance()
        except SyncFailed as failure:
            if failure.fault is not SyncFault.PEERS_UNAVAILABLE or self.fetch.open:
                raise
            self.fetch.restart(self.state.root)

    def _any_request(self) -> RequestNodeData:
        return self.rng.choice(list(self.fetch.open.values()))

    def _leave(self, peer: PeerId) -> None:
        if peer in self.here:
            self.here.discard(peer)
            self.fetch.leave(peer)


TestStateDownload = StateMachine.TestCase
TestStateDownload.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
