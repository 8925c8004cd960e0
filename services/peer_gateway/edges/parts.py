"""What every connection of a gateway works with."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from blocksync.v1 import gateway_link_pb2

from services.peer_gateway.config import GatewayConfig
from services.peer_gateway.core.dial_plan import Dial
from services.peer_gateway.edges.block_traces import BlockTraces
from services.peer_gateway.edges.broadcaster_link import BroadcasterLink
from services.peer_gateway.edges.chain_reader import ChainReader
from services.peer_gateway.edges.coordinator_link import CoordinatorLink
from services.peer_gateway.edges.digests import Digests
from services.peer_gateway.edges.known_transactions import KnownTransactions
from services.peer_gateway.edges.roster import Roster
from services.peer_gateway.edges.tcp import Sharing
from services.peer_gateway.metrics import GatewayMetrics
from services.shared.ethwire.messages import Status
from services.shared.ethwire.types import PeerId


@dataclass(slots=True)
class Standing:
    """Who we are, and where our chain stands as the coordinator last said."""

    own_id: PeerId
    trusted_here: frozenset[PeerId]
    """Nodes that this gateway was started to trust."""
    trusted_by_plan: frozenset[PeerId] = frozenset()
    static: frozenset[PeerId] = frozenset()
    """The nodes this gateway keeps a connection to, whoever dials."""
    siblings: frozenset[PeerId] = frozenset()
    """Node ids of all gateways."""
    former: dict[PeerId, Dial] = field(default_factory=dict)
    """The dials under way to peers of before the restart."""
    orders: list[gateway_link_pb2.PeerOrder] = field(default_factory=list)
    """What operators ordered about nodes, kept for the coordinator: it forgets when it restarts."""
    status: Status | None = None
    """The last one outlives the coordinator; the version is filled in for each peer."""
    has_status: asyncio.Event = field(default_factory=asyncio.Event)
    """Set with the first status: before it nobody is listened to or dialled."""

    def is_trusted(self, node_id: PeerId) -> bool:
        return node_id in self.trusted_here or node_id in self.trusted_by_plan

    def set_status(self, status: Status) -> None:
        self.status = status
        self.has_status.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The one of each in a gateway."""

    config: GatewayConfig
    standing: Standing
    roster: Roster
    coordinator: CoordinatorLink
    broadcaster: BroadcasterLink
    known_transactions: KnownTransactions
    chain: ChainReader
    digests: Digests
    metrics: GatewayMetrics
    sharing: Sharing
    traces: BlockTraces
