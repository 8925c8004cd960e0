"""Questions and answers between us and single nodes: what discovery says and hears, without what it knows.

Everything here follows one rule: nobody is sent more than it has earned. A stranger's Ping earns a Pong and a Ping;
only a Pong to that earns longer answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from coincurve import PrivateKey

from services.peer_gateway.core.addresses import UdpAddress, kind_of, may_tell_of
from services.peer_gateway.core.discovery_actions import Action, EndpointMoved, Received, SendDatagram
from services.peer_gateway.core.discv4_faults import (
    EndpointUnproven,
    HostNotAllowed,
    SentByOurselves,
    TooManyDatagrams,
    UnsolicitedReply,
)
from services.peer_gateway.core.discv4_packets import (
    OpenedPacket,
    check_fresh,
    open_packet,
    seal_packet,
    split_neighbors,
)
from services.peer_gateway.core.discv4_types import (
    EXPIRATION_S,
    Endpoint,
    EnrRequest,
    EnrResponse,
    FindNode,
    Neighbors,
    Packet,
    Ping,
    Pong,
)
from services.peer_gateway.core.ecies import InvalidPublicKey, node_id_of, public_key_of
from services.peer_gateway.core.endpoint_proofs import EndpointProofs
from services.peer_gateway.core.enr import NodeRecord
from services.peer_gateway.core.node_table import BUCKET_SIZE
from services.peer_gateway.core.own_endpoint import OwnEndpoint
from services.peer_gateway.core.pending_replies import Awaited, PendingReplies
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.types import PeerId

LOWEST_RELAYED_PORT: Final = 1025
"""UDP ports below are not believed when a third party names them: services that mind a stray packet live there."""

STRANGERS_PENDING: Final = 256
"""Replies waited for above which no stranger's endpoint is proven: our own questions need few, a flood many."""

STRANGERS_PENDING_PER_HOST: Final = 16
"""The same for one host, loopback and LAN exempt."""


@dataclass(frozen=True, slots=True)
class Pinged:
    """A Ping of `node` was answered; `node` is where it came from."""

    node: Enode


@dataclass(frozen=True, slots=True)
class Proven:
    """The node has answered our Ping."""

    node: Enode


@dataclass(frozen=True, slots=True)
class Named:
    """The whole reply to a FindNode: nodes that can be used, as far as their looks go."""

    node: Enode
    nodes: Sequence[Enode]


@dataclass(frozen=True, slots=True)
class Asked:
    """A node that has proven its endpoint wants to know who is near `target`."""

    address: UdpAddress
    target: PeerId


@dataclass(frozen=True, slots=True)
class Silent:
    """A reply did not come in time."""

    kind: Awaited
    node: Enode


@dataclass(frozen=True, slots=True)
class Recorded:
    """The record that a node was asked for."""

    record: NodeRecord


Event = Pinged | Proven | Named | Asked | Silent | Recorded


