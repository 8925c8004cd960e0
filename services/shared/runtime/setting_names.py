"""The keys of a configuration file. One file configures all services and commands, so each must know the others' keys:
what none of them has is a slip of the pen. A test holds these lists against the services and commands themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

EVERY_SERVICE: Final = frozenset(
    {
        "channelz",
        "insecure",
        "log-json",
        "log-level",
        "metrics-host",
        "metrics-port",
        "reflection",
        "run-dir",
        "stop-with-parent",
        "tls-ca",
        "tls-cert",
        "tls-key",
        "trace-endpoint",
        "trace-sample",
    }
)

COORDINATOR: Final = frozenset(
    {
        "broadcaster",
        "client-calls-per-second",
        "datadir",
        "force-sync-cycle",
        "genesis",
        "listen",
        "maxpeers",
        "min-sync-peers",
        "network",
        "networkid",
        "operator-tokens",
        "request-timeout",
        "seal-check",
        "seal-sample",
        "seal-workers",
        "static-peer",
        "syncmode",
        "token-listen",
        "trusted-peer",
        "whitelist",
    }
)

BROADCASTER: Final = frozenset(
    {
        "coordinator",
        "datadir",
        "fan-out",
        "gateway-queue-bytes",
        "listen",
        "price-floor",
    }
)

GATEWAY: Final = frozenset(
    {
        "advertised-address",
        "advertised-port",
        "bootnodes",
        "broadcaster",
        "bulk-patience",
        "bulk-queue-bytes",
        "coordinator",
        "datadir",
        "dial-after",
        "dial-timeout",
        "gateway-id",
        "handshake-timeout",
        "host",
        "listen",
        "maxpeers",
        "netrestrict",
        "network",
        "nodekey",
        "nodiscover",
        "pending-peers",
        "ping-interval",
        "port",
        "question-patience",
        "read-timeout",
        "redial-after",
        "root-workers",
        "shared-datadir",
        "trusted-peer",
        "write-timeout",
    }
)

COMMANDS: Final = frozenset(
    {
        "doctor-nodekey",
        "gateways",
        "json",
        "timeout",
        "token-file",
        "until",
        "verbose",
    }
)
"""Flags of `trisync up` and of other commands that no service has."""

UP_FOR_SERVICES: Final = frozenset(
    {
        "bootnodes",
        "datadir",
        "fan-out",
        "force-sync-cycle",
        "genesis",
        "host",
        "insecure",
        "listen",
        "log-level",
        "maxpeers",
        "metrics-port",
        "min-sync-peers",
        "netrestrict",
        "network",
        "networkid",
        "nodekey",
        "nodiscover",
        "port",
        "seal-check",
        "seal-sample",
        "seal-workers",
        "static-peer",
        "syncmode",
        "tls-ca",
        "tls-cert",
        "tls-key",
        "trusted-peer",
        "whitelist",
    }
)
"""Flags of `trisync up` that services have too."""

ALL: Final = "all"
"""The table for everyone who has such a setting."""

_OWN: Final[Mapping[str, frozenset[str]]] = {
    "coordinator": EVERY_SERVICE | COORDINATOR,
    "broadcaster": EVERY_SERVICE | BROADCASTER,
    "gateway": EVERY_SERVICE | GATEWAY,
    "up": UP_FOR_SERVICES | frozenset({"gateways", "json", "until", "verbose"}),
}

TABLES: Final[Mapping[str, frozenset[str]]] = {ALL: COMMANDS.union(*_OWN.values()), **_OWN}
"""What may stand in each table."""
