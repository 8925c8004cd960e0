"""What can be set about a gateway."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from services.peer_gateway.core.addresses import kind_of
from services.peer_gateway.core.own_endpoint import Advertised
from services.shared.chainspec.enode import Enode, EnodeInvalid, parse_enode
from services.shared.chainspec.net_restrict import NetRestrict
from services.shared.chainspec.networks import UnknownNetwork, network
from services.shared.runtime.faults import ConfigInvalid
from services.shared.runtime.process_options import ProcessOptions


def usual_root_workers() -> int:
    """A worker pays where it has a processor beside the gateway's and the coordinator's."""
    return 1 if (os.cpu_count() or 1) > 2 else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class GatewayConfig(ProcessOptions):
    """The peer gateway: holds the connections to peers, and decodes what they send."""

    TABLE: ClassVar = "gateway"

    coordinator: str
    """gRPC address of the sync coordinator: host:port or unix:/path."""

    broadcaster: tuple[str, ...]
    """gRPC address of a broadcaster: host:port or unix:/path. Repeatable: of several, gateways are spread over
    them by a hash, and for one that is away the next one stands in."""

    gateway_id: str | None = None
    """Name of this gateway among its siblings, unlike any other's; without it the start of its node id."""

    listen: str = "127.0.0.1:0"
    """gRPC address for health checks: host:port (port 0 is any) or unix:/path."""

    host: str = "0.0.0.0"  # noqa: S104 - peers come from anywhere
    """Address that peers connect to."""

    port: int = 30303
    """TCP port that peers connect to, and UDP port where they are found; 0 is any free one."""

    advertised_address: str | None = None
    """IP address that other nodes are told to reach this gateway at (geth --nat extip:IP), whatever they see
    themselves; needed behind a router or in a container."""

    advertised_port: int | None = None
    """TCP and UDP port that other nodes are told, where it is not --port but one that is passed on to it."""

    datadir: Path | None = None
    """Directory where the node key, the nodes that were found and the former peers are kept."""

    shared_datadir: bool = False
    """Other gateways have the same --datadir: take the first directory gateway-0, gateway-1, … below it that none
    of them holds, with the node key in it, and its name for --gateway-id."""

    nodekey: str | None = None
    """The node key: 64 hex digits, or a file that has them, made if it is not there. Without it the file
    nodekey in the data directory; without that directory a key that is forgotten when the gateway ends."""

    nodiscover: bool = False
    """Search for no peers, and take no UDP port: only static nodes, and those that connect to us."""

    bootnodes: tuple[str, ...] = ()
    """Enode URL of a node where the search for peers begins. Repeatable, or separated by commas."""

    network: str | None = None
    """A built-in network, whose boot nodes are taken where --bootnodes is not given."""

    trusted_peer: tuple[str, ...] = ()
    """Enode URL of a node that may connect when all places are taken. Repeatable."""

    netrestrict: str | None = None
    """The only networks we have to do with, CIDR[,CIDR]: for peers that connect, for dials, and for discovery.
    Nodes that are named by host name are left out too."""

    maxpeers: int | None = None
    """Peers this gateway holds at most, trusted ones aside; without it only the coordinator's limit counts."""

    pending_peers: int = 50
    """Handshakes under way at once, in each direction."""

    handshake_timeout: float = 5.0
    """Seconds for the encryption handshake and Hello, for the coordinator's admission, and for Status."""

    read_timeout: float = 30.0
    """Seconds of silence after which a peer is disconnected."""

    ping_interval: float = 15.0
    """Seconds between two pings to a peer."""

    write_timeout: float = 20.0
    """Seconds a peer may leave our bytes unread before it is disconnected."""

    dial_timeout: float = 15.0
    """Seconds for the TCP connection of a dial."""

    dial_after: float = 0.0
    """Seconds from the start to the first dial: where several gateways start together, each needs its
    siblings to be there for its share of the static nodes."""

    redial_after: float = 30.0
    """Seconds before a node is dialled again after its last dial ended."""

    bulk_queue_bytes: int = 32 * 1024 * 1024
    """Bytes of replies and blocks that may wait for the coordinator."""

    bulk_patience: float = 10.0
    """Seconds a reply waits for room among those, its peer unread meanwhile, before it is dropped."""

    root_workers: int = field(default_factory=usual_root_workers)
    """Processes that compute the roots of big replies; they start with the first one. 0: none; without the
    flag 1 where there is a third processor."""

    question_patience: float = 10.0
    """Seconds a peer's question waits for the coordinator before it is answered empty."""

    def __post_init__(self) -> None:
        ProcessOptions.__post_init__(self)
        self.check_plaintext("--listen", self.listen)
        self.check_plaintext("--coordinator", self.coordinator)
        self.check_plaintext("--broadcaster", *self.broadcaster)
        _check(bool(self.broadcaster), "--broadcaster is needed at least once")
        _check(0 <= self.port <= 65_535, f"--port {self.port} is not a port")
        self._check_advertised()
        for name in ("handshake_timeout", "ping_interval", "write_timeout", "dial_timeout"):
            _check(getattr(self, name) > 0, f"{_flag(name)} {getattr(self, name)} must be more than 0 seconds")
        for name in ("dial_after", "redial_after", "question_patience", "bulk_patience"):
            _check(getattr(self, name) >= 0, f"{_flag(name)} {getattr(self, name)} must not be below 0 seconds")
        _check(
            self.ping_interval < self.read_timeout,
            f"--read-timeout {self.read_timeout} must be more than --ping-interval {self.ping_interval}",
        )
        _check(self.bulk_queue_bytes >= 1, f"--bulk-queue-bytes {self.bulk_queue_bytes} must be at least 1")
        _check(self.pending_peers >= 1, f"--pending-peers {self.pending_peers} must be at least 1")
        _check(self.root_workers >= 0, f"--root-workers {self.root_workers} must not be below 0")
        _check(self.maxpeers is None or self.maxpeers >= 0, f"--maxpeers {self.maxpeers} must not be below 0")
        _check(
            self.gateway_id is None or re.fullmatch(r"[A-Za-z0-9._-]{1,64}", self.gateway_id) is not None,
            f"--gateway-id {self.gateway_id!r} must be 1 to 64 letters, digits, dots, dashes or underscores",
        )
        if self.netrestrict is not None:
            try:
                NetRestrict.parse(self.netrestrict)
            except ValueError as problem:
                raise ConfigInvalid(f"--netrestrict: {problem}") from problem
        for url in self.trusted_peer:
            try:
                parse_enode(url)
            except EnodeInvalid as problem:
                raise ConfigInvalid(f"--trusted-peer: {problem}") from problem
        _check(not self.shared_datadir or self.datadir is not None, "--shared-datadir needs --datadir")
        _check(
            not self.shared_datadir or self.nodekey is None,
            "--shared-datadir and --nodekey exclude each other: each gateway has a key of its own",
        )
        try:
            silent = [node for node in self.boot_nodes if not node.udp_port]
        except EnodeInvalid as problem:
            raise ConfigInvalid(f"--bootnodes: {problem}") from problem
        except UnknownNetwork as problem:
            raise ConfigInvalid(f"--network: {problem}") from problem
        _check(not silent, f"--bootnodes: {', '.join(map(str, silent))} takes no part in discovery (discport=0)")

    def _check_advertised(self) -> None:
        address, port = self.advertised_address, self.advertised_port
        _check(
            address is None or kind_of(address).is_usable,
            f"--advertised-address {address!r} is not an IP address of one machine",
        )
        _check(port is None or 1 <= port <= 65_535, f"--advertised-port {port} is not a port, 1 to 65535 are")

    @property
    def advertised(self) -> Advertised:
        return Advertised(self.advertised_address, self.advertised_port)

    @property
    def boot_nodes(self) -> tuple[Enode, ...]:
        if not self.bootnodes and self.network is not None:
            return tuple(network(self.network).boot_nodes)
        urls = [url for word in self.bootnodes for url in word.split(",")]
        return tuple(parse_enode(url) for url in urls if url.strip())

    @property
    def net_restrict(self) -> NetRestrict | None:
        return None if self.netrestrict is None else NetRestrict.parse(self.netrestrict)


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ConfigInvalid(otherwise)


def _flag(field: str) -> str:
    return "--" + field.replace("_", "-")
