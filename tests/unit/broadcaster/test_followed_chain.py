import pytest

from services.broadcaster.core.followed_chain import ChainSnapshot, FollowedChain, Head, SnapshotNews
from services.shared.ethwire.types import BlockHash

GENESIS, OTHER_GENESIS = BlockHash(b"\x00" * 32), BlockHash(b"\xff" * 32)
HEAD_5 = Head(BlockHash(b"\x05" * 32), 5, 500)
HEAD_6 = Head(BlockHash(b"\x06" * 32), 6, 600)
SNAPSHOT = ChainSnapshot(1, GENESIS, HEAD_5, accepts_transactions=False)


def test_nothing_is_known_or_accepted_before_the_first_snapshot():
    chain = FollowedChain()
    assert (chain.head, chain.accepts_transactions, chain.following) == (None, False, False)


def test_the_snapshot_sets_the_head():
    chain = FollowedChain()
    assert chain.on_snapshot(SNAPSHOT) is SnapshotNews.FIRST
    assert (chain.head, chain.accepts_transactions, chain.following) == (HEAD_5, False, True)


def test_a_move_changes_the_head_and_whether_transactions_are_accepted():
    chain = FollowedChain()
    chain.on_snapshot(SNAPSHOT)
    chain.on_moved(HEAD_6, accepts_transactions=True)
    assert (chain.head, chain.accepts_transactions) == (HEAD_6, True)


def test_the_head_is_kept_while_the_coordinator_is_away():
    chain = FollowedChain()
    chain.on_snapshot(SNAPSHOT)
    chain.on_stream_ended()
    assert (chain.head, chain.following) == (HEAD_5, False)


@pytest.mark.parametrize("after_an_earlier_stream", [False, True])
def test_a_move_is_refused_when_its_stream_had_no_snapshot(after_an_earlier_stream):
    chain = FollowedChain()
    if after_an_earlier_stream:
        chain.on_snapshot(SNAPSHOT)
        chain.on_stream_ended()
    with pytest.raises(ValueError, match="snapshot"):
        chain.on_moved(HEAD_6, accepts_transactions=True)


@pytest.mark.parametrize(
    ("network_id", "genesis_hash", "news"),
    [
        (1, GENESIS, SnapshotNews.SAME_CHAIN),
        (2, GENESIS, SnapshotNews.OTHER_CHAIN),
        (1, OTHER_GENESIS, SnapshotNews.OTHER_CHAIN),
    ],
)
def test_a_later_snapshot_says_whether_the_chain_is_the_same(network_id, genesis_hash, news):
    chain = FollowedChain()
    chain.on_snapshot(SNAPSHOT)
    assert chain.on_snapshot(ChainSnapshot(network_id, genesis_hash, HEAD_6, accepts_transactions=True)) is news
    assert chain.head == HEAD_6
