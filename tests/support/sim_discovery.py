"""Discovery nodes joined by a network in virtual time."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from coincurve import PrivateKey

from services.peer_gateway.core.addresses import UdpAddress
from services.peer_gateway.core.discovery import Discovery, DiscoverySettings
from services.peer_gateway.core.discovery_actions import Action, Dropped, NodesFound, SendDatagram
from services.peer_gateway.core.discv4_faults import DropCause
from services.peer_gateway.core.discv4_types import Endpoint
from services.peer_gateway.core.ecies import generate_key, node_id_of
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.types import PeerId
from tests.support.sim_net import SimNet

UNIX_OFFSET_S: Final = 1_700_000_000.0

LATENCY_S: Final = (0.005, 0.08)
"""So that a reply comes within its time-out, as most do in life."""

PORT: Final = 30303


@dataclass(eq=False)
class SimNode:
    """One node: a real `Discovery` whose datagrams the network carries."""

    net: DiscoveryNet
    key: PrivateKey
    host: str
    discovery: Discovery
    is_up: bool = True
    found: list[NodesFound] = field(default_factory=list)
    dropped: Counter[DropCause] = field(default_factory=Counter)
    other_actions: list[Action] = field(default_factory=list)
    _timer: float = float("inf")

    @property
    def enode(self) -> Enode:
        return Enode(node_id_of(self.key.public_key), self.host, PORT, PORT)

    @property
    def address(self) -> UdpAddress:
        return UdpAddress(self.host, PORT)

    @property
    def known(self) -> set[PeerId]:
        return {known.node.node_id for known in self.discovery.table}

    def look_up(self, target: PeerId) -> None:
        self.carry(self.discovery.look_up(target, self.net.sim.now))

    def receive(self, datagram: bytes, address: UdpAddress) -> None:
        if self.is_up:
            self.carry(self.discovery.receive(datagram, address, self.net.sim.now))

    def carry(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case SendDatagram(address, datagram, _):
                    self.net.send(self.address, address, datagram)
                case NodesFound():
                    self.found.append(action)
                case Dropped(cause):
                    self.dropped[cause] += 1
                case _:
                    self.other_actions.append(action)
        self.arm()

    def __repr__(self) -> str:
        return f"SimNode({self.host})"

    def arm(self) -> None:
        due = self.discovery.next_wakeup()
        if due < self._timer:
            self._timer = due
            self.net.sim.at(due, lambda: self._wake(due))

    def _wake(self, planned: float) -> None:
        if not self.is_up or planned != self._timer:
            return
        self._timer = float("inf")
        self.carry(self.discovery.on_wakeup(self.net.sim.now))


class DiscoveryNet:
    """Carries datagrams between hosts, losing some."""

    def __init__(self, seed: int, loss: float = 0.0) -> None:
        self.sim = SimNet(seed)
        self.loss = loss
        self.nodes: list[SimNode] = []
        self.sent: list[tuple[UdpAddress, UdpAddress, bytes]] = []
        """Kept while `records` is set."""
        self.records = False
        self._at: dict[UdpAddress, Callable[[bytes, UdpAddress], None]] = {}

    def node(self, name: str, host: str, boot_nodes: Iterable[Enode] = (), store_after_s: float = 300.0) -> SimNode:
        """Add a node; it begins at once."""
        key = generate_key(random.Random(name).randbytes)
        discovery = Discovery(
            key,
            Endpoint(host, PORT, PORT),
            random.Random(f"{self.sim.seed} {name}"),
            self.sim.now,
            DiscoverySettings(boot_nodes=tuple(boot_nodes), unix_offset_s=UNIX_OFFSET_S, store_after_s=store_after_s),
        )
        made = SimNode(self, key, host, discovery)
        self.nodes.append(made)
        self.listen(made.address, made.receive)
        made.arm()
        return made

    def listen(self, address: UdpAddress, receive: Callable[[bytes, UdpAddress], None]) -> None:
        self._at[address] = receive

    def send(self, source: UdpAddress, target: UdpAddress, datagram: bytes) -> None:
        if self.records:
            self.sent.append((source, target, datagram))

        def deliver() -> None:
            receive = self._at.get(target)
            if receive is not None:
                receive(datagram, source)

        self.sim.send(deliver, loss=self.loss, latency=LATENCY_S)

    def run(self, seconds: float) -> None:
        self.sim.run_until(self.sim.now + seconds)
