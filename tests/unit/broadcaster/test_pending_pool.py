from __future__ import annotations

import pytest

from services.broadcaster.core.pending_pool import PendingPool
from services.broadcaster.core.pool_limits import LIFETIME_S, LOCAL_LIFETIME_S, PoolLimits
from services.broadcaster.core.transaction_check import Refusal, Refused
from services.shared.ethwire.types import PeerId
from tests.support.transactions import Draft

ALICE, BOB = PeerId(b"A" * 64), PeerId(b"B" * 64)
SMALL = PoolLimits(transactions=4, guaranteed_per_sender=2, remote_per_sender=3, per_peer=3)


def pool_of(*drafts: Draft, limits: PoolLimits = SMALL, source: PeerId | None = None) -> PendingPool:
    pool = PendingPool(limits)
    for draft in drafts:
        pool.add_remote(draft.checked(), source, 0.0)
    return pool


def refusal(pool: PendingPool, draft: Draft, source: PeerId | None = None, *, local: bool = False) -> Refusal:
    with pytest.raises(Refused) as caught:
        pool.add_local(draft.checked(), 0.0) if local else pool.add_remote(draft.checked(), source, 0.0)
    return caught.value.refusal


def hashes(pool: PendingPool) -> set[bytes]:
    return {pooled.hash for pooled in pool.shelves}


def hash_of(draft: Draft) -> bytes:
    return draft.checked().transaction.hash


def test_transaction_is_pooled_once():
    pool = PendingPool()
    assert pool.add_remote(Draft().checked(), ALICE, 0.0).is_new
    again = pool.add_remote(Draft().checked(), BOB, 1.0)
    assert not again.is_new
    assert (len(pool), again.pooled.source) == (1, ALICE)
    assert (pool.pooled_from(ALICE), pool.pooled_from(BOB)) == (1, 0)


def test_replacement_needs_a_tenth_more():
    pool = pool_of(Draft(price=1000))
    assert refusal(pool, Draft(price=1099)) is Refusal.REPLACEMENT
    assert refusal(pool, Draft(price=1000, value=2)) is Refusal.REPLACEMENT
    added = pool.add_remote(Draft(price=1100).checked(), None, 0.0)
    assert added.replaced is not None
    assert hashes(pool) == {hash_of(Draft(price=1100))}


def test_replacement_needs_a_tenth_more_of_tip_and_cap():
    pool = pool_of(Draft(kind=2, price=1000, tip=100))
    assert refusal(pool, Draft(kind=2, price=2000, tip=109)) is Refusal.REPLACEMENT
    assert refusal(pool, Draft(kind=2, price=1099, tip=200)) is Refusal.REPLACEMENT
    pool.add_remote(Draft(kind=2, price=1100, tip=110).checked(), None, 0.0)


def test_replacement_of_a_free_one_pays_something():
    pool = PendingPool()
    pool.add_local(Draft(price=0).checked(), 0.0)
    assert refusal(pool, Draft(price=0, value=2), local=True) is Refusal.REPLACEMENT
    assert pool.add_local(Draft(price=1).checked(), 0.0).replaced


def test_remote_sender_has_so_many_places_and_a_replacement_needs_none():
    pool = pool_of(*(Draft(nonce=nonce) for nonce in range(3)))
    assert refusal(pool, Draft(nonce=3)) is Refusal.SENDER_LIMIT
    assert pool.add_remote(Draft(nonce=2, price=2 * 10**9).checked(), None, 0.0).replaced
    assert pool.add_local(Draft(nonce=3).checked(), 0.0).is_new


def test_peer_has_so_many_places_and_a_replacement_of_its_own_needs_none():
    pool = pool_of(*(Draft(account=one) for one in range(3)), source=ALICE)
    assert pool.peer_is_full(ALICE)
    assert refusal(pool, Draft(account=3), ALICE) is Refusal.PEER_LIMIT
    assert pool.add_remote(Draft(account=0, price=2 * 10**9).checked(), ALICE, 0.0).replaced
    pool.add_remote(Draft(account=3).checked(), BOB, 0.0)
    assert refusal(pool, Draft(account=3, price=2 * 10**9), ALICE) is Refusal.PEER_LIMIT
    assert (pool.pooled_from(ALICE), pool.pooled_from(BOB)) == (3, 1)


def test_cheapest_goes_when_the_pool_is_full():
    pool = pool_of(*(Draft(account=one, price=10 + one) for one in range(4)))
    assert refusal(pool, Draft(account=9, price=10)) is Refusal.POOL_FULL
    added = pool.add_remote(Draft(account=9, price=11).checked(), None, 0.0)
    assert added.evicted is not None
    assert added.evicted.hash == hash_of(Draft(account=0, price=10))
    assert len(pool) == 4


