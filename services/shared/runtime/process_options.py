"""What every service's configuration has beside its own fields."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessOptions:
    """Parent of the services' configurations. A child with a `__post_init__` of its own calls this one by name."""

    metrics_host: str = "127.0.0.1"
    """Address that /metrics is served on."""

    metrics_port: int = 0
    """Port that /metrics is served on; 0 is any free one."""

    run_dir: Path | None = None
    """Directory for the file that tells that the service is up, and where."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is logged."""

    log_json: bool = False
    """Write logs as JSON, one object a line."""

    stop_with_parent: bool = False
    """Stop when the process that started this one ends."""

    def __post_init__(self) -> None:
        if not 0 <= self.metrics_port <= 65_535:
            raise ValueError(f"--metrics-port {self.metrics_port} is not a port, 0 to 65535 are")
