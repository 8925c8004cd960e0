"""Asks a service on this machine for its health: `trisync health [ADDRESS]`, or `python -m trisync.health [ADDRESS]`.

Containers run the latter every few seconds, so it loads nothing but gRPC. Where the service speaks TLS it is shown the
service's own certificate, from the same variables.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

# Before gRPC is loaded, which would write about failed handshakes beside our one line.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.shared.trust.addresses import is_unix
from services.shared.trust.handshake_failures import handshake_problem

TIMEOUT_S: Final = 3.0
"""A service that answers later than this is no use to anybody; less than the time a container's check is given."""

LISTEN_VARIABLE: Final = "TRISYNC_LISTEN"
"""Where a service is told to listen, and so where it is asked when no address is given."""

TLS_VARIABLES: Final = ("TRISYNC_TLS_CA", "TRISYNC_TLS_KEY", "TRISYNC_TLS_CERT")
"""Files in the order in which gRPC takes them."""

OPTIONS: Final = (("grpc.enable_http_proxy", 0),)

ANY_HOST: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - told apart, not listened on
"""Where a service that listens on every address is reached from its own machine."""

HEALTHY, UNHEALTHY, BAD_USAGE = 0, 1, 2


def main(argv: Sequence[str], environ: Mapping[str, str], *, as_json: bool = False) -> int:
    """Print one line; the result is the exit code."""
    address = argv[0] if argv else own_address(environ)
    if len(argv) > 1 or address is None:
        print(f"trisync: give one address, host:port or unix:/path, or set {LISTEN_VARIABLE}", file=sys.stderr)
        return BAD_USAGE
    if ":" not in address:
        print(f"trisync: {address!r} is neither host:port nor unix:/path", file=sys.stderr)
        return BAD_USAGE
    try:
        credentials = credentials_for(address, environ)
    except OSError as unread:
        print(f"trisync: {unread.filename}: cannot be read: {unread.strerror or unread}", file=sys.stderr)
        return BAD_USAGE
    problem = unhealthy_because(address, credentials)
    if as_json:
        print(json.dumps({"address": address, "serving": problem is None, "problem": problem}))
        return HEALTHY if problem is None else UNHEALTHY
    if problem is not None:
        print(f"trisync: {problem}", file=sys.stderr)
        return UNHEALTHY
    print(f"{address} is serving")
    return HEALTHY


def own_address(environ: Mapping[str, str]) -> str | None:
    """The first address that the environment tells a service to listen on, as it is reached from here."""
    first = environ.get(LISTEN_VARIABLE, "").split(",")[0].strip()
    if not first:
        return None
    if first.startswith("unix:"):
        return first
    host, _, port = first.rpartition(":")
    return f"{ANY_HOST.get(host, host)}:{port}"


def credentials_for(address: str, environ: Mapping[str, str]) -> grpc.ChannelCredentials | None:
    """TLS as the service speaks it where the environment names the files; None for plaintext. Raises OSError."""
    ca, key, cert = (environ.get(name) for name in TLS_VARIABLES)
    if not ca or is_unix(address):
        return None
    own = [Path(path).read_bytes() for path in (key, cert) if path]
    return grpc.ssl_channel_credentials(Path(ca).read_bytes(), *own)


def unhealthy_because(
    address: str, credentials: grpc.ChannelCredentials | None = None, timeout_s: float = TIMEOUT_S
) -> str | None:
    """None when the service answers that it is serving, otherwise why it does not, in words."""
    if credentials is None:
        opened = grpc.insecure_channel(address, options=OPTIONS)
    else:
        opened = grpc.secure_channel(address, credentials, options=OPTIONS)
    with opened as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except grpc.RpcError as error:
            problem = handshake_problem(error.details(), over_tls=credentials is not None)
            return f"{address} does not answer: {problem or error.code().name.lower()}"
    states = health_pb2.HealthCheckResponse
    if answer.status == states.SERVING:
        return None
    return f"{address} is {states.ServingStatus.Name(answer.status).lower().replace('_', ' ')}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
