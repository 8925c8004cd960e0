from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.ethwire.types import BlockHash, PeerId
from services.sync_coordinator.core.peer_set import Peer, PeerSet
from services.sync_coordinator.core.sync_actions import SyncPhase, SyncProgress
from services.sync_coordinator.core.sync_cycle import Situation, SyncCause, SyncCycle, SyncVerdict
from services.sync_coordinator.core.sync_faults import SyncFault
from services.sync_coordinator.core.sync_history import DECISIONS_KEPT, SyncEnd
from tests.support.peers import ALICE, BOB, MALLORY

DONE = SyncEnd(at=130.0, fault=None, blocks=12, duration_s=3.0)


def cycle() -> SyncCycle:
    return SyncCycle(min_peers=5, force_cycle_s=10.0, now=100.0)


def heavy(total_difficulty: int, node_id: PeerId = ALICE, *, static: bool = False, trusted: bool = False) -> Peer:
    return Peer(
        node_id=node_id,
        gateway_id="north",
        eth_version=63,
        head_hash=BlockHash(b"h" * 32),
        total_difficulty=total_difficulty,
        client_name="Geth/v1.8",
        static=static,
        trusted=trusted,
    )


def at(
    candidate: Peer | None, peer_count: int, ours: int, now: float = 104.0, progress: SyncProgress | None = None
) -> Situation:
    return Situation(candidate=candidate, peer_count=peer_count, ours=ours, now=now, progress=progress)


def running(candidate: Peer | None = None) -> SyncCycle:
    """A cycle whose sync with alice began at 104."""
    one = cycle()
    assert one.decide(SyncCause.FORCED, at(candidate or heavy(9), 1, 1)).verdict is SyncVerdict.START
    return one


def progress(phase: SyncPhase, **changes: Any) -> SyncProgress:
    return SyncProgress(phase=phase, master=ALICE, current_block=30, highest_block=90, **changes)


def test_new_peer_starts_a_sync_only_once_enough_are_connected():
    few = cycle().decide(SyncCause.PEER_JOINED, at(heavy(9), 4, ours=1))
    assert few.verdict is SyncVerdict.TOO_FEW_PEERS
    assert few.explanation == (
        "4 peers are connected, 5 are waited for, and the best one is neither static nor trusted; it is followed all "
        "the same at the latest when the forced cycle comes round, in 6.0 s"
    )
    enough = cycle().decide(SyncCause.PEER_JOINED, at(heavy(9), 5, ours=1))
    assert enough.verdict is SyncVerdict.START
    assert enough.master == heavy(9)


@pytest.mark.parametrize("cause", [cause for cause in SyncCause if cause is not SyncCause.PEER_JOINED])
def test_other_causes_start_a_sync_whatever_the_count(cause):
    assert cycle().decide(cause, at(heavy(9), 1, ours=1)).verdict is SyncVerdict.START


@pytest.mark.parametrize(("theirs", "told"), [(7, "its total difficulty is 1 below ours"), (8, "equals ours")])
def test_no_sync_starts_when_the_peer_is_not_above_ours(theirs, told):
    decision = cycle().decide(SyncCause.FORCED, at(heavy(theirs), 9, ours=8))
    assert decision.verdict is SyncVerdict.NOT_ABOVE_OURS
    assert told in decision.explanation


def test_few_peers_are_not_blamed_when_the_best_is_not_above_ours():
    assert cycle().explain(at(heavy(8), 1, ours=8)).verdict is SyncVerdict.NOT_ABOVE_OURS


def test_no_sync_starts_without_a_peer():
    decision = cycle().decide(SyncCause.FORCED, at(None, 0, ours=8))
    assert (decision.verdict, decision.explanation) == (SyncVerdict.NO_PEERS, "no peer is connected")


def test_no_sync_starts_with_a_peer_that_is_being_disconnected():
    peers = PeerSet(max_peers=9)
    peers.join(heavy(9))
    peers.dismiss(ALICE, "timeout: too slow", now=103.0)
    decision = cycle().decide(SyncCause.STATIC_PEER_JOINED, at(peers.get(ALICE), 0, ours=1))
    assert decision.verdict is SyncVerdict.PEER_DROPPED
    assert decision.explanation == f"{ALICE.hex()[:16]}… (Geth/v1.8) is being disconnected: timeout: too slow"


def test_one_sync_runs_at_a_time():
    one = running()
    busy = one.decide(SyncCause.OPERATOR, at(heavy(99, BOB), 1, ours=1, now=107.0))
    assert busy.verdict is SyncVerdict.BUSY
    assert busy.explanation == f"a sync with {ALICE.hex()[:16]}… (Geth/v1.8) has run for 3 s"
    one.on_sync_ended(DONE)
    assert not one.busy
    assert one.decide(SyncCause.OPERATOR, at(heavy(9), 1, ours=1)).verdict is SyncVerdict.START


@pytest.mark.parametrize(
    ("phase", "told"),
    [
        (SyncPhase.HEIGHT, "has run for 3 s, asking for the height"),
        (SyncPhase.ANCESTOR, "has run for 3 s, searching the common ancestor"),
        (SyncPhase.DOWNLOAD, "has run for 3 s, downloading at block 30 of 90"),
        (SyncPhase.ENDING, "has run for 3 s, ending"),
    ],
)
def test_busy_tells_the_phase(phase, told):
    decision = running().explain(at(heavy(99, BOB), 1, ours=1, now=107.0, progress=progress(phase)))
    assert decision.verdict is SyncVerdict.BUSY
    assert decision.explanation.endswith(told)


