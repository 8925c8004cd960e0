"""The coordinator's side of its streams to gateways: what goes out, and who is attached."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from blocksync.v1 import gateway_link_pb2

from services.shared.chainspec.enode import Enode
from services.shared.chainspec.net_restrict import NetRestrict
from services.shared.ethwire.messages import GetBlockHeaders
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import BlockHash, PeerId
from services.shared.rpc.convert import headers_query_to_proto, offence_to_proto
from services.shared.rpc.outbox import Outbox
from services.sync_coordinator.core.peer_set import Admission

CONTROL_QUEUE_BYTES: Final = 4 * 1024 * 1024
"""What may wait for one gateway's Control stream. Over it the link is cut: the gateway dials again and a new
snapshot makes both sides agree, which a lost status or verdict would not."""

_ADMISSION_TO_PROTO: Final = {
    Admission.ADMITTED: gateway_link_pb2.ADMISSION_ADMITTED,
    Admission.TOO_MANY_PEERS: gateway_link_pb2.ADMISSION_TOO_MANY_PEERS,
    Admission.ALREADY_CONNECTED: gateway_link_pb2.ADMISSION_ALREADY_CONNECTED,
    Admission.SELF: gateway_link_pb2.ADMISSION_SELF,
    Admission.BANNED: gateway_link_pb2.ADMISSION_BANNED,
}

_log = structlog.get_logger("gateway-link")


@dataclass(slots=True, eq=False)
class GatewayLink:
    """One attached gateway."""

    gateway_id: str
    node_id: PeerId
    enode: str
    outbox: Outbox[gateway_link_pb2.ControlResponse]
    restrict: NetRestrict | None = None
    """The only networks it has peers in."""

    def allows(self, host: str) -> bool:
        """Whether it would dial this address."""
        return self.restrict is None or self.restrict.allows(host)

    def send(self, message: gateway_link_pb2.ControlResponse) -> None:
        if not self.outbox.is_closed and not self.outbox.put(message, message.ByteSize()):
            _log.warning("gateway too slow, link cut", gateway=self.gateway_id)
            self.outbox.close()


class GatewayLinks:
    """All attached gateways by id, and every message the coordinator sends them."""

    def __init__(self) -> None:
        self._links: dict[str, GatewayLink] = {}

    def __iter__(self) -> Iterator[GatewayLink]:
        return iter(self._links.values())

    def may_dial(self, gateway_id: str, node: Enode) -> bool:
        """Whether this gateway is there, and would dial the node."""
        link = self._links.get(gateway_id)
        return link is not None and link.allows(node.host)

    def is_attached(self, link: GatewayLink) -> bool:
        return self._links.get(link.gateway_id) is link

    def attach(self, link: GatewayLink) -> None:
        """Caller's duty: `end` the gateway's former stream first."""
        self._links[link.gateway_id] = link

    def end(self, gateway_id: str) -> GatewayLink | None:
        """End a gateway's stream; None when it has none."""
        link = self._links.pop(gateway_id, None)
        if link is not None:
            link.outbox.close()
        return link

    def detach(self, link: GatewayLink) -> bool:
        """False when another stream of the same gateway has already taken its place."""
        if not self.is_attached(link):
            return False
        del self._links[link.gateway_id]
        return True

    def close(self) -> None:
        """End every gateway's stream."""
        for link in self._links.values():
            link.outbox.close()

    def request_headers(self, gateway_id: str, peer: PeerId, request_id: int, query: GetBlockHeaders) -> bool:
        """Ask a peer for headers; False when its gateway is gone."""
        request = gateway_link_pb2.PeerRequest(
            request_id=request_id, node_id=peer, headers=headers_query_to_proto(query)
        )
        return self._send(gateway_id, gateway_link_pb2.ControlResponse(peer_request=request))

    def request_bodies(self, gateway_id: str, peer: PeerId, request_id: int, hashes: Sequence[BlockHash]) -> bool:
        """Ask a peer for block bodies; False when its gateway is gone."""
        wanted = gateway_link_pb2.HashList(hashes=b"".join(hashes))
        request = gateway_link_pb2.PeerRequest(request_id=request_id, node_id=peer, bodies=wanted)
        return self._send(gateway_id, gateway_link_pb2.ControlResponse(peer_request=request))

    def request_receipts(self, gateway_id: str, peer: PeerId, request_id: int, hashes: Sequence[BlockHash]) -> bool:
        """Ask a peer for the receipts of blocks; False when its gateway is gone."""
        wanted = gateway_link_pb2.HashList(hashes=b"".join(hashes))
        request = gateway_link_pb2.PeerRequest(request_id=request_id, node_id=peer, receipts=wanted)
        return self._send(gateway_id, gateway_link_pb2.ControlResponse(peer_request=request))

    def request_node_data(self, gateway_id: str, peer: PeerId, request_id: int, hashes: Sequence[bytes]) -> bool:
        """Ask a peer for state entries; False when its gateway is gone."""
        wanted = gateway_link_pb2.HashList(hashes=b"".join(hashes))
        request = gateway_link_pb2.PeerRequest(request_id=request_id, node_id=peer, node_data=wanted)
        return self._send(gateway_id, gateway_link_pb2.ControlResponse(peer_request=request))

    def drop_peer(self, gateway_id: str, peer: PeerId, offence: Offence, explanation: str) -> None:
        drop = gateway_link_pb2.DropPeer(node_id=peer, offence=offence_to_proto(offence), explanation=explanation)
        self._send(gateway_id, gateway_link_pb2.ControlResponse(drop_peer=drop))

    def send_dial_plan(self, gateway_id: str, plan: gateway_link_pb2.DialPlan) -> None:
        self._send(gateway_id, gateway_link_pb2.ControlResponse(dial_plan=plan))

    def send_verdict(self, gateway_id: str, ticket: int, admission: Admission, ban_s: float) -> None:
        """Answer an AdmitPeer; `ban_s` is how much longer one that is banned stays so."""
        verdict = gateway_link_pb2.AdmitVerdict(
            ticket=ticket, admission=_ADMISSION_TO_PROTO[admission], ban_seconds=ban_s
        )
        self._send(gateway_id, gateway_link_pb2.ControlResponse(admit_verdict=verdict))

    def send_status_to_all(self, status: gateway_link_pb2.LocalStatus) -> None:
        message = gateway_link_pb2.ControlResponse(local_status=status)
        for link in self._links.values():
            link.send(message)

    def _send(self, gateway_id: str, message: gateway_link_pb2.ControlResponse) -> bool:
        link = self._links.get(gateway_id)
        if link is None:
            return False
        link.send(message)
        return True
