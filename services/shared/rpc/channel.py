"""How a service reaches another: channels, their options, and back-off."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

import grpc.aio

from services.shared.trust.addresses import is_unix
from services.shared.trust.handshake_failures import handshake_problem
from services.shared.trust.reloading_channel import ReloadingChannel
from services.shared.trust.tls_files import TlsWatch

MAX_MESSAGE_BYTES: Final = 32 * 1024 * 1024
"""Largest message either end takes; asked replies are cut into parts far below it."""

MESSAGE_LIMITS: Final = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
)

CHANNEL_OPTIONS: Final = (
    *MESSAGE_LIMITS,
    # A link to a host that vanished is noticed within 30 s.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # gRPC's own reconnect delays grow to two minutes; a restarted service must be found again soon.
    ("grpc.initial_reconnect_backoff_ms", 200),
    # In gRPC this is how long an attempt to connect may take: on a loaded machine a handshake needs its time too.
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Links within a machine or a cluster go straight, whatever proxy the environment names.
    ("grpc.enable_http_proxy", 0),
    # Clients of one process do not share a connection, so that links do not slow each other.
    ("grpc.use_local_subchannel_pool", 1),
)


def open_channel(address: str, tls: TlsWatch | None = None) -> grpc.aio.Channel:
    """A channel to `host:port`, over TLS where it is given, or to `unix:/path`. Caller's duty: close it."""
    if tls is None or is_unix(address):
        return grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
    return ReloadingChannel(address, tls, CHANNEL_OPTIONS)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where another service is, and what to show it there."""

    address: str
    tls: TlsWatch | None = None

    def open(self) -> grpc.aio.Channel:
        """As `open_channel`."""
        return open_channel(self.address, self.tls)


def why_failed(error: grpc.aio.AioRpcError) -> str:
    """The failure of a call in words, for a log line."""
    details = error.details()
    # Whether we spoke TLS is not known here; what each side says in the handshake tells most of it.
    problem = handshake_problem(details, over_tls=None)
    code = error.code().name.lower().replace("_", " ")
    return f"{code}: {problem or details}" if problem or details else code


class Backoff:
    """Delays between attempts: each up to twice the last, with jitter, back to the first after a success."""

    def __init__(self, rng: random.Random, first_s: float = 0.2, most_s: float = 5.0) -> None:
        self._rng, self._first_s, self._most_s = rng, first_s, most_s
        self._failures = 0

    def next_delay_s(self) -> float:
        """Call after a failed attempt; wait this long before the next one."""
        longest = min(self._most_s, self._first_s * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return longest * self._rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Call after an attempt that succeeded."""
        self._failures = 0
