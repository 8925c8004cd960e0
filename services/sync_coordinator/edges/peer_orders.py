"""What operators order about peers: geth's `admin.addPeer`, `removePeer`, `addTrustedPeer`, `removeTrustedPeer`."""

from __future__ import annotations

from typing import Final

import structlog
from blocksync.v1 import coordinator_pb2

from services.shared.chainspec.enode import Enode, EnodeInvalid, parse_enode
from services.shared.ethwire.offences import Offence
from services.shared.rpc.errors import InvalidRequest, LimitReached
from services.sync_coordinator.core.node_list import TooManyOrders
from services.sync_coordinator.core.peer_set import PeerSet
from services.sync_coordinator.edges.dial_plans import DialPlans
from services.sync_coordinator.edges.gateway_links import GatewayLinks
from services.sync_coordinator.edges.penalty_desk import PenaltyDesk

ENODE_FORM: Final = "enode://<128 hex digits>@<host>:<port>"

_log = structlog.get_logger("operator")


class PeerOrders:
    """Checks an order, has it carried out, and says what came of it at once."""

    def __init__(self, plans: DialPlans, peers: PeerSet, links: GatewayLinks, penalties: PenaltyDesk) -> None:
        self._plans, self._peers, self._links, self._penalties = plans, peers, links, penalties

    def add_peer(self, url: str) -> coordinator_pb2.AddPeerResponse:
        """Keep a node connected. Raises InvalidRequest or LimitReached, as all of these."""
        node = _read(url)
        if node.tcp_port == 0:
            raise InvalidRequest(
                f"{url!r} cannot be dialled: its TCP port is 0; give the port that the node listens on",
                field="enode",
                value=url,
                rule="a TCP port above 0",
            )
        if node.node_id in self._peers.gateway_node_ids:
            raise InvalidRequest(
                f"{url!r} is one of our own gateways; give the enode URL of another node", field="enode", value=url
            )
        self._check_allowed(node)
        self._order(node, "static node added", trusted=False, listed=True)
        return coordinator_pb2.AddPeerResponse(
            gateway_id=self._plans.keeper_of(node.node_id) or "", connected=self._peers.get(node.node_id) is not None
        )

    def remove_peer(self, url: str) -> coordinator_pb2.RemovePeerResponse:
        node = _read(url)
        was_static, peer = self._plans.is_static(node.node_id), self._peers.get(node.node_id)
        if was_static:
            self._order(node, "static node removed", trusted=False, listed=False)
        if peer is not None:
            self._links.drop_peer(peer.gateway_id, node.node_id, Offence.OPERATOR_REQUEST, "an operator had it removed")
        return coordinator_pb2.RemovePeerResponse(was_static=was_static, was_connected=peer is not None)

    def add_trusted_peer(self, url: str) -> coordinator_pb2.AddTrustedPeerResponse:
        node = _read(url)
        self._order(node, "trusted node added", trusted=True, listed=True)
        return coordinator_pb2.AddTrustedPeerResponse(connected=self._peers.get(node.node_id) is not None)

    def remove_trusted_peer(self, url: str) -> coordinator_pb2.RemoveTrustedPeerResponse:
        node = _read(url)
        was_trusted = self._plans.is_trusted(node.node_id)
        if was_trusted:
            self._order(node, "trusted node removed", trusted=True, listed=False)
        return coordinator_pb2.RemoveTrustedPeerResponse(was_trusted=was_trusted)

    def _check_allowed(self, node: Enode) -> None:
        """Raises InvalidRequest where every gateway there is would refuse to dial the node."""
        links = list(self._links)
        if links and not any(link.allows(node.host) for link in links):
            networks = " and ".join(sorted({str(link.restrict) for link in links}))
            raise InvalidRequest(
                f"{node.host} is not dialled: --netrestrict of the gateways allows {networks} alone; start them with "
                "another one, or give a node that is in there",
                field="enode",
                value=node.host,
                rule=f"in {networks}",
                reason="NETWORK_RESTRICTED",
            )

    def _order(self, node: Enode, what: str, *, trusted: bool, listed: bool) -> None:
        try:
            self._plans.order(node, trusted=trusted, listed=listed)
        except TooManyOrders as problem:
            raise LimitReached(str(problem), reason="TOO_MANY_ORDERS") from problem
        if listed:
            # The operator's word counts more than our judgement.
            self._penalties.bans.lift(node.node_id)
        _log.info(what, node=node.node_id.hex()[:16], address=f"{node.host}:{node.tcp_port}")


def _read(url: str) -> Enode:
    try:
        return parse_enode(url)
    except EnodeInvalid as problem:
        raise InvalidRequest(
            f"{problem}; give {ENODE_FORM}", field="enode", value=url, rule=ENODE_FORM, reason="ENODE_INVALID"
        ) from problem
