"""What can be set about the broadcaster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Literal

from services.shared.runtime.faults import ConfigInvalid
from services.shared.runtime.process_options import ProcessOptions

MIN_GATEWAY_QUEUE_BYTES: Final = 64 * 1024
"""Below this an ordinary block would fill a gateway's queue."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BroadcasterConfig(ProcessOptions):
    """The broadcaster: decides which peers are sent a block, and which are told of it."""

    TABLE: ClassVar = "broadcaster"

    coordinator: str
    """gRPC address of the sync coordinator: host:port or unix:/path."""

    listen: tuple[str, ...] = ("127.0.0.1:7451",)
    """gRPC address to listen on, for gateways and the coordinator:
    host:port (port 0 is any) or unix:/path. Repeatable."""

    datadir: Path | None = None
    """Directory of the journal of local transactions; made when it is not there. Without it a restart forgets them."""

    price_floor: int = 1
    """Wei per gas that a peer's transaction offers at least (geth --txpool.pricelimit)."""

    fan_out: Literal["seed", "sqrt", "all"] = "seed"
    """How many of the peers that lack a block get all of it: seed (the square root, at least four), sqrt (no floor),
    all (small private networks)."""

    gateway_queue_bytes: int = 32 * 1024 * 1024
    """Bytes that may wait for one gateway; one that falls further behind is cut off and comes back with a snapshot."""

    def __post_init__(self) -> None:
        ProcessOptions.__post_init__(self)
        self.check_plaintext("--listen", *self.listen)
        self.check_plaintext("--coordinator", self.coordinator)
        if not self.listen:
            raise ConfigInvalid("--listen is needed at least once")
        if self.gateway_queue_bytes < MIN_GATEWAY_QUEUE_BYTES:
            raise ConfigInvalid(
                f"--gateway-queue-bytes {self.gateway_queue_bytes} is too small, "
                f"at least {MIN_GATEWAY_QUEUE_BYTES} are needed"
            )
        if self.price_floor < 0:
            raise ConfigInvalid(f"--price-floor {self.price_floor} is below 0")
