"""What the feed shows of a store."""

from __future__ import annotations

import pytest

from services.shared.ethwire.headers import with_hash
from services.shared.ethwire.types import Block
from services.sync_coordinator.core.fork_choice import extend_blocks, extend_headers
from services.sync_coordinator.edges.block_feed import MAX_NUMBER, ShownChain, stored_receipts
from services.sync_coordinator.store.lmdb_store import LmdbChainStore
from tests.support.chain_maker import made_chain, made_genesis

CHAIN = made_chain(60)


@pytest.fixture
def store(tmp_path):
    """A light node's headers to 60, of which a full sync has the bodies to 20."""
    store = LmdbChainStore.open(tmp_path / "chain", made_genesis().head)
    store.commit(extend_headers(store, CHAIN.headers[1:]))
    store.commit(extend_blocks(store, [CHAIN.block(number) for number in range(1, 21)]))
    yield store
    store.close()


@pytest.mark.parametrize(
    ("has_bodies", "start", "last"), [(True, 0, 20), (True, 15, 20), (False, 0, 31), (False, 40, 60)]
)
def test_blocks_are_shown_as_far_as_bodies_are_stored_where_they_are_kept(store, has_bodies, start, last):
    shown = ShownChain(store, MAX_NUMBER, has_bodies=has_bodies).shown_headers(start, 32)
    assert [header.block for header in shown] == [(each.number, each.hash) for each in CHAIN.headers[start : last + 1]]
    assert [header.parent_hash for header in shown] == [each.parent_hash for each in CHAIN.headers[start : last + 1]]


@pytest.mark.parametrize("start", [0, 11, 12, 61, MAX_NUMBER, MAX_NUMBER + 1])
def test_nothing_above_the_ceiling_is_shown(store, start):
    shown = ShownChain(store, 11, has_bodies=False).shown_headers(start, 32)
    assert [header.block.number for header in shown] == list(range(start, 12))


def test_receipts_are_told_from_none_stored_and_from_none_there(store):
    other_root = b"\x11" * 32
    parent = CHAIN.headers[20]
    blocks = [
        Block(
            with_hash(CHAIN.headers[21]._replace(receipts_root=other_root, coinbase=bytes([branch] * 20))),
            b"\xc2\xc0\xc0",
        )
        for branch in (1, 2)
    ]
    assert all(block.header.parent_hash == parent.hash for block in blocks)
    stored, missing = blocks
    store.commit(extend_blocks(store, [stored], {stored.header.hash: b"\xc2\xc1\x01"}))
    store.commit(extend_blocks(store, [missing]))
    assert stored_receipts(store, stored.header.hash) == b"\xc2\xc1\x01"
    assert stored_receipts(store, missing.header.hash) is None
    assert stored_receipts(store, parent.hash) == b"\xc0"
