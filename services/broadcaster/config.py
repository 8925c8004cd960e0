"""What can be set about the broadcaster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from services.shared.runtime.faults import ConfigInvalid

MIN_GATEWAY_QUEUE_BYTES: Final = 64 * 1024
"""Below this an ordinary block would fill a gateway's queue."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BroadcasterConfig:
    """The broadcaster: decides which peers are sent a block, and which are told of it."""

    coordinator: str
    """gRPC address of the sync coordinator: host:port or unix:/path."""

    listen: tuple[str, ...] = ("127.0.0.1:7451",)
    """gRPC address to listen on, for gateways and the coordinator:
    host:port (port 0 is any) or unix:/path. Repeatable."""

    fan_out: Literal["seed", "sqrt", "all"] = "seed"
    """How many of the peers that lack a block get all of it: seed (the square root, at least four), sqrt (no floor),
    all (small private networks)."""

    gateway_queue_bytes: int = 32 * 1024 * 1024
    """Bytes that may wait for one gateway; one that falls further behind is cut off and comes back with a snapshot."""

    metrics_host: str = "127.0.0.1"
    """Address that /metrics is served on."""

    metrics_port: int = 0
    """Port that /metrics is served on; 0 is any free one."""

    run_dir: Path | None = None
    """Directory for the file that tells that the broadcaster is up, and where."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is logged."""

    log_json: bool = False
    """Write logs as JSON, one object a line."""

    stop_with_parent: bool = False
    """Stop when the process that started this one ends."""

    def __post_init__(self) -> None:
        if not self.listen:
            raise ConfigInvalid("--listen is needed at least once")
        if not 0 <= self.metrics_port <= 65_535:
            raise ConfigInvalid(f"--metrics-port {self.metrics_port} is not a port, 0 to 65535 are")
        if self.gateway_queue_bytes < MIN_GATEWAY_QUEUE_BYTES:
            raise ConfigInvalid(
                f"--gateway-queue-bytes {self.gateway_queue_bytes} is too small, "
                f"at least {MIN_GATEWAY_QUEUE_BYTES} are needed"
            )
