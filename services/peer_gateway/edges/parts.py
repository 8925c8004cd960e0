"""What every connection of a gateway works with."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from services.peer_gateway.config import GatewayConfig
from services.peer_gateway.edges.broadcaster_link import BroadcasterLink
from services.peer_gateway.edges.chain_reader import ChainReader
from services.peer_gateway.edges.coordinator_link import CoordinatorLink
from services.peer_gateway.edges.roster import Roster
from services.peer_gateway.edges.write_turns import WriteTurns
from services.peer_gateway.metrics import GatewayMetrics
from services.shared.ethwire.messages import Status
from services.shared.ethwire.types import PeerId


@dataclass(slots=True)
class Standing:
    """Who we are, and where our chain stands as the coordinator last said."""

    own_id: PeerId
    trusted: frozenset[PeerId]
    static: frozenset[PeerId] = frozenset()
    """The nodes this gateway keeps a connection to, whoever dials."""
    siblings: frozenset[PeerId] = frozenset()
    """Node ids of all gateways."""
    status: Status | None = None
    """The last one outlives the coordinator; the version is filled in for each peer."""
    has_status: asyncio.Event = field(default_factory=asyncio.Event)
    """Set with the first status: before it nobody is listened to or dialled."""

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
    chain: ChainReader
    metrics: GatewayMetrics
    turns: WriteTurns = field(default_factory=lambda: WriteTurns(asyncio.get_running_loop().call_soon))
