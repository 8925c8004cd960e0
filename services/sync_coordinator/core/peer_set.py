"""The one peer set, over all gateways: who is admitted, who is connected, whose chain is heaviest."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from services.shared.ethwire.types import BlockHash, PeerId
from services.sync_coordinator.core.peer_ranking import PeerRanking
from services.sync_coordinator.core.places import Applicant, Places, Tally

DROPPED_KEPT: Final = 16
"""Peers dropped last that are remembered for operators."""


class Admission(enum.Enum):
    """The answer to a gateway that asks whether a peer may go on to the eth handshake."""

    ADMITTED = "admitted"
    TOO_MANY_PEERS = "too many peers"
    ALREADY_CONNECTED = "already connected"
    SELF = "one of our own gateways"
    BANNED = "banned"
    """Said by whoever keeps the bans, before the peer set is asked."""


class HeadSource(enum.Enum):
    """How we know a peer's head."""

    STATUS = "its Status"
    BLOCK = "a block it propagated"


class Dismissal(NamedTuple):
    """Why a peer is being disconnected by us, and since when."""

    why: str
    at: float


@dataclass(slots=True, kw_only=True)
class Peer:
    """A peer after its eth handshake. Only `PeerSet` changes the head, its total difficulty and the dismissal."""

    node_id: PeerId
    gateway_id: str
    eth_version: int
    head_hash: BlockHash
    total_difficulty: int
    head_source: HeadSource = HeadSource.STATUS
    dismissal: Dismissal | None = None
    client_name: str = ""
    remote_address: str = ""
    p2p_version: int = 5
    inbound: bool = False
    was_inbound: bool = False
    """Dialled by a gateway that restarted, to which it had connected before."""
    static: bool = False
    trusted: bool = False
    connected_s: float = 0.0
    """How long it had been connected when its gateway told of it."""
    joined_at: float = 0.0
    headers_delivered: int = 0
    bodies_delivered: int = 0

    @property
    def takes_inbound_place(self) -> bool:
        return self.inbound or self.was_inbound