@dataclass(slots=True)
class PacketExchange:
    """Signs, sends, checks, answers, and waits. The owner reads `actions` and empties it."""

    key: PrivateKey
    own: OwnEndpoint
    allowed: Callable[[str], bool]
    """Which hosts we talk to at all."""
    unix_offset_s: float
    """Unix time minus `now`: expirations are dates, everything else is a span."""
    proofs: EndpointProofs = field(default_factory=EndpointProofs)
    pending: PendingReplies = field(default_factory=PendingReplies)
    actions: list[Action] = field(default_factory=list)
    own_id: PeerId = field(init=False)

    def __post_init__(self) -> None:
        self.own_id = node_id_of(self.key.public_key)

    def receive(self, datagram: bytes, address: UdpAddress, now: float) -> Event | None:
        """What a datagram means, once it is answered. Raises a DatagramFault when it means nothing."""
        if not self.allowed(address.host):
            raise HostNotAllowed(address.host)
        opened = open_packet(datagram)
        self.actions.append(Received(type(opened.packet)))
        if opened.node_id == self.own_id:
            raise SentByOurselves
        check_fresh(opened.packet, now + self.unix_offset_s)
        match opened.packet:
            case Ping():
                return self._on_ping(opened.packet, opened, address, now)
            case Pong():
                return self._on_pong(opened.packet, opened.node_id, address, now)
            case FindNode(target):
                self._check_proven(opened, address, now)
                return Asked(address, target)
            case Neighbors(nodes):
                return self._on_neighbors(nodes, opened.node_id, address)
            case EnrRequest():
                self._check_proven(opened, address, now)
                self._send(address, EnrResponse(opened.packet_hash, self.own.record))
                return None
            case EnrResponse():
                return self._on_record(opened.packet, opened.node_id, address)

    def on_wakeup(self, now: float) -> Iterable[Event]:
        """What did not come in time. A reply to FindNode that came in part is a reply."""
        for late in self.pending.overdue(now):
            if late.kind is Awaited.NEIGHBORS and late.nodes:
                yield Named(late.node, tuple(late.nodes))
            else:
                yield Silent(late.kind, late.node)

    def ping(self, node: Enode, now: float, *, is_strangers: bool = False) -> None:
        """Ask for a sign of life, unless one is asked for already; `Proven` or `Silent` follows."""
        address = UdpAddress(node.host, node.udp_port)
        if self.pending.find(Awaited.PONG, node.node_id, address) is None:
            recipient = Endpoint(node.host, node.udp_port, node.tcp_port)
            ping = Ping(self.own.endpoint, recipient, self._expiration(now), self.own.record.seq)
            self.pending.expect(Awaited.PONG, node, now, self._send(address, ping), is_strangers=is_strangers)

    def ping_stranger(self, node: Enode, now: float) -> None:
        """Like `ping`, for one that came by itself. Raises TooManyDatagrams when there are too many of them."""
        is_crowd = not kind_of(node.host).is_lan and self.pending.count_at(node.host) >= STRANGERS_PENDING_PER_HOST
        if is_crowd or len(self.pending) >= STRANGERS_PENDING:
            raise TooManyDatagrams(node.host)
        self.ping(node, now, is_strangers=True)

    def await_ping(self, node: Enode, now: float) -> None:
        """Wait for the node to ask for our own sign of life; `Pinged` or `Silent` follows."""
        if self.pending.find(Awaited.PING, node.node_id, UdpAddress(node.host, node.udp_port)) is None:
            self.pending.expect(Awaited.PING, node, now)

    def find_node(self, node: Enode, target: PeerId, now: float) -> None:
        """Ask who is near `target`; `Named` or `Silent` follows. Caller's duty: one question at a time."""
        self._send(UdpAddress(node.host, node.udp_port), FindNode(target, self._expiration(now)))
        self.pending.expect(Awaited.NEIGHBORS, node, now)

    def request_record(self, node: Enode, now: float) -> None:
        """Ask for the node's record, unless it is asked for already; `Recorded` or `Silent` follows."""
        address = UdpAddress(node.host, node.udp_port)
        if self.pending.find(Awaited.RECORD, node.node_id, address) is None:
            request_hash = self._send(address, EnrRequest(self._expiration(now)))
            self.pending.expect(Awaited.RECORD, node, now, request_hash)

    def name_nodes(self, address: UdpAddress, nodes: Sequence[Enode], now: float) -> None:
        """Answer `Asked`."""
        for neighbors in split_neighbors(nodes, self._expiration(now)):
            self._send(address, neighbors)

    def _on_ping(self, ping: Ping, opened: OpenedPacket, address: UdpAddress, now: float) -> Event:
        seen_at = Endpoint(address.host, address.port, ping.sender.tcp_port)
        self._send(address, Pong(seen_at, opened.packet_hash, self._expiration(now), self.own.record.seq))
        self.proofs.on_ping(opened.node_id, address.host, now)
        awaited = self.pending.find(Awaited.PING, opened.node_id, address)
        if awaited is not None:
            self.pending.settle(awaited)
        return Pinged(Enode(opened.node_id, address.host, ping.sender.tcp_port, address.port))

    def _on_pong(self, pong: Pong, node_id: PeerId, address: UdpAddress, now: float) -> Event:
        awaited = self.pending.find(Awaited.PONG, node_id, address)
        if awaited is None or awaited.request_hash != pong.ping_hash:
            raise UnsolicitedReply(Pong.__name__)
        self.pending.settle(awaited)
        self.proofs.on_pong(node_id, address.host, now)
        seen_at = UdpAddress(pong.recipient.host, pong.recipient.udp_port)
        if self.own.on_statement(address.host, seen_at, now):
            self.actions.append(EndpointMoved(self.own.endpoint))
        return Proven(awaited.node)

    def _on_neighbors(self, nodes: Sequence[Enode], node_id: PeerId, address: UdpAddress) -> Event | None:
        awaited = self.pending.find(Awaited.NEIGHBORS, node_id, address)
        if awaited is None:
            raise UnsolicitedReply(Neighbors.__name__)
        awaited.nodes += [node for node in nodes if self._is_usable(node, address.host)]
        awaited.named += len(nodes)
        if awaited.named < BUCKET_SIZE:
            return None
        self.pending.settle(awaited)
        return Named(awaited.node, tuple(awaited.nodes[:BUCKET_SIZE]))

    def _on_record(self, response: EnrResponse, node_id: PeerId, address: UdpAddress) -> Event:
        awaited = self.pending.find(Awaited.RECORD, node_id, address)
        is_asked = awaited is not None and awaited.request_hash == response.request_hash
        if awaited is None or not is_asked or response.record.node_id != node_id:
            raise UnsolicitedReply(EnrResponse.__name__)
        self.pending.settle(awaited)
        return Recorded(response.record)

    def _check_proven(self, opened: OpenedPacket, address: UdpAddress, now: float) -> None:
        if not self.proofs.is_proven(opened.node_id, address.host, now):
            raise EndpointUnproven(type(opened.packet).__name__, address.host)

    def _is_usable(self, node: Enode, speaker: str) -> bool:
        """Whether a node that `speaker` names is one we may talk to."""
        if node.udp_port < LOWEST_RELAYED_PORT or node.node_id == self.own_id:
            return False
        if not may_tell_of(speaker, node.host) or not self.allowed(node.host):
            return False
        try:
            public_key_of(node.node_id)
        except InvalidPublicKey:
            return False
        return True

    def _expiration(self, now: float) -> int:
        return int(now + self.unix_offset_s) + EXPIRATION_S

    def _send(self, address: UdpAddress, packet: Packet) -> bytes:
        """Plan a datagram; the result is the hash by which a reply will name it."""
        datagram, packet_hash = seal_packet(self.key, packet)
        self.actions.append(SendDatagram(address, datagram, type(packet)))
        return packet_hash
