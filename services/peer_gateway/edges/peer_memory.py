"""Keeps the list of former peers true while the gateway lives, so that it survives however the gateway ends."""

from __future__ import annotations

import time
from collections import OrderedDict

from services.peer_gateway.core.events import Disconnected
from services.peer_gateway.core.former_peers import FORMER_PEERS, LOST_REASONS, FormerPeer, FormerPeers
from services.peer_gateway.edges.roster import JoinedPeer
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.types import PeerId


class PeerMemory:
    """A roster watcher. A peer that leaves for a reason of its own or ours is forgotten; one that is lost is not."""

    def __init__(self, store: FormerPeers) -> None:
        self._store = store
        self._known: OrderedDict[PeerId, FormerPeer] = OrderedDict()
        self._dialled: OrderedDict[PeerId, tuple[Enode, float]] = OrderedDict()
        """The last dial to nodes that are known or may yet join."""
        for peer in store.recall():
            self._known[peer.node.node_id] = peer
            self._note_dial(peer.node, peer.last_dialled_unix_s)

    def on_dial(self, node: Enode) -> None:
        """A dial starts. The time is kept at once: the other side counts it even if we end before it does."""
        self._note_dial(node, time.time())
        known = self._known.get(node.node_id)
        if known is not None:
            self._remember(node, was_inbound=known.was_inbound)

    def on_connected(self, node_id: PeerId, peer: JoinedPeer) -> None:
        details = peer.details()
        is_dialled = node_id in self._dialled and not details.inbound
        node = self._dialled[node_id][0] if is_dialled else peer.listens_at()
        if node is not None:
            self._remember(node, was_inbound=details.inbound or details.was_inbound)

    def on_disconnected(self, node_id: PeerId, end: Disconnected) -> None:
        if end.reason not in LOST_REASONS:
            self.forget(node_id)

    def on_banned(self, node_id: PeerId, ban_s: float) -> None:
        self.forget(node_id)

    def forget(self, node_id: PeerId) -> None:
        if self._known.pop(node_id, None) is not None:
            self._store.forget(node_id)

    def _remember(self, node: Enode, *, was_inbound: bool) -> None:
        _, dialled_at = self._dialled.get(node.node_id, (node, 0.0))
        peer = FormerPeer(node, dialled_at, was_inbound)
        self._known[node.node_id] = peer
        self._known.move_to_end(node.node_id)
        if len(self._known) > FORMER_PEERS:
            self.forget(next(iter(self._known)))
        self._store.remember(peer)

    def _note_dial(self, node: Enode, unix_s: float) -> None:
        self._dialled[node.node_id] = (node, unix_s)
        self._dialled.move_to_end(node.node_id)
        if len(self._dialled) > FORMER_PEERS:
            self._dialled.popitem(last=False)
