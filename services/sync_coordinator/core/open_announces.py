"""How many announces each peer has open: heard of, and neither fetched nor given up yet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from services.shared.ethwire.types import BlockHash, PeerId

ANNOUNCES_PER_PEER: Final = 256
"""Announces one peer may have open; more is a memory attack, not a busy peer."""


class OpenAnnounces:
    """The hashes of each peer; a peer without any takes no memory."""

    def __init__(self) -> None:
        self._of: dict[PeerId, set[BlockHash]] = {}

    def open(self, peer: PeerId, block_hash: BlockHash) -> bool:
        """Note one more; False when the peer has too many."""
        hashes = self._of.setdefault(peer, set())
        if len(hashes) >= ANNOUNCES_PER_PEER:
            return False
        hashes.add(block_hash)
        return True

    def close(self, peer: PeerId, block_hash: BlockHash) -> None:
        """This one is done. Caller's duty: the peer has announces open."""
        hashes = self._of[peer]
        hashes.discard(block_hash)
        if not hashes:
            del self._of[peer]

    def forget(self, peer: PeerId) -> Iterable[BlockHash]:
        """The peer is gone: what it had open."""
        return self._of.pop(peer, ())
