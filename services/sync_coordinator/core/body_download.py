"""Bodies for linked headers: which to ask for, and which block a body belongs to (SPEC section 4, step 4)."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

from services.shared.ethwire.types import Body, Header
from services.sync_coordinator.core.block_assembly import BlockAssembly
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.linked_headers import LinkedHeaders
from services.sync_coordinator.core.part_queue import PartQueue, Reservation


class MatchedBodies(NamedTuple):
    """What a reply is worth: the reserved headers it left out, and whether it holds a body nobody asked for."""

    missing: Sequence[Header]
    has_foreign_body: bool


class BodyDownload:
    """The bodies of one sync. Every block of the window has its body here, in the queue or in flight."""

    def __init__(self, config: DownloaderConfig) -> None:
        self.assembly = BlockAssembly(config)
        self.queue: PartQueue[Header] = PartQueue(
            order=attrgetter("number"),
            key=attrgetter("hash"),
            requests_per_peer=config.requests_per_peer,
            lacking_per_peer=config.lacking_per_peer,
        )
        self.fetched = 0
        """Bodies that were accepted."""

    @property
    def incomplete(self) -> int:
        """Blocks of the window without a body."""
        return self.queue.pending + self.queue.in_flight

    def open(self, headers: LinkedHeaders) -> None:
        """Take in as many headers as the window has room for."""
        room = self.assembly.room()
        if room > 0 and len(headers):
            self.queue.schedule(self.assembly.open(headers.take(room)))

    def budget(self) -> int:
        """How many more bodies may be asked for."""
        return self.assembly.body_budget(self.queue.in_flight, self.queue.first_pending())

    def match(self, reservation: Reservation[Header], bodies: Sequence[Body]) -> MatchedBodies:
        """Give each body to the reserved header it belongs to. The caller settles the request.

        Peers leave out what they do not have, so a body belongs to the next header with its roots. An
        empty reply marks everything it left out as lacking; a partial one, cut off for its size, nothing.
        """
        headers = reservation.parts
        if not bodies:
            self.queue.mark_lacking(reservation.peer, headers)
            return MatchedBodies(headers, False)
        missing: list[Header] = []
        position, count = 0, len(headers)
        add_body = self.assembly.add_body
        for body_rlp, transactions_root, uncles_hash in bodies:
            while position < count:
                header = headers[position]
                position += 1
                if header.transactions_root == transactions_root and header.uncles_hash == uncles_hash:
                    add_body(header, body_rlp)
                    break
                missing.append(header)
            else:
                self.fetched += count - len(missing)
                return MatchedBodies(missing, True)
        missing.extend(headers[position:])
        self.fetched += count - len(missing)
        return MatchedBodies(missing, False)
