"""Whole blocks that wait for their turn to be imported (the fetcher's last stages)."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from typing import Final

from services.shared.ethwire.types import Block, BlockHash, PeerId

BLOCKS_PER_PEER: Final = 64
"""Blocks one peer may have queued; more is a memory attack."""

DISTANCE_BELOW_HEAD: Final = 7
"""A block further below our head cannot matter any more, not even as an uncle."""

DISTANCE_ABOVE_HEAD: Final = 32
"""A block further above our head is the downloader's work."""

HELD_RETRY_S: Final = 5.0
"""How often a block that is slightly in the future is tried again."""

HELD_BLOCKS: Final = 256
"""Blocks from the near future that are held; the oldest gives way."""


class BlockQueue:
    """Blocks in number order: *queued* until our head is near, then *importing*; *held* when their time has not come.

    `head_number` and `has_block` look at our chain.
    """

    def __init__(self, head_number: Callable[[], int], has_block: Callable[[BlockHash], bool]) -> None:
        self._head_number = head_number
        self._has_block = has_block
        self._queue: list[tuple[int, int, Block, PeerId]] = []
        self._queued: set[BlockHash] = set()
        self._importing: dict[BlockHash, tuple[Block, PeerId]] = {}
        self._held: dict[BlockHash, tuple[Block, PeerId]] = {}
        self._sequence = itertools.count()
        self.retry_at: float | None = None
        """When `retry_held` has work."""
        self.open_blocks: Counter[PeerId] = Counter()
        """Queued blocks of each peer that has any."""
        self.refused = 0
        """Blocks over a peer's limit or too far from our head."""
        self.over_limit = 0
        """Of these, the ones over a peer's limit: that much no honest peer has at once."""

    def __contains__(self, block_hash: BlockHash) -> bool:
        return block_hash in self._queued or block_hash in self._importing

    def is_near_head(self, number: int) -> bool:
        return -DISTANCE_BELOW_HEAD <= number - self._head_number() <= DISTANCE_ABOVE_HEAD

    def put(self, peer: PeerId, block: Block) -> bool:
        """Queue a block; False when it is here already, too far from our head, or over the peer's limit."""
        block_hash, number = block.header.hash, block.header.number
        if block_hash in self or self._has_block(block_hash):
            return False
        is_near = self.is_near_head(number)
        if not is_near or self.open_blocks[peer] >= BLOCKS_PER_PEER:
            self.refused += 1
            self.over_limit += is_near
            return False
        self.open_blocks[peer] += 1
        self._queued.add(block_hash)
        heapq.heappush(self._queue, (number, next(self._sequence), block, peer))
        return True

    def take_ready(self) -> list[tuple[Block, PeerId]]:
        """What our head has come close to, in number order; what it left behind is forgotten.

        Caller's duty: `done` for each, once its import has ended.
        """
        head = self._head_number()
        ready: list[tuple[Block, PeerId]] = []
        while self._queue and self._queue[0][0] <= head + 1:
            number, _, block, peer = heapq.heappop(self._queue)
            block_hash = block.header.hash
            self._queued.discard(block_hash)
            self.open_blocks[peer] -= 1
            if not self.open_blocks[peer]:
                del self.open_blocks[peer]
            if number + DISTANCE_BELOW_HEAD >= head and not self._has_block(block_hash):
                self._importing[block_hash] = (block, peer)
                ready.append((block, peer))
        return ready

    def done(self, block_hash: BlockHash) -> tuple[Block, PeerId]:
        """An import has ended; the block and who gave it."""
        return self._importing.pop(block_hash)

    def hold(self, block: Block, peer: PeerId, now: float) -> None:
        """Keep a block whose time has not come, to be queued again by `retry_held`."""
        if len(self._held) >= HELD_BLOCKS:
            del self._held[next(iter(self._held))]
        self._held[block.header.hash] = (block, peer)
        if self.retry_at is None:
            self.retry_at = now + HELD_RETRY_S

    def retry_held(self, now: float) -> None:
        """Queue the held blocks again, if their time to be tried has come."""
        if self.retry_at is None or self.retry_at > now:
            return
        self.retry_at = None
        held, self._held = self._held, {}
        for block, peer in held.values():
            self.put(peer, block)
