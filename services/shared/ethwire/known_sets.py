"""Which peers know which hashes, as an index from a hash to the peers that know it."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

from services.shared.ethwire.id_queue import IdQueue
from services.shared.ethwire.most_first import MostFirst
from services.shared.ethwire.types import PeerId


class _KnownPeer:
    """One peer's place in the index. `bit` is its own bit in every set of knowers."""

    __slots__ = ("bit", "peer", "queue")

    def __init__(self, peer: PeerId, slot: int) -> None:
        self.peer = peer
        self.bit = 1 << slot
        self.queue = IdQueue()


class KnownSets:
    """For each peer the latest hashes it knows; asked by hash, because the question is always "who lacks this".

    A hash is stored once, under a small number, with its knowers as one integer that has a bit for each peer. Each
    peer has only the queue of its numbers, oldest first. A hash marked again keeps its age. Forgetting is always
    safe: it costs a duplicate. Two limits hold at any time: hashes per peer (its oldest goes), and distinct hashes
    over all peers (the peer with the most hashes that nobody else knows loses its oldest; where there is no such hash,
    the peers take turns).

    Caller's duty: `mark` and `forget_peer` only for peers that were added.
    """

    def __init__(self, per_peer_limit: int, distinct_limit: int) -> None:
        if per_peer_limit < 1 or distinct_limit < 1:
            raise ValueError(f"limits {per_peer_limit} per peer and {distinct_limit} distinct must be at least 1")
        self._per_peer_limit, self._distinct_limit = per_peer_limit, distinct_limit
        self._peers: dict[PeerId, _KnownPeer] = {}
        self._slots: list[_KnownPeer | None] = []
        self._free_slots: list[int] = []
        self._unshared = MostFirst()
        self._turn = 0
        self._everyone = 0
        self._ids: dict[bytes, int] = {}
        self._hashes: list[bytes] = []
        self._knowers: list[int] = []
        self._free_ids: list[int] = []
        self._retired: list[_KnownPeer] = []
        self._swept: list[_KnownPeer] = []
        self._sweep_at = 0

    @property
    def distinct(self) -> int:
        """Distinct hashes held now."""
        return len(self._ids)

    def __contains__(self, peer: PeerId) -> bool:
        return peer in self._peers

    def __len__(self) -> int:
        return len(self._peers)

    def add_peer(self, peer: PeerId) -> None:
        """Start an empty set; a peer that had one starts anew."""
        if peer in self._peers:
            self.forget_peer(peer)
        if self._free_slots:
            slot = heapq.heappop(self._free_slots)
        else:
            slot = len(self._slots)
            self._slots.append(None)
        known_peer = _KnownPeer(peer, slot)
        self._slots[slot] = self._peers[peer] = known_peer
        self._unshared.add(slot)
        self._everyone |= known_peer.bit

    def forget_peer(self, peer: PeerId) -> None:
        known_peer = self._peers.pop(peer)
        while known_peer.queue:
            self._forget_oldest(known_peer)
        self._free_slot(known_peer)
        self._everyone &= ~known_peer.bit

    def retire_peer(self, peer: PeerId) -> None:
        """Like `forget_peer`, at once: what is left of the peer goes with `sweep`, however many retire together."""
        known_peer = self._peers.pop(peer)
        self._everyone &= ~known_peer.bit
        self._retired.append(known_peer)

    def suspend_peer(self, peer: PeerId) -> None:
        """The peer is away: it lacks nothing, and keeps what it knows. Caller's duty: `resume_peer`, or another end."""
        self._everyone &= ~self._peers[peer].bit

    def resume_peer(self, peer: PeerId) -> None:
        """It is back, and has forgotten nothing."""
        self._everyone |= self._peers[peer].bit

    def sweep(self, most: int) -> bool:
        """Look at `most` hashes for knowers that retired; False when nothing is left to look for.

        One pass over all hashes is for all who had retired when it began; those who retire meanwhile wait.
        """
        if not self._swept:
            if not self._retired:
                return False
            self._swept, self._retired, self._sweep_at = self._retired, [], 0
        stay = ~sum(known_peer.bit for known_peer in self._swept)
        end = min(self._sweep_at + most, len(self._knowers))
        for ident in range(self._sweep_at, end):
            knowers = self._knowers[ident]
            if knowers & stay != knowers:
                self._leave_knowers(ident, knowers & stay)
        self._sweep_at = end
        if end == len(self._knowers):
            for known_peer in self._swept:
                self._free_slot(known_peer)
            self._swept = []
        return True

    def mark(self, peer: PeerId, known_hash: bytes) -> bool:
        """Remember that the peer knows a hash; False when that is nothing new."""
        known_peer = self._peers[peer]
        ident = self._ids.get(known_hash)
        if ident is not None and self._knowers[ident] & known_peer.bit:
            return False
        if len(known_peer.queue) >= self._per_peer_limit:
            self._forget_oldest(known_peer)
        if ident is None:
            ident = self._store(known_hash)
        self._set_knowers(ident, self._knowers[ident] | known_peer.bit)
        known_peer.queue.push(ident)
        return True

    def mark_all(self, peer: PeerId, known_hashes: Sequence[bytes]) -> int:
        """Mark several hashes, oldest first; returns how many were new. Of too many only the latest are looked at."""
        return sum([self.mark(peer, known_hash) for known_hash in known_hashes[-self._per_peer_limit :]])

    def knows(self, peer: PeerId, known_hash: bytes) -> bool:
        ident = self._ids.get(known_hash)
        return ident is not None and bool(self._knowers[ident] & self._peers[peer].bit)

    def lacking(self, known_hash: bytes) -> list[PeerId]:
        """All peers that are not known to know the hash, always in the order of their places in the index."""
        ident = self._ids.get(known_hash)
        lacking = self._everyone if ident is None else self._everyone & ~self._knowers[ident]
        bits = f"{lacking:b}"[::-1]
        return [
            known_peer.peer for bit, known_peer in zip(bits, self._slots, strict=False) if bit == "1" and known_peer
        ]

    def mark_lacking(self, known_hash: bytes) -> tuple[PeerId, ...]:
        """Mark every peer that lacks the hash; returns them in the order of `lacking`."""
        ident = self._ids.get(known_hash)
        lacking = self._everyone if ident is None else self._everyone & ~self._knowers[ident]
        if not lacking:
            return ()
        bits = f"{lacking:b}"[::-1]
        chosen = [known_peer for bit, known_peer in zip(bits, self._slots, strict=False) if bit == "1" and known_peer]
        self._mark_chosen(known_hash, chosen, lacking)
        return tuple([known_peer.peer for known_peer in chosen])

    def mark_peers(self, peers: Iterable[PeerId], known_hash: bytes) -> None:
        """Mark one hash for several peers, each named once; those that are not in the index are passed over."""
        ident = self._ids.get(known_hash)
        before = 0 if ident is None else self._knowers[ident]
        chosen: list[_KnownPeer] = []
        new = 0
        for peer in peers:
            known_peer = self._peers.get(peer)
            if known_peer is not None and not before & known_peer.bit:
                chosen.append(known_peer)
                new |= known_peer.bit
        if chosen:
            self._mark_chosen(known_hash, chosen, new)

    def mark_rows(self, row: Sequence[PeerId | None], known: Iterable[tuple[bytes, int]]) -> None:
        """Mark hashes that each come with their knowers, a bit for each place of `row`, where each peer stands once.

        Places of peers that are not in the index, or of nobody, are passed over.
        """
        members = [None if peer is None else self._peers.get(peer) for peer in row]
        reached = 0
        for member in members:
            reached |= 0 if member is None else member.bit
        for known_hash, knowers in known:
            before = self.knowers_of(known_hash) & reached
            bits = f"{knowers:b}"[::-1]
            chosen = [member for bit, member in zip(bits, members, strict=False) if bit == "1" and member]
            if before:
                chosen = [member for member in chosen if not before & member.bit]
            new = 0
            for member in chosen:
                new |= member.bit
            if chosen:
                self._mark_chosen(known_hash, chosen, new)

    def row(self) -> list[PeerId | None]:
        """The peers by their places in the index: bit n of `knowers_of` is the n-th. None where nobody is."""
        return [slot.peer if slot and self._peers.get(slot.peer) is slot else None for slot in self._slots]

    def knowers_of(self, known_hash: bytes) -> int:
        """Who knows a hash, a bit for each place of `row`; 0 for one that is not held. Who left may still be in it."""
        ident = self._ids.get(known_hash)
        return 0 if ident is None else self._knowers[ident]

    def hashes(self) -> list[bytes]:
        """All that are held, the one first heard of first."""
        return list(self._ids)

    def hashes_of(self, peer: PeerId) -> list[bytes]:
        """What the peer is known to know, oldest first."""
        return [self._hashes[ident] for ident in self._peers[peer].queue]

    def _mark_chosen(self, known_hash: bytes, chosen: Sequence[_KnownPeer], new: int) -> None:
        """`new` has the bits of the chosen, none of whom knows the hash."""
        for known_peer in chosen:
            if len(known_peer.queue) >= self._per_peer_limit:
                self._forget_oldest(known_peer)
        ident = self._ids.get(known_hash)
        if ident is None:
            ident = self._store(known_hash)
        self._set_knowers(ident, self._knowers[ident] | new)
        for known_peer in chosen:
            known_peer.queue.push(ident)

    def _store(self, known_hash: bytes) -> int:
        while len(self._ids) >= self._distinct_limit:
            self._forget_oldest(self._next_to_forget())
        if self._free_ids:
            ident = self._free_ids.pop()
            self._hashes[ident] = known_hash
        else:
            ident = len(self._hashes)
            self._hashes.append(known_hash)
            self._knowers.append(0)
        self._ids[known_hash] = ident
        return ident

    def _forget_oldest(self, known_peer: _KnownPeer) -> None:
        ident = known_peer.queue.pop()
        knowers = self._knowers[ident]
        # A peer that retired may have been swept out here already.
        if knowers & known_peer.bit:
            self._leave_knowers(ident, knowers ^ known_peer.bit)

    def _leave_knowers(self, ident: int, left: int) -> None:
        self._set_knowers(ident, left)
        if not left:
            del self._ids[self._hashes[ident]]
            self._hashes[ident] = b""
            self._free_ids.append(ident)

    def _free_slot(self, known_peer: _KnownPeer) -> None:
        slot = known_peer.bit.bit_length() - 1
        self._slots[slot] = None
        self._unshared.remove(slot)
        heapq.heappush(self._free_slots, slot)

    def _next_to_forget(self) -> _KnownPeer:
        place = self._unshared.highest()
        while place is None:
            self._turn = (self._turn + 1) % len(self._slots)
            candidate = self._slots[self._turn]
            if candidate is not None and candidate.queue:
                place = self._turn
        known_peer = self._slots[place]
        assert known_peer is not None, "only peers in the index have hashes"
        return known_peer

    def _set_knowers(self, ident: int, knowers: int) -> None:
        """Change who knows a hash and keep count, for the one peer that was or is alone with it."""
        before = self._knowers[ident]
        if before and not before & (before - 1):
            self._unshared.change(before.bit_length() - 1, -1)
        if knowers and not knowers & (knowers - 1):
            self._unshared.change(knowers.bit_length() - 1, 1)
        self._knowers[ident] = knowers
