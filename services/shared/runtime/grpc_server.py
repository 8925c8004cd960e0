"""The gRPC server every service listens with: health, reflection, limits, error table."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, TypeVar

import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from services.shared.rpc.channel import MESSAGE_LIMITS
from services.shared.rpc.error_interceptor import ErrorInterceptor
from services.shared.runtime.credentials import server_credentials
from services.shared.runtime.faults import StartRefused
from services.shared.runtime.process_options import ProcessOptions
from services.shared.runtime.reflection import CHANNELZ_NAME, REFLECTION_NAMES, add_channelz, add_reflection
from services.shared.trust.tls_files import TlsWatch

S = TypeVar("S")

UNIX_PREFIX: Final = "unix:"

UNIX_PATH_LIMIT: Final = 100
"""Longest path of a unix socket in bytes; the kernel's limit is 104 to 108."""

KEEPALIVE_OPTIONS: Final = (
    # Clients ping idle links every 20 s (`rpc.channel`); a server counts faster pings as abuse.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Whoever connects and says nothing is let go; gRPC's own two minutes hold a place for long.
    ("grpc.server_handshake_timeout_ms", 10_000),
)


CONNECTION_LIMITS: Final = (
    # Streams and calls open on one connection. A gateway's has its two links, and one question for each of its peers.
    ("grpc.max_concurrent_streams", 1024),
    # Ours carry a few hundred bytes of metadata. What is above is refused before it is looked at.
    ("grpc.max_metadata_size", 8 * 1024),
    ("grpc.absolute_max_metadata_size", 16 * 1024),
    # A file descriptor each. The rest waits at the door.
    ("grpc.max_allowed_incoming_connections", 512),
    # Nobody is disconnected for his age, for a gateway's links last; who leaves a connection unused is.
    ("grpc.max_connection_idle_ms", 30 * 60 * 1000),
    # A reader of a stream whose host has vanished is noticed within 80 s.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)


class RpcServer:
    """Order of calls: `add` each servicer, `listen` on each address, `start`, `set_serving(True)`, `stop`."""

    def __init__(
        self,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
        options: ProcessOptions | None = None,
        before_listening: Callable[[str], str] | None = None,
        tls: TlsWatch | None = None,
    ) -> None:
        """The first interceptor is the outermost one, the error table is behind all. Unix sockets are without TLS.

        The options say whether reflection and channelz are served; without them neither is. `before_listening` is told
        each TCP address that can be had and asks for no certificate, may take its port to share it, and answers the
        address with the port.
        """
        self._server = grpc.aio.server(
            interceptors=[*interceptors, ErrorInterceptor()],
            options=[*MESSAGE_LIMITS, *KEEPALIVE_OPTIONS, *CONNECTION_LIMITS, *_port_options(before_listening)],
        )
        self._before_listening, self._tls = before_listening, tls
        self._health = health.aio.HealthServicer()
        self._guard: asyncio.Task[None] | None = None
        self._names = [health.SERVICE_NAME]
        self._reflects = options is not None and options.reflection
        if options is not None and options.channelz:
            add_channelz(self._server)
            self._names.append(CHANNELZ_NAME)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    def add(self, register: Callable[[S, grpc.aio.Server], None], servicer: S, descriptor: ServiceDescriptor) -> None:
        """`register` is the generated `add_…_to_server`; the descriptor names the service for health and reflection."""
        register(servicer, self._server)
        self._names.append(descriptor.full_name)

    def listen(self, address: str, *, ask_certificate: bool = True) -> str:
        """Listen on `host:port` (0 is any port) or `unix:/path`; the result is the address, with the port that it got.

        With TLS, `ask_certificate` lets only those connect who have a certificate of our CA.
        """
        is_unix = address.startswith(UNIX_PREFIX)
        if is_unix:
            _check_unix_socket(Path(address.removeprefix(UNIX_PREFIX)))
        else:
            _check_port(address)
            is_named = self._tls is not None and ask_certificate
            if self._before_listening is not None and not is_named:
                address = self._before_listening(address)
        try:
            if self._tls is None or is_unix:
                port = self._server.add_insecure_port(address)
            else:
                credentials = server_credentials(self._tls, ask_certificate=ask_certificate)
                port = self._server.add_secure_port(address, credentials)
        except RuntimeError as problem:
            raise StartRefused(f"cannot listen on {address}: {problem}") from problem
        return address if is_unix else f"{address.rpartition(':')[0]}:{port}"

    async def start(self) -> None:
        if self._reflects:
            add_reflection(self._server, self._names)
            self._names += REFLECTION_NAMES
        await self.set_serving(False)
        await self._server.start()
        self._guard = asyncio.create_task(self._stop_at_loop_end(), name="rpc-server-guard")

    async def set_serving(self, serving: bool) -> None:
        """What health checks are told, for the server as a whole and for each service."""
        states = health_pb2.HealthCheckResponse
        for name in ("", *self._names):
            await self._health.set(name, states.SERVING if serving else states.NOT_SERVING)

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls, give running ones `grace_s`, then cancel them."""
        if self._guard is None:
            return
        guard, self._guard = self._guard, None
        guard.cancel()
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)

    async def _stop_at_loop_end(self) -> None:
        """A start that fails later on never calls `stop`; gRPC must still be stopped while its loop lives."""
        try:
            await asyncio.Event().wait()
        finally:
            if self._guard is not None:
                await self._server.stop(None)


def _port_options(shared_by: object) -> tuple[tuple[str, int]]:
    # Two servers on one port would share its connections silently, so a port is shared only where that is wanted.
    return (("grpc.so_reuseport", 0 if shared_by is None else 1),)


def split_address(address: str) -> tuple[str, int]:
    """The host and port of `host:port` or `[v6]:port`. Raises StartRefused."""
    host, colon, port = address.rpartition(":")
    if colon and not host.strip("[]"):
        raise StartRefused(f"cannot listen on {address!r}: it names no host; 0.0.0.0:PORT is every address")
    if not colon or not port.isdigit() or int(port) > 65_535:
        raise StartRefused(f"cannot listen on {address!r}: not host:port or unix:/path; choose another --listen")
    return host.strip("[]"), int(port)


def _check_port(address: str) -> None:
    # gRPC says only that binding failed, so the reason is found out here.
    host, port = split_address(address)
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, where = found[0]
        with closing(socket.socket(family, kind, protocol)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as problem:
        why = (problem.strerror or str(problem)).lower()
        raise StartRefused(f"cannot listen on {address}: {why}; choose another --listen") from problem


def _check_unix_socket(path: Path) -> None:
    if len(bytes(path)) > UNIX_PATH_LIMIT:
        raise StartRefused(f"cannot listen on {path}: longer than {UNIX_PATH_LIMIT} bytes, choose a shorter path")
    if not path.parent.is_dir():
        raise StartRefused(f"cannot listen on {path}: its directory does not exist")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            # Nobody answers: the file is absent, or left by a killed process.
            path.unlink(missing_ok=True)
        else:
            raise StartRefused(f"cannot listen on {path}: another process answers there")
