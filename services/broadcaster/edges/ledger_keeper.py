"""Stamps what happens to blocks, and keeps ledger and metrics of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from services.broadcaster.core.ledger import BlockSource, Ledger
from services.broadcaster.metrics import BroadcasterMetrics
from services.shared.ethwire.types import Announce, BlockHash, PeerId


def unix_us() -> int:
    """Wall-clock time, because other processes' stamps stand beside it: on one machine they are one clock."""
    return time.time_ns() // 1000


class LedgerKeeper:
    """The ledger with this machine's clock. A block's stages are observed once, when all peers have been told of it."""

    def __init__(self, ledger: Ledger, metrics: BroadcasterMetrics, clock: Callable[[], int] = unix_us) -> None:
        self.ledger, self._metrics, self._clock = ledger, metrics, clock
        metrics.ledger_blocks.set_function(lambda: len(ledger))

    def arrived(self, peer: PeerId, block_hashes: Sequence[BlockHash], seen_us: int, *, whole: bool) -> None:
        """A peer sent or announced blocks; a gateway that does not say when is taken to have said it now."""
        duplicates = self.ledger.on_arrival(peer, block_hashes, seen_us or self._clock(), whole=whole)
        self._metrics.duplicate_blocks.inc(duplicates)

    def peer_left(self, peer: PeerId) -> None:
        self.ledger.on_peer_left(peer)

    def refused(self, block_hash: BlockHash, peers: Sequence[PeerId]) -> None:
        self.ledger.on_refused(block_hash, peers)

    def propagated(self, block: Announce, source: BlockSource, header_valid_us: int, counts: tuple[int, int]) -> None:
        self.ledger.on_propagated(block, source, header_valid_us, counts=counts, now_us=self._clock())

    def announced(self, block: Announce, source: BlockSource, imported_us: int, sent_to: int) -> None:
        record = self.ledger.on_announced(block, source, imported_us, sent_to=sent_to, now_us=self._clock())
        if record is not None:
            for stage, took_us in record.stages_us():
                self._metrics.block_stage_seconds.labels(stage).observe(took_us / 1e6)
            if record.source is BlockSource.PEER and record.forwarded_after_us is not None:
                self._metrics.first_seen_to_forwarded.observe(record.forwarded_after_us / 1e6)
