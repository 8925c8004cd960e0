"""How the client reaches a coordinator."""

from __future__ import annotations

from typing import Final

import grpc
import grpc.aio

from trisync.credentials import Credentials

CALL_TIMEOUT_S: Final = 5.0
"""How long an answer may take; most calls are answered from memory or by one read of the store."""

MAX_MESSAGE_BYTES: Final = 32 * 1024 * 1024
"""Largest answer taken; the same number as at the server."""

CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # A stream from a host that vanished ends within 30 s. The server counts pings faster than one in 5 s as abuse.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # In gRPC this is how long an attempt to connect may take: on a loaded machine a handshake needs its time too.
    ("grpc.min_reconnect_backoff_ms", int(CALL_TIMEOUT_S * 1000)),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_http_proxy", 0),
)


def open_channel(address: str, credentials: Credentials) -> grpc.Channel:
    """A channel to `host:port` or `unix:/path`, for threads. Raises CredentialsBad. Caller's duty: close it."""
    return credentials.open_blocking(address, CHANNEL_OPTIONS)


def open_async_channel(address: str, credentials: Credentials) -> grpc.aio.Channel:
    """The same for an event loop."""
    return credentials.open(address, CHANNEL_OPTIONS)
