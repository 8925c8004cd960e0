"""What the coordinator and the broadcaster tell this gateway to do, carried out."""

from __future__ import annotations

from collections.abc import Iterable

from blocksync.v1 import broadcast_pb2
from blocksync.v1 import gateway_link_pb2 as wire

from services.peer_gateway.core.dial_plan import DialPlan
from services.peer_gateway.core.request_book import Request
from services.peer_gateway.core.send_queue import Outgoing, Urgency
from services.peer_gateway.core.snappy_codec import Payload
from services.peer_gateway.edges.block_traces import Sending
from services.peer_gateway.edges.dialler import Dialler
from services.peer_gateway.edges.parts import Parts
from services.peer_gateway.edges.roster import JoinedPeer
from services.shared.chainspec.enode import Enode, EnodeInvalid, parse_enode
from services.shared.ethwire.eth_messages import encode_message
from services.shared.ethwire.messages import (
    EthMessage,
    GetBlockBodies,
    GetNodeData,
    GetReceipts,
    NewBlock,
    NewBlockHashes,
    Status,
    Transactions,
)
from services.shared.ethwire.offences import CONSEQUENCES
from services.shared.ethwire.types import PeerId
from services.shared.rpc.convert import (
    announces_from_proto,
    big_from_bytes,
    block_hash_from_proto,
    headers_query_from_proto,
    offence_from_proto,
    peer_id_from_proto,
    split_hashes,
)
from services.shared.rpc.errors import InvalidRequest
from services.shared.rpc.known_transactions import transaction_hashes_from_proto
from services.shared.runtime.logs import get_log

COMMON_VERSION = 62
"""Blocks, announces and transactions are the same bytes in every version, so they are encoded once."""


class CoordinatorOrders:
    """Implements `CoordinatorCommands`."""

    def __init__(self, parts: Parts, dialler: Dialler) -> None:
        self._parts, self._dialler = parts, dialler
        self._log = get_log("orders")

    def on_local_status(self, status: wire.LocalStatus) -> None:
        self._parts.standing.set_status(
            Status(
                protocol_version=0,
                network_id=status.network_id,
                total_difficulty=big_from_bytes(status.total_difficulty),
                head_hash=block_hash_from_proto(status.head_hash),
                genesis_hash=block_hash_from_proto(status.genesis_hash),
            )
        )

    def on_peer_request(self, request: wire.PeerRequest, session: int) -> None:
        peer = self._parts.roster.get(peer_id_from_proto(request.node_id))
        if peer is None:
            why: str | None = "the peer is gone"
        else:
            question = _request_from_proto(request)
            why = peer.ask(question, request.request_id, session)
        if why is not None:
            lost = wire.RequestLost(request_id=request.request_id, explanation=why)
            self._parts.coordinator.tell(wire.ControlRequest(request_lost=lost))

    def on_drop_peer(self, command: wire.DropPeer) -> None:
        peer = self._parts.roster.get(peer_id_from_proto(command.node_id))
        if peer is not None:
            peer.disconnect(offence_from_proto(command.offence), command.explanation)

    def on_dial_plan(self, plan: wire.DialPlan) -> None:
        standing = self._parts.standing
        nodes = self._readable(plan.static_enodes)
        standing.static = frozenset(node.node_id for node in nodes)
        standing.siblings = frozenset(map(peer_id_from_proto, plan.gateway_node_ids))
        standing.trusted_by_plan = frozenset(map(peer_id_from_proto, plan.trusted_node_ids))
        standing.orders = list(plan.orders)
        self._dialler.set_plan(DialPlan(static=nodes, gateways=standing.siblings, dynamic_places=plan.dynamic_places))

    def _readable(self, urls: Iterable[str]) -> list[Enode]:
        nodes = []
        for url in urls:
            try:
                nodes.append(parse_enode(url))
            except EnodeInvalid as problem:
                self._log.warning("a node of the dial plan is left out", why=str(problem))
        return nodes


