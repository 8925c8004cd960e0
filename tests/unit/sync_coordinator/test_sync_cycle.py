from __future__ import annotations

import pytest

from services.shared.ethwire.types import BlockHash, PeerId
from services.sync_coordinator.core.peer_set import Peer
from services.sync_coordinator.core.sync_cycle import SyncCause, SyncCycle, SyncVerdict
from tests.support.peers import ALICE


def cycle() -> SyncCycle:
    return SyncCycle(min_peers=5, force_cycle_s=10.0, now=100.0)


def heavy(total_difficulty: int) -> Peer:
    return Peer(
        node_id=PeerId(ALICE),
        gateway_id="north",
        eth_version=63,
        head_hash=BlockHash(b"h" * 32),
        total_difficulty=total_difficulty,
    )


def test_new_peer_starts_a_sync_only_once_enough_are_connected():
    few = cycle().decide(SyncCause.PEER_JOINED, heavy(9), 4, ours=1)
    assert few.verdict is SyncVerdict.TOO_FEW_PEERS
    assert "4 peers are connected, 5 are waited for" in few.explanation
    enough = cycle().decide(SyncCause.PEER_JOINED, heavy(9), 5, ours=1)
    assert enough.verdict is SyncVerdict.START
    assert enough.master == heavy(9)


@pytest.mark.parametrize("cause", [cause for cause in SyncCause if cause is not SyncCause.PEER_JOINED])
def test_other_causes_start_a_sync_whatever_the_count(cause):
    assert cycle().decide(cause, heavy(9), 1, ours=1).verdict is SyncVerdict.START


@pytest.mark.parametrize("theirs", [7, 8])
def test_no_sync_starts_when_the_peer_is_not_above_ours(theirs):
    assert cycle().decide(SyncCause.FORCED, heavy(theirs), 9, ours=8).verdict is SyncVerdict.NOT_ABOVE_OURS


def test_no_sync_starts_without_a_peer():
    assert cycle().decide(SyncCause.FORCED, None, 0, ours=8).verdict is SyncVerdict.NO_PEERS


def test_one_sync_runs_at_a_time():
    one = cycle()
    assert one.decide(SyncCause.FORCED, heavy(9), 1, ours=1).verdict is SyncVerdict.START
    assert one.decide(SyncCause.OPERATOR, heavy(9), 1, ours=1).verdict is SyncVerdict.BUSY
    one.on_sync_ended()
    assert one.decide(SyncCause.OPERATOR, heavy(9), 1, ours=1).verdict is SyncVerdict.START


def test_forced_cycle_comes_round_every_ten_seconds():
    one = cycle()
    assert one.next_wakeup() == 110.0
    assert not one.on_wakeup(109.9)
    assert one.on_wakeup(110.0)
    assert one.next_wakeup() == 120.0