def test_youngest_of_the_cheapest_goes_first():
    pool = pool_of(*(Draft(account=one, price=10) for one in range(4)))
    evicted = pool.add_remote(Draft(account=9, price=11).checked(), None, 0.0).evicted
    assert evicted is not None
    assert evicted.hash == hash_of(Draft(account=3, price=10))


def test_guarantee_of_a_sender_beats_price_against_those_above_theirs():
    pool = pool_of(*(Draft(nonce=nonce, price=100 + nonce) for nonce in range(3)), Draft(account=1, price=5))
    evicted = pool.add_remote(Draft(account=2, price=1).checked(), None, 0.0).evicted
    assert evicted is not None
    assert evicted.hash == hash_of(Draft(nonce=0, price=100))
    # Now nobody is above the guarantee: the cheapest of all goes, for one that pays more.
    assert refusal(pool, Draft(account=3, price=1)) is Refusal.POOL_FULL
    evicted = pool.add_remote(Draft(account=3, price=2).checked(), None, 0.0).evicted
    assert evicted is not None
    assert evicted.hash == hash_of(Draft(account=2, price=1))


def test_sender_with_its_guarantee_takes_nobody_s_place_within_theirs():
    pool = pool_of(Draft(nonce=0), Draft(nonce=1), Draft(account=1, price=5), Draft(account=2, price=5))
    assert refusal(pool, Draft(nonce=2, price=10**12)) is Refusal.POOL_FULL


def test_sender_above_its_guarantee_pays_more_than_the_cheapest_there():
    limits = PoolLimits(transactions=4, guaranteed_per_sender=1, remote_per_sender=4, per_peer=4)
    pool = pool_of(*(Draft(nonce=nonce, price=100 + nonce) for nonce in range(4)), limits=limits)
    assert refusal(pool, Draft(nonce=4, price=100)) is Refusal.SENDER_LIMIT
    pool = pool_of(*(Draft(nonce=nonce, price=100 + nonce) for nonce in range(3)), Draft(account=1), limits=limits)
    assert refusal(pool, Draft(nonce=4, price=100)) is Refusal.POOL_FULL
    evicted = pool.add_remote(Draft(nonce=4, price=101).checked(), None, 0.0).evicted
    assert evicted is not None
    assert evicted.hash == hash_of(Draft(nonce=0, price=100))


def test_cheapest_above_the_guarantee_goes_also_when_it_came_last():
    limits = PoolLimits(transactions=4, guaranteed_per_sender=1, remote_per_sender=4, per_peer=4)
    pool = pool_of(*(Draft(nonce=nonce, price=100 - nonce) for nonce in range(4)), limits=limits)
    evicted = pool.add_remote(Draft(account=1, price=1).checked(), None, 0.0).evicted
    assert evicted is not None
    assert evicted.hash == hash_of(Draft(nonce=3, price=97))


def test_local_ones_are_not_put_out_and_put_out_the_cheapest_remote_one():
    pool = PendingPool(SMALL)
    for one in range(3):
        pool.add_local(Draft(account=one, price=1).checked(), 0.0)
    pool.add_remote(Draft(account=3, price=10**12).checked(), ALICE, 0.0)
    assert refusal(pool, Draft(account=4, price=10**12)) is Refusal.POOL_FULL
    added = pool.add_local(Draft(account=5, price=0).checked(), 0.0)
    assert added.evicted is not None
    assert added.evicted.source == ALICE
    assert refusal(pool, Draft(account=6, price=10**15)) is Refusal.POOL_FULL
    assert refusal(pool, Draft(account=6, price=10**15), local=True) is Refusal.POOL_FULL
    assert pool.shelves.local_count == 4
    assert pool.pooled_from(ALICE) == 0


def test_remote_one_becomes_local_when_it_is_submitted():
    pool = pool_of(Draft(), source=ALICE)
    added = pool.add_local(Draft().checked(), 5.0)
    assert (added.is_new, added.pooled.is_local, pool.pooled_from(ALICE)) == (False, True, 0)
    assert pool.shelves.local_count == len(pool) == 1
    assert pool.expire(LIFETIME_S) == []


def test_replacement_of_a_local_one_is_local_whoever_brings_it():
    pool = PendingPool()
    pool.add_local(Draft(price=10).checked(), 0.0)
    assert pool.add_remote(Draft(price=11).checked(), ALICE, 0.0).pooled.is_local


