"""What gateways report, as values; and the one who listens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from blocksync.v1 import gateway_link_pb2

from services.shared.ethwire.faults import PeerFault
from services.shared.ethwire.types import Announce, Block, BlockReceipts, Body, Header, PeerId, StateEntry
from services.sync_coordinator.core.disconnect_log import EndedConnection
from services.sync_coordinator.core.peer_set import Peer
from services.sync_coordinator.edges.gateway_links import GatewayLink


class GatewayEvents(Protocol):
    """Called by the link's readers, in the order of each stream. No call waits for anything."""

    def gateway_attached(
        self, link: GatewayLink, hello: gateway_link_pb2.GatewayHello, peers: Sequence[Peer]
    ) -> None: ...

    def gateway_detached(self, link: GatewayLink) -> None: ...

    def admission_asked(self, link: GatewayLink, question: gateway_link_pb2.AdmitPeer) -> None: ...

    def peer_joined(self, peer: Peer) -> None: ...

    def peer_left(self, node_id: PeerId, gateway_id: str, explanation: str) -> None: ...

    def connection_ended(self, ended: EndedConnection) -> None:
        """A connection of any stage is over, and will not be heard of again."""
        ...

    def headers_arrived(self, request_id: int, peer: PeerId, headers: Sequence[Header]) -> None: ...

    def bodies_arrived(self, request_id: int, peer: PeerId, bodies: Sequence[Body]) -> None: ...

    def receipts_arrived(self, request_id: int, peer: PeerId, receipts: Sequence[BlockReceipts]) -> None: ...

    def node_data_arrived(self, request_id: int, peer: PeerId, entries: Sequence[StateEntry]) -> None: ...

    def reply_unreadable(self, request_id: int, peer: PeerId, fault: PeerFault) -> None:
        """A message that is not what its code promises."""
        ...

    def request_lost(self, request_id: int) -> None: ...

    def block_propagated(self, peer: PeerId, block: Block, total_difficulty: int) -> None: ...

    def blocks_announced(self, peer: PeerId, announces: Sequence[Announce]) -> None: ...

    def dial_failed(self, enode: str, explanation: str) -> None: ...
