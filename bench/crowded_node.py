"""A whole coordinator with peers that come, go and move on: everything between its gateways' streams, and no network.

Of three peers two are inbound, a third is dialled; each is admitted, joins, is asked the challenges of mainnet and two
whitelisted blocks, and answers half of them. A sync runs whenever the coordinator wants one; its master never answers.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from blocksync.v1 import gateway_link_pb2
from prometheus_client import CollectorRegistry

from services.shared.ethwire.connection_stage import Stage
from services.shared.ethwire.disconnect_reason import DisconnectReason
from services.shared.ethwire.headers import with_hash
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import Block, Header, PeerId
from services.shared.rpc.outbox import Outbox
from services.shared.runtime.grpc_server import RpcServer
from services.sync_coordinator import app
from services.sync_coordinator.config import CoordinatorConfig
from services.sync_coordinator.core.disconnect_log import EndedConnection
from services.sync_coordinator.core.peer_set import Peer
from services.sync_coordinator.edges.broadcaster_client import BroadcasterClient
from services.sync_coordinator.edges.gateway_links import GatewayLink
from services.sync_coordinator.metrics import CoordinatorMetrics
from services.sync_coordinator.node import SyncNode
from services.sync_coordinator.opened_chain import open_chain

GATEWAYS: Final = ("gateway-0", "gateway-1", "gateway-2")

TURN_EVERY: Final = 64
"""Events between two turns of the event loop, in which what is not done at once is done."""

WHITELISTED: Final = tuple(f"{number}=0x{number:064x}" for number in (1_000_000, 2_000_000))

FAR_ABOVE: Final = 10**6
"""The number of propagated blocks: the fetcher takes none so far above our head."""


class SinkLink(GatewayLink):
    """A gateway's link on which questions to peers are noted and all else is thrown away."""

    def __init__(self, gateway_id: str) -> None:
        super().__init__(gateway_id, PeerId(gateway_id.encode().ljust(64)), "", Outbox(1))
        self.asked: dict[PeerId, list[int]] = {}

    def send(self, message: gateway_link_pb2.ControlResponse) -> None:
        request = message.peer_request
        if request.request_id:
            self.asked.setdefault(PeerId(request.node_id), []).append(request.request_id)


class CrowdedNode:
    """So many peers of one coordinator, of which some leave, come back, answer and get heavier heads."""

    def __init__(self, node: SyncNode, header: Header, size: int, seed: int) -> None:
        self._node, self._header = node, header
        self._rng = random.Random(seed)
        self._links = {each: SinkLink(each) for each in GATEWAYS}
        for link in self._links.values():
            node.gateway_attached(link, gateway_link_pb2.GatewayHello(discovers=True), [])
        self._ids = [PeerId(number.to_bytes(64)) for number in range(size)]
        self._connected: dict[PeerId, Peer] = {}
        for node_id in self._ids:
            self._join(node_id)

    def event(self) -> None:
        """One peer does something: whoever is away comes back, a third of the others leave, the rest get heavier."""
        node_id = self._rng.choice(self._ids)
        peer = self._connected.get(node_id)
        if peer is None:
            self._join(node_id)
        elif self._rng.random() < 1 / 3:
            self._leave(peer)
        else:
            peer.total_difficulty += self._rng.randrange(1, 10**9)
            block = Block(self._header, b"\xc2\xc0\xc0")
            self._node.block_propagated(node_id, block, peer.total_difficulty)

    def _join(self, node_id: PeerId) -> None:
        link = self._links[self._rng.choice(GATEWAYS)]
        inbound = self._rng.random() < 2 / 3
        self._node.admission_asked(link, gateway_link_pb2.AdmitPeer(ticket=1, node_id=node_id, inbound=inbound))
        peer = Peer(
            node_id=node_id,
            gateway_id=link.gateway_id,
            eth_version=63,
            head_hash=self._header.hash,
            total_difficulty=self._rng.randrange(10**15),
            inbound=inbound,
        )
        self._connected[node_id] = peer
        self._node.peer_joined(peer)
        if self._rng.random() < 1 / 2:
            for request_id in link.asked.get(node_id, ()):
                self._node.headers_arrived(request_id, node_id, [])

    def _leave(self, peer: Peer) -> None:
        del self._connected[peer.node_id]
        self._links[peer.gateway_id].asked.pop(peer.node_id, None)
        ended = EndedConnection(
            node_id=peer.node_id,
            gateway_id=peer.gateway_id,
            inbound=peer.inbound,
            stage=Stage.JOINED,
            reason=DisconnectReason.CLIENT_QUITTING,
            by_us=False,
            offence=Offence.LEFT,
        )
        self._node.peer_left(peer.node_id, peer.gateway_id, "")
        self._node.connection_ended(ended)


@asynccontextmanager
async def crowded_node(size: int, seed: int) -> AsyncIterator[CrowdedNode]:
    """A coordinator with an empty mainnet store and `size` peers."""
    with tempfile.TemporaryDirectory() as datadir:
        config = CoordinatorConfig(
            datadir=Path(datadir), network="mainnet", seal_check="none", whitelist=WHITELISTED, maxpeers=2 * size
        )
        async with open_chain(config) as chain, asyncio.TaskGroup() as tasks:
            others = asyncio.all_tasks()
            parts = BroadcasterClient(()), CoordinatorMetrics(CollectorRegistry()), RpcServer()
            _, node = app.assemble(config, chain, *parts, tasks)
            try:
                header = with_hash(chain.genesis.header._replace(number=FAR_ABOVE, difficulty=1))
                yield CrowdedNode(node, header, size, seed)
            finally:
                node.close()
                for task in asyncio.all_tasks() - others:
                    task.cancel()


def node_event_us(size: int, seed: int, events: int) -> float:
    """Microseconds for an event among `size` peers of a whole coordinator."""

    async def measure() -> float:
        async with crowded_node(size, seed) as crowd:
            await asyncio.sleep(0)
            started = time.perf_counter()
            for at in range(events):
                crowd.event()
                if at % TURN_EVERY == 0:
                    await asyncio.sleep(0)
            return (time.perf_counter() - started) / events * 1e6

    return asyncio.run(measure())
