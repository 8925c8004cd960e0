from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.ethwire.types import BlockHash, PeerId
from services.sync_coordinator.core.peer_set import Peer, PeerSet
from services.sync_coordinator.core.peer_verdicts import PeerVerdict, judge, judge_dismissed
from tests.support.peers import ALICE, BOB

BEST = "b0b0b0b0b0b0b0b0… (bob)"


def peer(node_id: PeerId, total_difficulty: int, joined_at: float = 0.0) -> Peer:
    return Peer(
        node_id=node_id,
        gateway_id="north",
        eth_version=63,
        head_hash=BlockHash(b"h" * 32),
        total_difficulty=total_difficulty,
        client_name="bob" if node_id == BOB else "",
        joined_at=joined_at,
    )


@pytest.mark.parametrize(
    ("total_difficulty", "verdict", "words"),
    [
        (3, PeerVerdict.NOT_ABOVE_OURS, "its total difficulty is 2 below ours"),
        (5, PeerVerdict.NOT_ABOVE_OURS, "its total difficulty equals ours"),
        (6, PeerVerdict.LIGHTER, f"{BEST} has 3 more total difficulty"),
        (9, PeerVerdict.JOINED_LATER, f"{BEST} has as much total difficulty and joined earlier"),
    ],
)
def test_peer_that_is_passed_over_is_told_why(total_difficulty, verdict, words):
    assert judge(peer(ALICE, total_difficulty, joined_at=1.0), peer(BOB, 9), 5) == (verdict, words)


def test_best_peer_is_told_by_how_much():
    best = peer(BOB, 9)
    assert judge(best, best, 5) == (PeerVerdict.HEAVIEST, "it has the most total difficulty, 4 above ours")


def test_best_peer_that_is_not_above_ours_is_not_worth_a_sync():
    best = peer(BOB, 9)
    assert judge(best, best, 9).verdict is PeerVerdict.NOT_ABOVE_OURS


@pytest.mark.parametrize(
    ("ban_left_s", "verdict", "words"),
    [
        (0.0, PeerVerdict.DROPPED, "dropped 4 s ago: invalid chain"),
        (59.6, PeerVerdict.BANNED, "banned for 60 s more; dropped 4 s ago: invalid chain"),
    ],
)
def test_dropped_peer_is_told_why_and_whether_it_is_banned(ban_left_s, verdict, words):
    peers = PeerSet(max_peers=9)
    peers.join(peer(ALICE, 9))
    peers.dismiss(ALICE, "invalid chain", now=10.0)
    alice = peers.get(ALICE)
    assert alice is not None
    assert judge_dismissed(alice, ban_left_s, now=14.0) == (verdict, words)


@given(st.integers(0, 2**32), st.integers(1, 12))
def test_exactly_the_best_peer_is_the_heaviest_if_it_is_above_ours(seed, joins):
    rng = random.Random(seed)
    peers = PeerSet(max_peers=99)
    for number in range(joins):
        peers.join(peer(PeerId(bytes([number]) * 64), rng.randrange(6), joined_at=float(rng.randrange(3))))
    ours, best = rng.randrange(6), peers.best()
    assert best is not None
    verdicts = {each.node_id: judge(each, best, ours).verdict for each in peers}
    heaviest = [node_id for node_id, verdict in verdicts.items() if verdict is PeerVerdict.HEAVIEST]
    assert heaviest == ([best.node_id] if best.total_difficulty > ours else [])
    for each in peers:
        if each is not best and each.total_difficulty > ours:
            is_equal = each.total_difficulty == best.total_difficulty
            assert verdicts[each.node_id] is (PeerVerdict.JOINED_LATER if is_equal else PeerVerdict.LIGHTER)
