"""What can be set about a gateway."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from services.shared.chainspec.enode import EnodeInvalid, parse_enode
from services.shared.runtime.faults import ConfigInvalid
from services.shared.runtime.logs import LEVELS


@dataclass(frozen=True, kw_only=True, slots=True)
class GatewayConfig:
    """The peer gateway: holds the connections to peers, and decodes what they send."""

    coordinator: str
    """gRPC address of the sync coordinator: host:port or unix:/path."""

    broadcaster: str
    """gRPC address of the broadcaster: host:port or unix:/path."""

    gateway_id: str | None = None
    """Name of this gateway among its siblings, unlike any other's; without it the start of its node id."""

    listen: str = "127.0.0.1:0"
    """gRPC address for health checks: host:port (port 0 is any) or unix:/path."""

    host: str = "0.0.0.0"  # noqa: S104 - peers come from anywhere
    """Address that peers connect to."""

    port: int = 30303
    """TCP port that peers connect to; 0 is any free one."""

    datadir: Path | None = None
    """Directory where the node key is kept."""

    nodekey: str | None = None
    """The node key: 64 hex digits, or a file that has them, made if it is not there. Without it the file
    nodekey in the data directory; without that directory a key that is forgotten when the gateway ends."""

    nodiscover: bool = False
    """Search for no peers: only static nodes, and those that connect to us."""

    trusted_peer: tuple[str, ...] = ()
    """Enode URL of a node that may connect when all places are taken. Repeatable."""

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

    redial_after: float = 30.0
    """Seconds before a node is dialled again after its last dial ended."""

    question_patience: float = 10.0
    """Seconds a peer's question waits for the coordinator before it is answered empty."""

    metrics_host: str = "127.0.0.1"
    """Address that /metrics is served on."""

    metrics_port: int | None = None
    """Port that /metrics is served on; 0 is any free one, without it there is no /metrics."""

    run_dir: Path | None = None
    """Directory for the file that tells that the gateway is up, and where."""

    log_level: str = "info"
    """debug, info, warning or error."""

    log_json: bool = False
    """Write logs as JSON, one object a line."""

    stop_with_parent: bool = False
    """Stop when the process that started this one ends."""

    def __post_init__(self) -> None:
        for name in ("port", "metrics_port"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 65_535:
                raise ConfigInvalid(f"{name}={value} is not a port, 0 to 65535 are")
        for name in ("handshake_timeout", "read_timeout", "ping_interval", "write_timeout", "dial_timeout"):
            if getattr(self, name) <= 0:
                raise ConfigInvalid(f"{name}={getattr(self, name)} must be more than 0 seconds")
        for name in ("redial_after", "question_patience"):
            if getattr(self, name) < 0:
                raise ConfigInvalid(f"{name}={getattr(self, name)} must not be below 0 seconds")
        if self.pending_peers < 1:
            raise ConfigInvalid(f"pending_peers={self.pending_peers} must be at least 1")
        if self.maxpeers is not None and self.maxpeers < 0:
            raise ConfigInvalid(f"maxpeers={self.maxpeers} must not be below 0")
        if self.gateway_id is not None and not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", self.gateway_id):
            raise ConfigInvalid(f"gateway_id={self.gateway_id!r} must be 1 to 64 letters, digits, dots, dashes")
        if self.log_level not in LEVELS:
            raise ConfigInvalid(f"log_level={self.log_level!r} is not one of {', '.join(LEVELS)}")
        for url in self.trusted_peer:
            try:
                parse_enode(url)
            except EnodeInvalid as problem:
                raise ConfigInvalid(f"trusted_peer: {problem}") from problem
