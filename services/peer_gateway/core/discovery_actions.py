"""What discovery asks its edge to do, and what it tells it for the record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.peer_gateway.core.addresses import UdpAddress
from services.peer_gateway.core.discv4_faults import DropCause
from services.peer_gateway.core.discv4_types import Endpoint, Packet
from services.peer_gateway.core.enr import NodeRecord
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.types import PeerId


@dataclass(frozen=True, slots=True)
class SendDatagram:
    """Send this, once; a loss is foreseen."""

    address: UdpAddress
    datagram: bytes
    kind: type[Packet]


@dataclass(frozen=True, slots=True)
class SeedsWanted:
    """Recall nodes of former days and give them to `Discovery.seed`, soon or never."""


@dataclass(frozen=True, slots=True)
class NodesFound:
    """The lookup of `target` is over. These nodes have proven their endpoints; there may be none."""

    target: PeerId
    nodes: Sequence[Enode]


@dataclass(frozen=True, slots=True)
class StoreNode:
    """Remember a node that has been here for a while, for the next start."""

    node: Enode
    last_pong_unix_s: float
    find_failures: int


@dataclass(frozen=True, slots=True)
class EndpointMoved:
    """Others agree that we are reached here; our record and our Pings say so from now on."""

    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class RecordFound:
    """The record that a node was asked for."""

    record: NodeRecord


@dataclass(frozen=True, slots=True)
class Received:
    """A packet was read, whatever became of it. To be counted."""

    kind: type[Packet]


@dataclass(frozen=True, slots=True)
class Dropped:
    """A datagram was not acted upon, or not in full. To be counted."""

    cause: DropCause


Action = SendDatagram | SeedsWanted | NodesFound | StoreNode | EndpointMoved | RecordFound | Received | Dropped