class BroadcasterOrders:
    """Implements `BroadcastCommands`: encodes once, queues for many. A peer that lags behind is left out, counted."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._log = get_log("broadcaster-orders")

    def on_send_block(self, command: broadcast_pb2.SendBlock) -> None:
        block_hash = block_hash_from_proto(command.block_hash)
        difficulty = big_from_bytes(command.total_difficulty)
        lacking: list[JoinedPeer] = []
        for peer in self._peers(command.node_ids):
            if block_hash in peer.known_blocks:
                self._parts.metrics.drop("block", "known-to-peer")
            else:
                lacking.append(peer)
        block = NewBlock(command.header_rlp, command.body_rlp, difficulty)
        sending = self._parts.traces.sending([block_hash], command.decision_span_id)
        reached = self._send(Urgency.BLOCK, block, lacking, sending)
        for peer in reached:
            peer.known_blocks.add([block_hash])
        if len(reached) < len(lacking):
            full = [PeerId(peer.details().node_id) for peer in lacking if block_hash not in peer.known_blocks]
            self._parts.broadcaster.send_refused(block_hash, full)

    def on_send_announces(self, command: broadcast_pb2.SendAnnounces) -> None:
        announces = announces_from_proto(command.announces)
        hashes = [announce.block_hash for announce in announces]
        lacking: list[JoinedPeer] = []
        for peer in self._peers(command.node_ids):
            if all(block_hash in peer.known_blocks for block_hash in hashes):
                self._parts.metrics.drop("announce", "known-to-peer")
            else:
                lacking.append(peer)
        sending = self._parts.traces.sending(hashes, command.decision_span_id)
        for peer in self._send(Urgency.ANNOUNCE, NewBlockHashes(announces), lacking, sending):
            peer.known_blocks.add(hashes)

    def on_send_transactions(self, command: broadcast_pb2.SendTransactions) -> None:
        transactions = Transactions(list(command.transactions_rlp))
        hashes = transaction_hashes_from_proto(command)
        reached = self._send(Urgency.TRANSACTIONS, transactions, self._peers(command.node_ids))
        self._parts.known_transactions.sent([peer.node_id for peer in reached], hashes)

    def on_peer_offence(self, command: broadcast_pb2.PeerOffence) -> None:
        """The broadcaster reads transactions, and finds what the gateway does not look at."""
        node_id, offence = peer_id_from_proto(command.node_id), offence_from_proto(command.offence)
        peer = self._parts.roster.get(node_id)
        if peer is None:
            return
        if CONSEQUENCES[offence].drops:
            peer.disconnect(offence, command.explanation)
        else:
            self._parts.metrics.offence(offence)
            self._log.debug("offence of a peer", node=node_id.hex()[:16], why=command.explanation)

    def _peers(self, node_ids: Iterable[bytes]) -> list[JoinedPeer]:
        found = [self._parts.roster.get(PeerId(node_id)) for node_id in node_ids]
        return [peer for peer in found if peer is not None]

    def _send(
        self, urgency: Urgency, message: EthMessage, peers: Iterable[JoinedPeer], sending: Sending | None = None
    ) -> list[JoinedPeer]:
        """The peers that it was queued for; they share its bytes, compressed ones too."""
        code, payload = encode_message(COMMON_VERSION, message)
        outgoing = Outgoing(code, Payload(payload), None if sending is None else sending.on_written)
        name = type(message).__name__
        reached = []
        for peer in peers:
            if peer.send(urgency, outgoing):
                reached.append(peer)
            else:
                self._parts.metrics.drop(name, "slow-peer")
        if sending is not None:
            sending.queued(len(reached), name)
        return reached


def _request_from_proto(request: wire.PeerRequest) -> Request:
    match request.WhichOneof("query"):
        case "headers":
            return headers_query_from_proto(request.headers)
        case "bodies":
            return GetBlockBodies(split_hashes(request.bodies.hashes))
        case "receipts":
            return GetReceipts(split_hashes(request.receipts.hashes))
        case "node_data":
            return GetNodeData([*split_hashes(request.node_data.hashes)])
        case _:
            raise InvalidRequest("a peer request without a query")
