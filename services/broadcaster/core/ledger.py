"""How the last blocks spread: who was first with each, when it was judged, and to how many it was sent."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from services.shared.ethwire.types import Announce, BlockHash, PeerId

REMEMBERED_BLOCKS: Final = 2_000
"""Blocks whose spread is remembered: seven hours at one in 13 s, about 2 MB."""

HEARD_PER_PEER: Final = 64
"""Hashes kept that one peer was the first to name and the coordinator has not confirmed. More than may be under way at
once; who names made-up ones pushes out only its own."""

HEARD_PEERS: Final = 4_096
"""Peers of which such hashes are kept: more than a broadcaster has. Of more, those heard of first are forgotten."""


class BlockSource(enum.Enum):
    """How a block came to us."""

    PEER = "peer"
    SUBMITTED = "submitted"
    SYNCED = "synced"


@dataclass(slots=True)
class BlockRecord:
    """One block's way. Times are microseconds since 1970, 0 for what has not happened."""

    block_hash: BlockHash
    number: int = 0
    source: BlockSource | None = None
    """None until the coordinator has named the block."""
    first_seen_us: int = 0
    first_seen_from: PeerId | None = None
    first_seen_whole: bool = False
    whole_arrivals: int = 0
    hash_arrivals: int = 0
    header_valid_us: int = 0
    imported_us: int = 0
    propagated_us: int = 0
    propagated_to: int = 0
    lacked_by: int = 0
    announced_us: int = 0
    announced_to: int = 0
    refused_by: int = 0

    @property
    def duplicates(self) -> int:
        """Arrivals after the first; all of them, where the block was ours before any peer had it."""
        arrivals = self.whole_arrivals + self.hash_arrivals
        return arrivals if self.source is BlockSource.SUBMITTED else max(0, arrivals - 1)

    @property
    def forwarded_after_us(self) -> int | None:
        """From a peer's first word of it until it was sent on; None where that was not, or clocks contradict."""
        known = 0 < self.first_seen_us <= self.propagated_us
        return self.propagated_us - self.first_seen_us if known else None

    def stages_us(self) -> Iterator[tuple[str, int]]:
        """How long each ended stage took. One that ends before it began, by clocks that differ, is left out."""
        for name, start, end in (
            ("seen_to_valid", self.first_seen_us, self.header_valid_us),
            ("valid_to_propagated", self.header_valid_us, self.propagated_us),
            ("valid_to_imported", self.header_valid_us, self.imported_us),
            ("imported_to_announced", self.imported_us, self.announced_us),
        ):
            if 0 < start <= end:
                yield name, end - start


@dataclass(slots=True)
class FirstPeer:
    """A peer that was first with some of the remembered blocks."""

    peer: PeerId
    first: int = 0
    first_whole: int = 0
    last_first_us: int = 0


