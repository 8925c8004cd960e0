"""The one peer set, over all gateways: who is admitted, who is connected, whose chain is heaviest."""

from __future__ import annotations

import enum
import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from services.shared.ethwire.types import BlockHash, PeerId

ADMISSION_LASTS_S: Final = 30.0
"""How long an admitted peer may take to finish its eth handshake before its place is free again: more than
the 10 s that both handshakes have together, so that no peer still shaking hands loses its place."""


class Admission(enum.Enum):
    """The answer to a gateway that asks whether a peer may go on to the eth handshake."""

    ADMITTED = "admitted"
    TOO_MANY_PEERS = "too many peers"
    ALREADY_CONNECTED = "already connected"
    SELF = "one of our own gateways"
    BANNED = "banned"
    """Said by whoever keeps the bans, before the peer set is asked."""


@dataclass(slots=True, kw_only=True)
class Peer:
    """A peer after its eth handshake. Only `PeerSet` changes the head and its total difficulty."""

    node_id: PeerId
    gateway_id: str
    eth_version: int
    head_hash: BlockHash
    total_difficulty: int
    client_name: str = ""
    remote_address: str = ""
    p2p_version: int = 5
    inbound: bool = False
    static: bool = False
    trusted: bool = False
    connected_s: float = 0.0
    """How long it had been connected when its gateway told of it."""
    joined_at: float = 0.0
    headers_delivered: int = 0
    bodies_delivered: int = 0


class _Place(NamedTuple):
    """What an admitted peer holds until it joins."""

    gateway_id: str
    until: float


class PeerSet:
    """Every peer of every gateway, at most one entry per node id.

    Places are counted over joined and admitted peers together, so that a burst of handshakes cannot
    exceed `max_peers`. The best peer is kept in a heap whose outdated entries are skipped when they
    come up: each change costs O(log n).
    """

    def __init__(self, max_peers: int) -> None:
        self._max_peers = max_peers
        self._peers: dict[PeerId, Peer] = {}
        self._admitted: dict[PeerId, _Place] = {}
        self._gateways: dict[str, PeerId] = {}
        self._by_difficulty: list[tuple[int, float, PeerId]] = []

    def __len__(self) -> int:
        return len(self._peers)

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._peers.values())

    def get(self, node_id: PeerId) -> Peer | None:
        return self._peers.get(node_id)

    def of_gateway(self, gateway_id: str) -> list[Peer]:
        return [peer for peer in self._peers.values() if peer.gateway_id == gateway_id]

    @property
    def gateway_node_ids(self) -> list[PeerId]:
        return list(self._gateways.values())

    def admit(self, node_id: PeerId, gateway_id: str, *, trusted: bool, now: float) -> Admission:
        """Decide on a peer that has said Hello; an admitted one holds a place until it, or its gateway, leaves."""
        self._forget_late_admissions(now)
        if node_id in self._gateways.values():
            return Admission.SELF
        if node_id in self._peers or node_id in self._admitted:
            return Admission.ALREADY_CONNECTED
        if not trusted and len(self._peers) + len(self._admitted) >= self._max_peers:
            return Admission.TOO_MANY_PEERS
        self._admitted[node_id] = _Place(gateway_id, now + ADMISSION_LASTS_S)
        return Admission.ADMITTED

    def join(self, peer: Peer) -> bool:
        """Add a peer that finished its eth handshake; False when another gateway holds that node id for longer.

        An older connection than the one that is held has outlived a link or a coordinator: it takes its place.
        """
        self._admitted.pop(peer.node_id, None)
        held = self._peers.get(peer.node_id)
        if held is not None and held.gateway_id != peer.gateway_id and held.joined_at <= peer.joined_at:
            return False
        self._peers[peer.node_id] = peer
        self._rank(peer)
        return True

    def leave(self, node_id: PeerId, gateway_id: str) -> Peer | None:
        """Remove a peer of this gateway, or give back the place of one that never joined."""
        peer = self._peers.get(node_id)
        if peer is not None and peer.gateway_id == gateway_id:
            return self._peers.pop(node_id)
        place = self._admitted.get(node_id)
        if place is not None and place.gateway_id == gateway_id:
            del self._admitted[node_id]
        return None

    def attach_gateway(self, gateway_id: str, gateway_node_id: PeerId, peers: Iterable[Peer]) -> SnapshotChange:
        """Take a gateway's snapshot: it replaces all that was known of that gateway's peers."""
        self._gateways[gateway_id] = gateway_node_id
        self._free_places(gateway_id)
        now_there = {peer.node_id: peer for peer in peers}
        left = [peer for peer in self.of_gateway(gateway_id) if peer.node_id not in now_there]
        for peer in left:
            del self._peers[peer.node_id]
        joined, duplicates = [], []
        for peer in now_there.values():
            held = self._peers.get(peer.node_id)
            if not self.join(peer):
                duplicates.append(peer)
                continue
            if held is not None and held.gateway_id != gateway_id:
                left.append(held)
                duplicates.append(held)
            if held is None or held.gateway_id != gateway_id:
                joined.append(peer)
        return SnapshotChange(joined, left, duplicates)

    def detach_gateway(self, gateway_id: str) -> list[Peer]:
        """Forget a gateway that is gone, and its peers, which are returned."""
        self._gateways.pop(gateway_id, None)
        self._free_places(gateway_id)
        left = self.of_gateway(gateway_id)
        for peer in left:
            del self._peers[peer.node_id]
        return left

    def raise_head(self, node_id: PeerId, head_hash: BlockHash, total_difficulty: int) -> bool:
        """Note a heavier head of a peer; False when it is not heavier than what we hold for it."""
        peer = self._peers.get(node_id)
        if peer is None or total_difficulty <= peer.total_difficulty:
            return False
        peer.head_hash, peer.total_difficulty = head_hash, total_difficulty
        self._rank(peer)
        return True

    def best(self) -> Peer | None:
        """The peer with the most total difficulty; of equals, the one that joined first."""
        while self._by_difficulty:
            negative, joined_at, node_id = self._by_difficulty[0]
            peer = self._peers.get(node_id)
            if peer is not None and (-negative, joined_at) == (peer.total_difficulty, peer.joined_at):
                return peer
            heapq.heappop(self._by_difficulty)
        return None

    def _rank(self, peer: Peer) -> None:
        heapq.heappush(self._by_difficulty, (-peer.total_difficulty, peer.joined_at, peer.node_id))
        if len(self._by_difficulty) > 64 + 4 * len(self._peers):
            # Outdated entries that never came up: build anew, at a cost spread over as many changes.
            self._by_difficulty = [
                (-each.total_difficulty, each.joined_at, each.node_id) for each in self._peers.values()
            ]
            heapq.heapify(self._by_difficulty)

    def _free_places(self, gateway_id: str) -> None:
        """A gateway that comes back asks again for those it still waits for; they must not be in their own way."""
        self._admitted = {node_id: place for node_id, place in self._admitted.items() if place.gateway_id != gateway_id}

    def _forget_late_admissions(self, now: float) -> None:
        for node_id in [node_id for node_id, place in self._admitted.items() if place.until <= now]:
            del self._admitted[node_id]


@dataclass(frozen=True, slots=True)
class SnapshotChange:
    """What a gateway's snapshot changed. `duplicates` are connected to another gateway for longer: drop them.

    One that left here and joined there is in all three.
    """

    joined: list[Peer]
    left: list[Peer]
    duplicates: list[Peer]
