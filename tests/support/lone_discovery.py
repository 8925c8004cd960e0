"""One `Discovery` in virtual time, and scripted nodes that say exactly what a test wants."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from services.peer_gateway.core.addresses import UdpAddress
from services.peer_gateway.core.discovery import Discovery, DiscoverySettings
from services.peer_gateway.core.discovery_actions import Action, Dropped, SendDatagram
from services.peer_gateway.core.discv4_faults import DropCause
from services.peer_gateway.core.discv4_packets import OpenedPacket, open_packet, seal_packet, split_neighbors
from services.peer_gateway.core.discv4_types import Endpoint, Packet, Ping, Pong
from services.peer_gateway.core.ecies import generate_key, node_id_of
from services.peer_gateway.core.own_endpoint import NOTHING_ADVERTISED, Advertised
from services.shared.chainspec.enode import Enode

UNIX_OFFSET_S: Final = 1_700_000_000.0
OUR_HOST: Final = "20.255.0.1"
PORT: Final = 30303

P = TypeVar("P")


class LoneDiscovery:
    """Our node. `sent` holds what it has sent and no test has read; `told` the other actions."""

    def __init__(
        self,
        boot_nodes: Iterable[Enode] = (),
        allowed: Callable[[str], bool] = lambda host: True,
        advertised: Advertised = NOTHING_ADVERTISED,
    ) -> None:
        self.now = 0.0
        self.key = generate_key(random.Random("us").randbytes)
        settings = DiscoverySettings(
            boot_nodes=tuple(boot_nodes), allowed=allowed, advertised=advertised, unix_offset_s=UNIX_OFFSET_S
        )
        self.core = Discovery(self.key, Endpoint(OUR_HOST, PORT, PORT), random.Random(7), 0.0, settings)
        self.sent: list[tuple[UdpAddress, OpenedPacket]] = []
        self.told: list[Action] = []

    @property
    def address(self) -> UdpAddress:
        return UdpAddress(OUR_HOST, PORT)

    @property
    def drops(self) -> list[DropCause]:
        return [action.cause for action in self.told if isinstance(action, Dropped)]

    def all_told(self, kind: type[P]) -> list[P]:
        return [action for action in self.told if isinstance(action, kind)]

    def carry(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if isinstance(action, SendDatagram):
                self.sent.append((action.address, open_packet(action.datagram)))
            else:
                self.told.append(action)

    def pass_time(self, seconds: float) -> None:
        """Let time go by, waking it whenever it wants."""
        end = self.now + seconds
        while (due := self.core.next_wakeup()) <= end:
            self.now = max(self.now, due)
            self.carry(self.core.on_wakeup(self.now))
        self.now = end


class ScriptedNode:
    """A remote node that does only what it is told."""

    def __init__(self, ours: LoneDiscovery, name: str, host: str = "21.0.0.1", port: int = PORT) -> None:
        self.ours = ours
        self.key = generate_key(random.Random(name).randbytes)
        self.address = UdpAddress(host, port)
        self.enode = Enode(node_id_of(self.key.public_key), host, port, port)

    @property
    def expiration(self) -> int:
        return int(self.ours.now + UNIX_OFFSET_S) + 20

    def say(self, packet: Packet, source: UdpAddress | None = None) -> bytes:
        """Send a packet, by default from its own address; its hash."""
        datagram, packet_hash = seal_packet(self.key, packet)
        self.ours.carry(self.ours.core.receive(datagram, source or self.address, self.ours.now))
        return packet_hash

    def ping(self, source: UdpAddress | None = None, **changes: Any) -> bytes:
        endpoint = Endpoint(self.enode.host, self.enode.udp_port, self.enode.tcp_port)
        fields = {
            "sender": endpoint,
            "recipient": Endpoint(OUR_HOST, PORT, 0),
            "expiration": self.expiration,
            **changes,
        }
        return self.say(Ping(**fields), source)

    def pong(self, ping_hash: bytes, seen_at: Endpoint | None = None, source: UdpAddress | None = None) -> None:
        self.say(Pong(seen_at or Endpoint(OUR_HOST, PORT, PORT), ping_hash, self.expiration), source)

    def name(self, nodes: Iterable[Enode]) -> None:
        """Answer a FindNode, in as many packets as it takes."""
        for neighbors in split_neighbors(list(nodes), self.expiration):
            self.say(neighbors)

    def heard(self, kind: type[P]) -> list[tuple[P, bytes]]:
        """Take out what we have sent to its address so far, of this kind: packets and their hashes."""
        mine = [entry for entry in self.ours.sent if entry[0] == self.address and isinstance(entry[1].packet, kind)]
        self.ours.sent = [entry for entry in self.ours.sent if entry not in mine]
        return [(opened.packet, opened.packet_hash) for _, opened in mine]  # type: ignore[misc]

    def bond(self) -> None:
        """Prove both endpoints."""
        self.ping()
        self.answer_pings()

    def answer_pings(self) -> int:
        """Answer the Pings it was sent; how many they were."""
        pings = self.heard(Ping)
        for _, ping_hash in pings:
            self.pong(ping_hash)
        return len(pings)
