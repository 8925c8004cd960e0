"""The peers of this gateway: one table, read by everything that sends or reports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from blocksync.v1 import broadcast_pb2, common_pb2

from services.peer_gateway.core.events import Disconnected
from services.peer_gateway.core.known_blocks import KnownBlocks
from services.peer_gateway.core.request_book import Request
from services.peer_gateway.core.send_queue import Outgoing, Urgency
from services.peer_gateway.edges.claims import Claims
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import PeerId


class JoinedPeer(Protocol):
    """A peer after all handshakes, as the rest of the gateway sees it."""

    @property
    def node_id(self) -> PeerId: ...

    @property
    def known_blocks(self) -> KnownBlocks: ...

    def details(self) -> common_pb2.PeerDetails: ...

    def listens_at(self) -> Enode | None:
        """Where it can be dialled, if its Hello told a port."""

    def ask(self, request: Request, request_id: int, session: int) -> str | None:
        """Send a question of the coordinator; the result says why it could not be sent, if so."""

    def send(self, urgency: Urgency, message: Outgoing) -> bool:
        """Have one eth message written in its turn; False when it was not taken: the peer lags behind, or is gone."""

    def disconnect(self, offence: Offence, detail: str) -> None: ...


class RosterWatcher(Protocol):
    """Whoever must know at once who is connected."""

    def on_connected(self, node_id: PeerId, peer: JoinedPeer) -> None: ...

    def on_disconnected(self, node_id: PeerId, end: Disconnected) -> None: ...

    def on_banned(self, node_id: PeerId, ban_s: float) -> None:
        """For so long this node would not be admitted."""


class Roster:
    """At most one peer per node id; it holds the claim of that."""

    def __init__(self) -> None:
        self._peers: dict[PeerId, JoinedPeer] = {}
        self.claims = Claims()
        """Two connections that shared a place would give it back at the end of the first."""
        self._watchers: list[RosterWatcher] = []

    def watch(self, watcher: RosterWatcher) -> None:
        self._watchers.append(watcher)

    def __len__(self) -> int:
        return len(self._peers)

    def __contains__(self, node_id: PeerId) -> bool:
        return node_id in self._peers

    def __iter__(self) -> Iterator[JoinedPeer]:
        return iter(list(self._peers.values()))

    def get(self, node_id: PeerId) -> JoinedPeer | None:
        return self._peers.get(node_id)

    def add(self, node_id: PeerId, peer: JoinedPeer) -> None:
        assert node_id not in self._peers, "one connection per node id"
        self._peers[node_id] = peer
        self.claims.joined(node_id)
        for watcher in self._watchers:
            watcher.on_connected(node_id, peer)

    def remove(self, node_id: PeerId, end: Disconnected) -> None:
        del self._peers[node_id]
        for watcher in self._watchers:
            watcher.on_disconnected(node_id, end)

    def ban(self, node_id: PeerId, ban_s: float) -> None:
        """Tell whoever might dial it that this node would not be admitted for so long."""
        for watcher in self._watchers:
            watcher.on_banned(node_id, ban_s)

    def snapshot(self) -> list[common_pb2.PeerDetails]:
        return [peer.details() for peer in self]

    def broadcast_snapshot(self) -> list[broadcast_pb2.BroadcastPeer]:
        return [broadcast_peer(peer) for peer in self]


def broadcast_peer(peer: JoinedPeer) -> broadcast_pb2.BroadcastPeer:
    """What the broadcaster is told of a peer."""
    details = peer.details()
    return broadcast_pb2.BroadcastPeer(
        node_id=details.node_id, eth_version=details.eth_version, known_blocks=peer.known_blocks.joined()
    )