class PeerSet:
    """Every peer of every gateway, at most one entry per node id.

    Places are counted over joined and admitted peers together, so that a burst of handshakes cannot
    exceed `max_peers`, nor either direction its part of them. Each change of one peer costs O(log n).
    """

    def __init__(self, max_peers: int) -> None:
        self.max_peers = max_peers
        self._peers: dict[PeerId, Peer] = {}
        self._gateways: dict[str, PeerId] = {}
        self._discovering: set[str] = set()
        self._joined = Tally()
        self._places = Places(max_peers)
        self._ranking = PeerRanking(self._peers)
        self._leaving: dict[PeerId, None] = {}
        self.dropped: deque[Peer] = deque(maxlen=DROPPED_KEPT)
        """The newest peers that we dropped and that are gone, oldest first."""

    def __len__(self) -> int:
        return len(self._peers)

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._peers.values())

    @property
    def candidates(self) -> int:
        """Peers that a sync may be started with: all but those that are being disconnected."""
        return len(self._peers) - len(self._leaving)

    def get(self, node_id: PeerId) -> Peer | None:
        return self._peers.get(node_id)

    def of_gateway(self, gateway_id: str) -> list[Peer]:
        return [peer for peer in self._peers.values() if peer.gateway_id == gateway_id]

    @property
    def gateway_node_ids(self) -> list[PeerId]:
        return list(self._gateways.values())

    @property
    def dial_quota(self) -> int:
        """Peers that all gateways together may have dialled of their own accord: none where none discovers."""
        return self._places.quota(discovers=bool(self._discovering))

    def outbound_of(self) -> Mapping[str, int]:
        """What each discovering gateway has of that quota."""
        return {each: self._places.dialled.of(each) for each in self._gateways if each in self._discovering}

    def peers_of(self) -> Mapping[str, int]:
        """How many peers each gateway has."""
        return {gateway_id: self._joined.of(gateway_id) for gateway_id in self._gateways}

    def admit(self, applicant: Applicant, now: float) -> Admission:
        """Decide as geth's `encHandshakeChecks`; an admitted one holds a place until it, or its gateway, leaves."""
        self._places.forget_late(now)
        node_id = applicant.node_id
        if node_id in self._gateways.values():
            return Admission.SELF
        if node_id in self._peers or node_id in self._places.admitted:
            return Admission.ALREADY_CONNECTED
        if not applicant.trusted and self._places.are_full_for(applicant, self.dial_quota):
            return Admission.TOO_MANY_PEERS
        self._places.admit(applicant, now)
        return Admission.ADMITTED

    def mark(self, peer: Peer, *, static: bool, trusted: bool) -> bool:
        """Note that a connected peer is static or trusted from now on, or is not; False when nothing changed."""
        if (peer.static, peer.trusted) == (static, trusted):
            return False
        self._count(peer, -1)
        peer.static, peer.trusted = static, trusted
        self._count(peer, 1)
        return True

    def join(self, peer: Peer) -> bool:
        """Add a peer that finished its eth handshake; False when another gateway holds that node id for longer.

        An older connection than the one that is held has outlived a link or a coordinator: it takes its place.
        """
        self._places.free(peer.node_id)
        held = self._peers.get(peer.node_id)
        if held is not None and held.gateway_id != peer.gateway_id and held.joined_at <= peer.joined_at:
            return False
        if held is not None:
            self._remove(held)
        self._peers[peer.node_id] = peer
        self._count(peer, 1)
        self._ranking.add(peer)
        return True

    def leave(self, node_id: PeerId, gateway_id: str) -> Peer | None:
        """Remove a peer of this gateway, or give back the place of one that never joined."""
        peer = self._peers.get(node_id)
        if peer is not None and peer.gateway_id == gateway_id:
            return self._remove(peer)
        place = self._places.admitted.get(node_id)
        if place is not None and place.gateway_id == gateway_id:
            self._places.free(node_id)
        return None

    def set_discovering(self, gateway_id: str, *, discovers: bool) -> None:
        """Note whether a gateway looks for peers itself."""
        if discovers:
            self._discovering.add(gateway_id)
        else:
            self._discovering.discard(gateway_id)

    def attach_gateway(self, gateway_id: str, gateway_node_id: PeerId, peers: Iterable[Peer]) -> SnapshotChange:
        """Take a gateway's snapshot: it replaces all that was known of that gateway's peers."""
        self._gateways[gateway_id] = gateway_node_id
        self._places.free_of(gateway_id)
        now_there = {peer.node_id: peer for peer in peers}
        left = [peer for peer in self.of_gateway(gateway_id) if peer.node_id not in now_there]
        for peer in left:
            self._remove(peer)
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
        self._discovering.discard(gateway_id)
        self._places.free_of(gateway_id)
        left = self.of_gateway(gateway_id)
        for peer in left:
            self._remove(peer)
        return left

    def raise_head(self, node_id: PeerId, head_hash: BlockHash, total_difficulty: int) -> bool:
        """Note a heavier head of a candidate; False when it is not heavier than what we hold for it."""
        peer = self._peers.get(node_id)
        if peer is None or peer.dismissal is not None or total_difficulty <= peer.total_difficulty:
            return False
        peer.head_hash, peer.total_difficulty, peer.head_source = head_hash, total_difficulty, HeadSource.BLOCK
        self._ranking.add(peer)
        return True

    def dismiss(self, node_id: PeerId, why: str, now: float) -> None:
        """Note that we disconnect a peer: no sync is started with it, though it holds its place until it is gone."""
        peer = self._peers.get(node_id)
        if peer is not None and peer.dismissal is None:
            peer.dismissal = Dismissal(why, now)
            self._leaving[node_id] = None

    def best(self) -> Peer | None:
        """The candidate with the most total difficulty; of equals, the one that joined first."""
        return self._ranking.best()

    def heaviest(self, most: int) -> list[Peer]:
        """The first `most` candidates, in the order in which `best` would choose them."""
        return self._ranking.heaviest(most)

    def leaving(self) -> list[Peer]:
        """Those that are being disconnected, the latest first."""
        return [self._peers[node_id] for node_id in reversed(self._leaving)]

    def _remove(self, peer: Peer) -> Peer:
        del self._peers[peer.node_id]
        self._count(peer, -1)
        if peer.dismissal is not None:
            del self._leaving[peer.node_id]
            self.dropped.append(peer)
        return peer

    def _count(self, peer: Peer, by: int) -> None:
        self._joined.add(peer.gateway_id, by)
        self._places.count(peer.gateway_id, by, inbound=peer.takes_inbound_place, static=peer.static)


@dataclass(frozen=True, slots=True)
class SnapshotChange:
    """What a gateway's snapshot changed. `duplicates` are connected to another gateway for longer: drop them.

    One that left here and joined there is in all three.
    """

    joined: list[Peer]
    left: list[Peer]
    duplicates: list[Peer]
