"""How the coordinator's parts ask peers for chain contents, and have them disconnected."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import assert_never

from services.shared.ethwire.messages import GetBlockHeaders
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import BlockHash, PeerId
from services.sync_coordinator.core.peer_set import PeerSet
from services.sync_coordinator.core.reply_router import Asker, ReplyRouter
from services.sync_coordinator.core.sync_actions import (
    RequestBodies,
    RequestHeaders,
    RequestNodeData,
    RequestReceipts,
    SyncRequest,
)
from services.sync_coordinator.edges.gateway_links import GatewayLinks
from services.sync_coordinator.edges.penalty_desk import PenaltyDesk
from services.sync_coordinator.edges.request_watch import RequestWatch


class PeerAsker:
    """Finds the gateway of a peer and notes who asked, so that the reply finds its way back."""

    def __init__(
        self,
        peers: PeerSet,
        links: GatewayLinks,
        router: ReplyRouter,
        penalties: PenaltyDesk,
        watch: RequestWatch,
    ) -> None:
        self._peers = peers
        self._penalties = penalties
        self._links = links
        self._router = router
        self._watch = watch

    def ask(self, asker: Asker, request: SyncRequest) -> bool:
        """Ask for what the downloader wants; False when the peer is gone, as in `ask_headers`."""
        request_id, peer = request.request_id, request.peer
        match request:
            case RequestHeaders(_, _, origin, amount, skip, reverse):
                return self.ask_headers(asker, request_id, peer, GetBlockHeaders(origin, amount, skip, reverse))
            case RequestBodies(_, _, hashes):
                return self.ask_bodies(asker, request_id, peer, hashes)
            case RequestReceipts(_, _, hashes):
                return self.ask_receipts(asker, request_id, peer, hashes)
            case RequestNodeData(_, _, entry_hashes):
                return self.ask_node_data(asker, request_id, peer, entry_hashes)
            case _:
                assert_never(request)

    def ask_headers(self, asker: Asker, request_id: int, node_id: PeerId, query: GetBlockHeaders) -> bool:
        """False when the peer is gone: then no reply and no loss will be reported for `request_id`."""
        peer = self._peers.get(node_id)
        if peer is None or not self._links.request_headers(peer.gateway_id, node_id, request_id, query):
            return False
        self._router.asked(request_id, asker, node_id)
        self._watch.asked(request_id, "headers")
        return True

    def ask_bodies(self, asker: Asker, request_id: int, node_id: PeerId, hashes: Sequence[BlockHash]) -> bool:
        """False when the peer is gone, as in `ask_headers`."""
        peer = self._peers.get(node_id)
        if peer is None or not self._links.request_bodies(peer.gateway_id, node_id, request_id, hashes):
            return False
        self._router.asked(request_id, asker, node_id)
        self._watch.asked(request_id, "bodies")
        return True

    def ask_receipts(self, asker: Asker, request_id: int, node_id: PeerId, hashes: Sequence[BlockHash]) -> bool:
        """False when the peer is gone, as in `ask_headers`."""
        peer = self._peers.get(node_id)
        if peer is None or not self._links.request_receipts(peer.gateway_id, node_id, request_id, hashes):
            return False
        self._router.asked(request_id, asker, node_id)
        self._watch.asked(request_id, "receipts")
        return True

    def ask_node_data(self, asker: Asker, request_id: int, node_id: PeerId, hashes: Sequence[bytes]) -> bool:
        """False when the peer is gone, as in `ask_headers`."""
        peer = self._peers.get(node_id)
        if peer is None or not self._links.request_node_data(peer.gateway_id, node_id, request_id, hashes):
            return False
        self._router.asked(request_id, asker, node_id)
        self._watch.asked(request_id, "node_data")
        return True

    def drop(self, node_id: PeerId, offence: Offence, explanation: str) -> None:
        """Have a peer disconnected; it leaves the peer set when its gateway reports it gone."""
        peer = self._peers.get(node_id)
        if peer is not None:
            self._peers.dismiss(node_id, explanation, asyncio.get_running_loop().time())
            self._penalties.punish(peer, offence, explanation)
            self._links.drop_peer(peer.gateway_id, node_id, offence, explanation)

    def note(self, node_id: PeerId, offence: Offence, count: int) -> None:
        """Count against a peer what is not worth its connection."""
        if count > 0 and self._peers.get(node_id) is not None:
            self._penalties.note(node_id, offence, count)
