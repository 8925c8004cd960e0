"""Which transactions passed between us and our peers lately: told to a broadcaster that has forgotten it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from blocksync.v1 import broadcast_pb2

from services.peer_gateway.core.events import Disconnected
from services.peer_gateway.edges.roster import JoinedPeer
from services.shared.ethwire.bodies import transaction_hash
from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.known_sets import KnownSets
from services.shared.ethwire.limits import MAX_TRANSACTION_BYTES
from services.shared.ethwire.types import PeerId, TransactionHash
from services.shared.rpc.convert import HASH_BYTES
from services.shared.rpc.known_transactions import known_transactions_to_proto, width_bytes

HASHES_PER_PEER: Final = 8192
"""Kept for each peer, 32 KiB: twice what a full pool holds, so all that is pending and as much that was pending a while
ago. A broadcaster that starts anew sends what is pending, and what newcomers bring of it; of older ones nothing."""

DISTINCT_HASHES: Final = 65_536
"""Over all peers, some 25 MB where each has 1,000 knowers. Peers of one network share most of theirs; only
made-up transactions get here, and those of the peer that made up most go first."""

PART_BYTES: Final = 64 * 1024
"""Of what is told at once, beside the node ids: a millisecond or two to put together, and far below what may wait for
the broadcaster."""

TURN_BYTES: Final = 256 * 1024
TURN_TRANSACTIONS: Final = 512
"""Hashed in one turn of the event loop: about a millisecond."""

SWEEP_PER_TURN: Final = 4096
"""Hashes looked at in one turn for peers that left: a millisecond or two."""


class KnownTransactions:
    """The most recent of each joined peer, marked by everything received and sent. A `RosterWatcher`.

    What is remembered here decides nothing: whom to send is the broadcaster's. Forgetting costs a duplicate after a
    restart of it.
    """

    def __init__(
        self,
        call_soon: Callable[[Callable[[], None]], object],
        per_peer: int = HASHES_PER_PEER,
        distinct: int = DISTINCT_HASHES,
    ) -> None:
        self._call_soon = call_soon
        self._known = KnownSets(per_peer, distinct)
        self._is_sweeping = False

    @property
    def distinct(self) -> int:
        """Distinct hashes held now."""
        return self._known.distinct

    def on_connected(self, node_id: PeerId, peer: JoinedPeer) -> None:
        self.peer_joined(node_id)

    def peer_joined(self, node_id: PeerId) -> None:
        """Nothing passed between us and it yet."""
        self._known.add_peer(node_id)

    def on_disconnected(self, node_id: PeerId, end: Disconnected) -> None:
        self._known.retire_peer(node_id)
        if not self._is_sweeping:
            self._is_sweeping = True
            self._call_soon(self._sweep)

    def on_banned(self, node_id: PeerId, ban_s: float) -> None:
        """Nothing to do."""

    async def received(self, node_id: PeerId, wires: Sequence[bytes]) -> None:
        """A peer sent these. Hashed in turns, because hostile messages are large.

        Those that are larger than any that is relayed are not remembered.
        """
        usual = [wire for wire in wires if len(wire) <= MAX_TRANSACTION_BYTES]
        left = iter(usual)
        while turn := _turn(left):
            for wire in turn:
                try:
                    known_hash = transaction_hash(wire)
                except MalformedRlp:
                    # The broadcaster says what follows.
                    continue
                self._known.mark_peers((node_id,), known_hash)
            if len(turn) < len(usual):
                await asyncio.sleep(0)

    def sent(self, node_ids: Sequence[PeerId], hashes: Iterable[TransactionHash]) -> None:
        """These peers were sent these; those that are not joined are passed over."""
        for known_hash in hashes:
            self._known.mark_peers(node_ids, known_hash)

    def parts(self) -> Iterator[broadcast_pb2.KnownTransactions]:
        """All that is known, in parts; the last says so. What is marked after the first was asked for may be missing.

        Each part names the peers by itself, so they may come and go meanwhile.
        """
        hashes = self._known.hashes()
        start, is_complete = 0, False
        while not is_complete:
            row = self._known.row()
            end = start + max(1, PART_BYTES // (HASH_BYTES + width_bytes(len(row))))
            known = [(one, knowers) for one in hashes[start:end] if (knowers := self._known.knowers_of(one))]
            part = known_transactions_to_proto(row, known)
            is_complete = part.complete = end >= len(hashes)
            start = end
            yield part

    def _sweep(self) -> None:
        self._is_sweeping = self._known.sweep(SWEEP_PER_TURN)
        if self._is_sweeping:
            self._call_soon(self._sweep)


def _turn(wires: Iterator[bytes]) -> list[bytes]:
    """The next that are hashed together."""
    turn: list[bytes] = []
    size_bytes = 0
    for wire in itertools.islice(wires, TURN_TRANSACTIONS):
        turn.append(wire)
        size_bytes += len(wire)
        if size_bytes >= TURN_BYTES:
            break
    return turn
