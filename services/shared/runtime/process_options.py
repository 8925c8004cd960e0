"""What every service's configuration has beside its own fields."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from services.shared.runtime.faults import ConfigInvalid
from services.shared.trust.addresses import plaintext_refusal


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

    reflection: bool = False
    """Tell gRPC clients what services there are and how they are called, as grpcurl needs."""

    channelz: bool = False
    """Tell gRPC clients about this process's channels, servers and sockets: addresses and counts."""

    stop_with_parent: bool = False
    """Stop when the process that started this one ends."""

    trace_endpoint: str | None = None
    """URL of an OpenTelemetry collector that takes OTLP over gRPC, as http://127.0.0.1:4317: each block's way
    through the services is sent there as a trace. Without it nothing is traced. Needs trisync[traces]."""

    trace_sample: float = 1.0
    """Part of the blocks that are traced, 0 to 1; chosen by the hash, so all services choose the same."""

    tls_cert: Path | None = None
    """This service's certificate, with those between it and the CA: a PEM file. With it and the next two, every
    link that is not a unix socket is TLS, and both ends show a certificate. Read again when it changes."""

    tls_key: Path | None = None
    """The certificate's private key: a PEM file without a password."""

    tls_ca: Path | None = None
    """Certificates of the CA that the others' certificates must be from: a PEM file."""

    insecure: bool = False
    """Allow plaintext on addresses that are not loopback, for a network that itself keeps others out."""

    def __post_init__(self) -> None:
        if not 0 <= self.metrics_port <= 65_535:
            raise ValueError(f"--metrics-port {self.metrics_port} is not a port, 0 to 65535 are")
        _check_trace_options(self.trace_endpoint, self.trace_sample)
        given = [path for path in (self.tls_cert, self.tls_key, self.tls_ca) if path is not None]
        if given and len(given) != 3:
            raise ConfigInvalid(f"{given[0]}: --tls-cert, --tls-key and --tls-ca are needed together")

    def check_plaintext(self, flag: str, *addresses: str) -> None:
        """Raises ConfigInvalid for one that must not be listened on, or dialled, without TLS."""
        if self.tls_ca is not None or self.insecure:
            return
        for address in addresses:
            if (refusal := plaintext_refusal(flag, address)) is not None:
                raise ConfigInvalid(refusal)


def _check_trace_options(endpoint: str | None, sample: float) -> None:
    """Raises ValueError that names the bad one."""
    if endpoint is not None:
        parts = urlsplit(endpoint)
        try:
            is_whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port is not None
        except ValueError:
            is_whole = False
        if not is_whole or parts.path not in {"", "/"}:
            raise ValueError(
                f"--trace-endpoint {endpoint!r} is not http://HOST:PORT or https://HOST:PORT "
                "of a collector that takes OTLP over gRPC"
            )
    if not 0 <= sample <= 1:
        raise ValueError(f"--trace-sample {sample} is not in 0..1")
