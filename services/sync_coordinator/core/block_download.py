"""Bodies and receipts for linked headers: which to ask for, whose each is."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from operator import attrgetter
from typing import Final, Generic, NamedTuple, TypeVar

from services.shared.ethwire.bodies import BLOOM_BYTES
from services.shared.ethwire.hashing import EMPTY_TRIE_ROOT
from services.shared.ethwire.types import BlockReceipts, Body, Header
from services.sync_coordinator.core.block_assembly import BlockAssembly
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.linked_headers import LinkedHeaders
from services.sync_coordinator.core.part_queue import PartQueue, Reservation
from services.sync_coordinator.core.sync_faults import SyncFailed, SyncFault

Content = TypeVar("Content")


NO_BLOOM: Final = bytes(BLOOM_BYTES)


class Matched(NamedTuple):
    """What a reply is worth: the reserved headers it left out, and whether it holds something nobody asked for."""

    missing: Sequence[Header]
    has_foreign: bool


class ContentDownload(Generic[Content]):
    """One kind of content of a sync's blocks. Every block of the window has it here, in the queue or in flight.

    `promised` is what a header says of its content, `found` what we computed from the content itself.
    """

    def __init__(
        self,
        config: DownloaderConfig,
        *,
        promised: Callable[[Header], Hashable],
        found: Callable[[Content], Hashable],
        accept: Callable[[Header, Content], None],
    ) -> None:
        self._promised = promised
        self._found = found
        self._accept = accept
        self.queue: PartQueue[Header] = PartQueue(
            order=attrgetter("number"),
            key=attrgetter("hash"),
            requests_per_peer=config.requests_per_peer,
            lacking_per_peer=config.lacking_per_peer,
        )
        self.fetched = 0
        """Contents that were accepted."""

    def match(self, reservation: Reservation[Header], contents: Sequence[Content]) -> Matched:
        """Give each content to the reserved header it belongs to. The caller settles the request.

        Peers leave out what they do not have, so a content belongs to the next header that promised it. An
        empty reply marks everything it left out as lacking; a partial one, cut off for its size, nothing.
        """
        headers = reservation.parts
        if not contents:
            self.queue.mark_lacking(reservation.peer, headers)
            return Matched(headers, False)
        missing: list[Header] = []
        position, count = 0, len(headers)
        promised, accept = self._promised, self._accept
        has_foreign = False
        for content in contents:
            found = self._found(content)
            while position < count:
                header = headers[position]
                position += 1
                if promised(header) == found:
                    accept(header, content)
                    break
                missing.append(header)
            else:
                has_foreign = True
                break
        missing.extend(headers[position:])
        self.fetched += count - len(missing)
        return Matched(missing, has_foreign)


class BlockDownload:
    """The blocks of one sync, from their headers on."""

    def __init__(self, config: DownloaderConfig, *, with_receipts: bool = False) -> None:
        self._with_receipts = with_receipts
        self.assembly = BlockAssembly(config, with_receipts=with_receipts)
        self.bodies: ContentDownload[Body] = ContentDownload(
            config,
            promised=attrgetter("transactions_root", "uncles_hash"),
            found=attrgetter("transactions_root", "uncles_hash"),
            accept=lambda header, body: self.assembly.add_body(header, body.body_rlp),
        )
        self.receipts: ContentDownload[BlockReceipts] = ContentDownload(
            config,
            promised=attrgetter("receipts_root"),
            found=attrgetter("receipts_root"),
            accept=self._add_receipts,
        )
        """Idle where blocks are complete without."""

    def open(self, headers: LinkedHeaders) -> None:
        """Take in as many headers as the window has room for. Raises SyncFailed as `receipts` do."""
        room = self.assembly.room()
        if room > 0 and len(headers):
            taken = headers.take(room)
            if self._with_receipts:
                for header in taken:
                    if header.receipts_root == EMPTY_TRIE_ROOT:
                        _check_totals(header, NO_BLOOM, 0)
            needed = self.assembly.open(taken)
            self.bodies.queue.schedule(needed.bodies)
            self.receipts.queue.schedule(needed.receipts)

    def _add_receipts(self, header: Header, receipts: BlockReceipts) -> None:
        _check_totals(header, receipts.bloom, receipts.gas_used)
        self.assembly.add_receipts(header, receipts.receipts_rlp)


def _check_totals(header: Header, bloom: bytes, gas_used: int) -> None:
    """Their root is the header's; what else it says of its receipts must be true, or nobody's chain has this block."""
    if bloom != header.bloom or gas_used != header.gas_used:
        what = "bloom" if bloom != header.bloom else f"gas used, {gas_used},"
        raise SyncFailed(
            SyncFault.INVALID_CHAIN, f"header {header.number} 0x{header.hash.hex()}: its receipts' {what} is another"
        )