def test_throttled_is_told_when_the_import_is_waited_for():
    waits = progress(SyncPhase.DOWNLOAD, throttled=True, blocks_waiting=8192)
    decision = running().explain(at(heavy(9), 1, ours=1, progress=waits))
    assert decision.verdict is SyncVerdict.THROTTLED
    assert decision.explanation.endswith("asks for no more until the import has taken some of 8192 waiting results")


def test_explanation_of_an_idle_cycle_tells_when_the_due_sync_starts():
    decision = cycle().explain(at(heavy(9, static=True), 1, ours=1))
    assert decision.verdict is SyncVerdict.START
    assert decision.explanation.startswith(f"a sync with {ALICE.hex()[:16]}… (Geth/v1.8) is due: ")
    assert decision.explanation.endswith("in 6.0 s")


def test_looking_changes_nothing():
    one = cycle()
    for _ in range(3):
        assert one.look(SyncCause.FORCED, at(heavy(9), 1, ours=1)).verdict is SyncVerdict.START
        assert one.explain(at(heavy(9), 9, ours=1)).verdict is SyncVerdict.START
    assert not one.busy
    assert one.history.newest() == []


def test_forced_cycle_comes_round_every_ten_seconds():
    one = cycle()
    assert one.next_wakeup() == 110.0
    assert one.forced_in_s(103.0) == 7.0
    assert not one.on_wakeup(109.9)
    assert one.on_wakeup(110.0)
    assert one.next_wakeup() == 120.0
    assert one.forced_in_s(121.0) == 0.0


def test_history_counts_equal_decisions_in_a_row_as_one():
    one = cycle()
    for second in range(4):
        one.decide(SyncCause.FORCED, at(heavy(8), 1, ours=8, now=110.0 + second))
    one.decide(SyncCause.OPERATOR, at(heavy(8, BOB), 1, ours=8, now=120.0))
    newest, before = one.history.newest()
    assert (newest.times, newest.candidate, newest.cause) == (1, BOB, SyncCause.OPERATOR)
    assert (before.times, before.at, before.last_at, before.theirs, before.ours) == (4, 110.0, 113.0, 8, 8)


def test_history_keeps_the_newest_and_the_last_sync_however_long_ago():
    one = running()
    failed = SyncEnd(at=105.0, fault=SyncFault.TIMEOUT, detail="no answer in phase height")
    one.on_sync_ended(failed)
    for number in range(2 * DECISIONS_KEPT):
        one.decide(SyncCause.FORCED, at(heavy(1, (ALICE, BOB)[number % 2]), 1, ours=8))
    assert len(one.history.newest()) == DECISIONS_KEPT
    last = one.history.last
    assert last is not None
    assert (last.cause, last.candidate, last.end) == (SyncCause.FORCED, ALICE, failed)


def test_running_sync_is_no_last_sync_before_it_has_ended():
    one = running()
    assert one.history.last is None
    assert one.history.running is not None
    assert one.history.running.end is None
    one.on_sync_ended(DONE)
    assert one.history.running is None
    assert one.history.newest()[0].end is DONE


@given(st.integers(0, 2**32), st.integers(0, 12))
def test_explanation_is_what_the_cycle_then_does_for_any_peers(seed, joins):
    rng = random.Random(seed)
    peers = PeerSet(max_peers=99)
    for number in range(joins):
        node_id = PeerId(bytes([number]) * 64)
        peer = heavy(rng.randrange(9), node_id, static=rng.random() < 0.2, trusted=rng.random() < 0.2)
        peer.joined_at = rng.randrange(3)
        peers.join(peer)
        if rng.random() < 0.3:
            peers.dismiss(node_id, "timeout", now=1.0)
    one = cycle()
    if rng.random() < 0.3:
        one.decide(SyncCause.FORCED, at(heavy(9, MALLORY), 1, ours=0))
    phase, throttled = rng.choice(list(SyncPhase)), rng.random() < 0.5
    best = peers.best()
    situation = at(
        best, peers.candidates, rng.randrange(9), progress=progress(phase, throttled=throttled) if one.busy else None
    )
    told = one.explain(situation)
    is_kept = best is not None and (best.static or best.trusted)
    was_busy = one.busy
    done = one.decide(SyncCause.STATIC_PEER_JOINED if is_kept else SyncCause.PEER_JOINED, situation)
    assert (told.verdict, told.master) == (done.verdict, done.master)
    assert one.busy == (was_busy or told.verdict is SyncVerdict.START)
    # And that is the rule itself, said another way.
    is_enough = is_kept or peers.candidates >= 5
    starts = not was_busy and best is not None and best.total_difficulty > situation.ours and is_enough
    assert (done.verdict is SyncVerdict.START) == starts
    assert done.master is (best if starts else None)


@given(st.integers(0, 2**32), st.sampled_from(list(SyncCause)))
def test_what_is_looked_at_is_what_is_decided_for_every_cause(seed, cause):
    rng = random.Random(seed)
    one = cycle()
    for _ in range(6):
        candidate = rng.choice([None, heavy(rng.randrange(5)), heavy(rng.randrange(5), BOB)])
        situation = at(candidate, rng.randrange(9), ours=rng.randrange(5))
        looked = one.look(cause, situation)
        assert one.decide(cause, situation) == looked
        if one.busy and rng.random() < 0.5:
            one.on_sync_ended(DONE)