class Ledger:
    """Blocks the coordinator named, in the order it did; hashes that only peers named are *heard*, and bounded by peer.

    The earliest sight counts, not the one that is told first: gateways' messages overtake each other.
    """

    def __init__(self, remembered: int = REMEMBERED_BLOCKS, heard_per_peer: int = HEARD_PER_PEER) -> None:
        self._remembered, self._heard_per_peer = remembered, heard_per_peer
        self._records: dict[BlockHash, BlockRecord] = {}
        self._heard: dict[BlockHash, tuple[BlockRecord, PeerId]] = {}
        self._heard_from: dict[PeerId, dict[BlockHash, None]] = {}
        self._firsts: dict[PeerId, FirstPeer] = {}

    def __len__(self) -> int:
        return len(self._records)

    @property
    def heard(self) -> int:
        """Hashes that only peers have named."""
        return len(self._heard)

    def get(self, block_hash: BlockHash) -> BlockRecord | None:
        return self._records.get(block_hash)

    def newest(self, count: int) -> list[BlockRecord]:
        """The last `count` blocks, oldest first."""
        records = list(itertools.islice(reversed(self._records.values()), count))
        return records[::-1]

    def first_peers(self) -> list[FirstPeer]:
        """Most first; of equals the one that was so last."""
        return sorted(self._firsts.values(), key=lambda one: (one.first, one.last_first_us), reverse=True)

    def on_arrival(self, peer: PeerId, block_hashes: Sequence[BlockHash], seen_us: int, *, whole: bool) -> int:
        """A peer sent a whole block, or hashes. Of too many at once only the latest are looked at.

        Returns how many were heard of before.
        """
        duplicates = 0
        for block_hash in block_hashes[-self._heard_per_peer :]:
            record = self._records.get(block_hash)
            if record is None:
                record = self._hear(peer, block_hash)
            before = record.duplicates
            if whole:
                record.whole_arrivals += 1
            else:
                record.hash_arrivals += 1
            duplicates += record.duplicates - before
            if not record.first_seen_us or seen_us < record.first_seen_us:
                self._count_first(record, -1)
                record.first_seen_us, record.first_seen_from, record.first_seen_whole = seen_us, peer, whole
                self._count_first(record, 1)
        return duplicates

    def on_propagated(
        self, block: Announce, source: BlockSource, header_valid_us: int, *, counts: tuple[int, int], now_us: int
    ) -> None:
        """`counts`: to how many peers the block was sent, out of how many that lacked it."""
        record = self._confirm(block, source)
        record.header_valid_us = record.header_valid_us or header_valid_us
        record.propagated_us = record.propagated_us or now_us
        record.propagated_to += counts[0]
        record.lacked_by = max(record.lacked_by, counts[1])

    def on_announced(
        self, block: Announce, source: BlockSource, imported_us: int, *, sent_to: int, now_us: int
    ) -> BlockRecord | None:
        """All peers have been told; the record, when that is the first time."""
        record = self._confirm(block, source)
        is_first = not record.announced_us
        record.imported_us = record.imported_us or imported_us
        record.announced_us = record.announced_us or now_us
        record.announced_to += sent_to
        return record if is_first else None

    def on_refused(self, block_hash: BlockHash, peers: Sequence[PeerId]) -> None:
        """These peers had no room for the whole block."""
        record = self._records.get(block_hash)
        if record is not None:
            record.refused_by += len(peers)

    def on_peer_left(self, peer: PeerId) -> None:
        """Its hashes that were not confirmed are forgotten; what it was first with stays."""
        for block_hash in self._heard_from.pop(peer, ()):
            del self._heard[block_hash]

    def _hear(self, peer: PeerId, block_hash: BlockHash) -> BlockRecord:
        if block_hash in self._heard:
            return self._heard[block_hash][0]
        if peer not in self._heard_from and len(self._heard_from) >= HEARD_PEERS:
            self.on_peer_left(next(iter(self._heard_from)))
        own = self._heard_from.setdefault(peer, {})
        if len(own) >= self._heard_per_peer:
            oldest = next(iter(own))
            del own[oldest], self._heard[oldest]
        own[block_hash] = None
        record = BlockRecord(block_hash)
        self._heard[block_hash] = record, peer
        return record

    def _confirm(self, block: Announce, source: BlockSource) -> BlockRecord:
        record = self._records.get(block.block_hash)
        if record is not None:
            return record
        heard = self._heard.pop(block.block_hash, None)
        if heard is not None:
            record, owner = heard
            del self._heard_from[owner][block.block_hash]
        else:
            record = BlockRecord(block.block_hash)
        record.number, record.source = block.number, source
        while len(self._records) >= self._remembered:
            gone = self._records.pop(next(iter(self._records)))
            self._count_first(gone, -1)
        self._records[block.block_hash] = record
        self._count_first(record, 1)
        return record

    def _count_first(self, record: BlockRecord, step: int) -> None:
        """Only blocks that the coordinator named count for a peer."""
        peer = record.first_seen_from
        if peer is None or record.source is None:
            return
        first = self._firsts.setdefault(peer, FirstPeer(peer))
        first.first += step
        first.first_whole += step * record.first_seen_whole
        first.last_first_us = max(first.last_first_us, record.first_seen_us)
        if not first.first:
            del self._firsts[peer]
