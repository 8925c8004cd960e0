"""The last blocks that passed between us and a peer."""

from __future__ import annotations

from services.peer_gateway.core.known_blocks import REMEMBERED_BLOCKS, KnownBlocks
from services.shared.ethwire.types import BlockHash


def block_hash(number: int) -> BlockHash:
    return BlockHash(number.to_bytes(32))


def test_hash_is_known_once_added():
    known = KnownBlocks()
    assert block_hash(1) not in known
    known.add([block_hash(1)])
    assert block_hash(1) in known


def test_oldest_hash_is_forgotten_over_the_limit():
    known = KnownBlocks()
    known.add(block_hash(number) for number in range(REMEMBERED_BLOCKS + 1))
    assert block_hash(0) not in known
    assert block_hash(1) in known
    assert len(known.joined()) == 32 * REMEMBERED_BLOCKS


def test_hash_seen_again_counts_as_new():
    known = KnownBlocks()
    known.add(block_hash(number) for number in range(REMEMBERED_BLOCKS))
    known.add([block_hash(0)])
    known.add([block_hash(REMEMBERED_BLOCKS)])
    assert block_hash(0) in known
    assert block_hash(1) not in known


def test_hashes_are_joined_oldest_first():
    known = KnownBlocks()
    known.add([block_hash(5), block_hash(3), block_hash(5)])
    assert known.joined() == block_hash(3) + block_hash(5)
