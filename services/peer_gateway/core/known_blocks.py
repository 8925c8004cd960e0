"""Which blocks passed between us and one peer lately."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from services.shared.ethwire.types import BlockHash

REMEMBERED_BLOCKS: Final = 64
"""Hashes kept per peer: at one block in 13 s this is the last quarter of an hour, far longer than a block
takes to cross both links. Forgetting only ever costs a duplicate."""


class KnownBlocks:
    """The last block hashes seen to or from a peer, oldest first; never more than `REMEMBERED_BLOCKS`."""

    def __init__(self) -> None:
        self._hashes: dict[BlockHash, None] = {}

    def __contains__(self, block_hash: BlockHash) -> bool:
        return block_hash in self._hashes

    def add(self, hashes: Iterable[BlockHash]) -> None:
        for block_hash in hashes:
            self._hashes.pop(block_hash, None)
            self._hashes[block_hash] = None
        while len(self._hashes) > REMEMBERED_BLOCKS:
            del self._hashes[next(iter(self._hashes))]

    def joined(self) -> bytes:
        """All hashes, 32 bytes each, oldest first."""
        return b"".join(self._hashes)
