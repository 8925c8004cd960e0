"""The packets of discovery v4 as values (devp2p `discv4.md`, EIP-868); `discv4_packets` reads and writes them.

`expiration` is in seconds of unix time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

from services.peer_gateway.core.enr import NodeRecord
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.types import PeerId

PROTOCOL_VERSION: Final = 4
"""What our Ping says; any other version is read all the same (EIP-8)."""

EXPIRATION_S: Final = 20
"""How long our packets are valid, as geth's are; it bounds replays, and how wrong a clock may be."""


class Endpoint(NamedTuple):
    """Where somebody says a node is. `host` is empty where no address was told, a port is then mostly 0."""

    host: str
    udp_port: int
    tcp_port: int


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there? Whoever answers with a Pong has proven that it can be reached where the Ping was sent."""

    sender: Endpoint
    recipient: Endpoint
    expiration: int
    enr_seq: int | None = None
    version: int = PROTOCOL_VERSION


@dataclass(frozen=True, slots=True)
class Pong:
    """I am here; `recipient` is where the Ping seemed to come from, so that its sender learns its address."""

    recipient: Endpoint
    ping_hash: bytes
    expiration: int
    enr_seq: int | None = None


@dataclass(frozen=True, slots=True)
class FindNode:
    """Which nodes do you know whose hashed ids are closest to that of `target`?"""

    target: PeerId
    expiration: int


@dataclass(frozen=True, slots=True)
class Neighbors:
    """Some of the nodes asked for; a reply may be several packets."""

    nodes: Sequence[Enode]
    expiration: int


@dataclass(frozen=True, slots=True)
class EnrRequest:
    """What is your record?"""

    expiration: int


@dataclass(frozen=True, slots=True)
class EnrResponse:
    """My record, in reply to the request of that hash."""

    request_hash: bytes
    record: NodeRecord


Packet = Ping | Pong | FindNode | Neighbors | EnrRequest | EnrResponse

PACKET_TYPES: Final[Mapping[int, type[Packet]]] = MappingProxyType(
    {1: Ping, 2: Pong, 3: FindNode, 4: Neighbors, 5: EnrRequest, 6: EnrResponse}
)