def test_transactions_expire_remote_ones_first():
    pool = PendingPool()
    pool.add_remote(Draft(account=0).checked(), ALICE, 0.0)
    pool.add_local(Draft(account=1).checked(), 0.0)
    pool.add_remote(Draft(account=2).checked(), ALICE, 1.0)
    assert pool.expire(LIFETIME_S - 0.001) == []
    assert [gone.hash for gone in pool.expire(LIFETIME_S)] == [hash_of(Draft(account=0))]
    assert len(pool) == 2
    assert {gone.hash for gone in pool.expire(LOCAL_LIFETIME_S)} == {hash_of(Draft(account=one)) for one in (1, 2)}


def test_included_transaction_leaves_with_those_whose_nonce_is_used():
    pool = pool_of(*(Draft(nonce=nonce) for nonce in range(3)), Draft(account=1))
    effect = pool.on_chain_moved([], [Draft(nonce=1).checked()], 0.0)
    assert [gone.hash for gone in effect.included] == [hash_of(Draft(nonce=1))]
    assert [gone.hash for gone in effect.outdated] == [hash_of(Draft(nonce=0))]
    assert hashes(pool) == {hash_of(Draft(nonce=2)), hash_of(Draft(account=1))}


def test_used_nonce_is_refused_until_its_block_is_undone():
    pool = PendingPool()
    pool.on_chain_moved([], [Draft(nonce=4).checked()], 0.0)
    assert refusal(pool, Draft(nonce=4)) is Refusal.NONCE_USED
    assert refusal(pool, Draft(nonce=0), local=True) is Refusal.NONCE_USED
    pool.on_chain_moved([Draft(nonce=4).checked()], [], 0.0)
    assert refusal(pool, Draft(nonce=3)) is Refusal.NONCE_USED
    assert hashes(pool) == {hash_of(Draft(nonce=4))}


def test_transactions_of_undone_blocks_come_back_unless_the_new_branch_has_them():
    first, second, third = Draft(nonce=0), Draft(nonce=1), Draft(account=1)
    pool = PendingPool()
    pool.on_chain_moved([], [first.checked(), second.checked(), third.checked()], 0.0)
    effect = pool.on_chain_moved(
        [third.checked(), second.checked(), first.checked()], [first.checked(), Draft(account=2).checked()], 0.0
    )
    assert [added.pooled.hash for added in effect.returned] == [hash_of(second), hash_of(third)]
    assert effect.not_returned == []
    assert hashes(pool) == {hash_of(second), hash_of(third)}
    assert refusal(pool, first) is Refusal.NONCE_USED


def test_undone_transaction_whose_nonce_the_new_branch_used_is_told():
    pool = PendingPool()
    pool.on_chain_moved([], [Draft(value=1).checked()], 0.0)
    effect = pool.on_chain_moved([Draft(value=1).checked()], [Draft(value=2).checked()], 0.0)
    assert [(one.transaction.hash, why.refusal) for one, why in effect.not_returned] == [
        (hash_of(Draft(value=1)), Refusal.NONCE_USED)
    ]


def test_local_one_is_local_again_when_its_block_is_undone():
    pool = PendingPool()
    pool.add_local(Draft().checked(), 0.0)
    pool.on_chain_moved([], [Draft().checked()], 0.0)
    assert len(pool) == 0
    (added,) = pool.on_chain_moved([Draft().checked()], [], 0.0).returned
    assert added.pooled.is_local


def test_used_nonces_are_forgotten_when_blocks_were_missed():
    pool = PendingPool()
    pool.on_chain_moved([], [Draft().checked()], 0.0)
    pool.on_blocks_missed()
    assert pool.add_remote(Draft().checked(), ALICE, 0.0).is_new


def test_pages_name_every_transaction_once():
    drafts = [Draft(account=one % 5, nonce=one // 5) for one in range(23)]
    pool = pool_of(*drafts, limits=PoolLimits())
    seen, after = [], None
    while page := pool.shelves.page(after, 4):
        seen += page
        after = page[-1].sender, page[-1].transaction.nonce
    assert [pooled.hash for pooled in seen] == [
        pooled.hash for pooled in sorted(pool.shelves, key=lambda pooled: (pooled.sender, pooled.transaction.nonce))
    ]
    sender = drafts[0].checked().sender
    assert {pooled.sender for pooled in pool.shelves.page(None, 100, sender)} == {sender}


def test_pool_is_empty_when_cleared():
    pool = pool_of(Draft(), Draft(account=1), source=ALICE)
    assert len(pool.clear()) == 2
    assert (len(pool), pool.pooled_from(ALICE), pool.shelves.size_bytes) == (0, 0, 0)
