"""The three services as they run, on unix sockets and loopback ports of one event loop.

    async with small_stack(static_peers=[str(alice.enode)]) as stack:
        await stack.until_head(chain.headers[-1])

Every service can be stopped and started again; it comes back where it was: same socket, same key, same store.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, ParamSpec

import structlog
import uvloop

from services.broadcaster import app as broadcaster_app
from services.broadcaster.config import BroadcasterConfig
from services.peer_gateway import app as gateway_app
from services.peer_gateway.config import GatewayConfig
from services.shared.chainspec.enode import Enode, parse_enode
from services.shared.ethwire.types import Header, PeerId
from services.sync_coordinator import app as coordinator_app
from services.sync_coordinator.config import CoordinatorConfig
from tests.support.captured_log import CapturedLog, captured_logs
from tests.support.certificates import credentials_of, flags_of
from tests.support.deadlines import DEADLINE_S, until
from tests.support.small_network import write_genesis
from tests.support.wire import local_node
from trisync.client import AsyncCoordinator
from trisync.credentials import Credentials
from trisync.disconnects import Disconnect
from trisync.node_status import NodeStatus

Ready = Callable[[Mapping[str, object]], None]
Run = Callable[[asyncio.Event, Ready], Coroutine[Any, Any, None]]

P = ParamSpec("P")

TEST_S: Final = 100.0
"""A whole test; each wait within it has its own, shorter deadline."""


class Service:
    """One service's `app.run` as a task."""

    def __init__(self, name: str, run: Run) -> None:
        self.name = name
        self._run = run
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.facts: Mapping[str, Any] = {}
        self._ready = asyncio.Event()

    async def start(self, *, wait: bool = True) -> None:
        assert self._task is None, f"{self.name} runs already"
        self._stop, self._ready = asyncio.Event(), asyncio.Event()
        self._task = asyncio.create_task(self._named_run(), name=self.name)
        if wait:
            await self.until_ready()

    async def until_ready(self) -> None:
        """Return once the service said that it can be used; fail with its own error when it ends instead."""
        assert self._task is not None
        waiting = asyncio.create_task(self._ready.wait())
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.wait({self._task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._task.done():
            await self._task
        assert self._ready.is_set(), f"{self.name} ended before it was ready"

    async def stop(self) -> None:
        """As SIGTERM does."""
        if self._task is not None:
            task, self._task = self._task, None
            self._stop.set()
            async with asyncio.timeout(DEADLINE_S):
                await task

    async def metrics_page(self) -> str:
        """The answer to a scrape, with its head."""
        return await _read_page(str(self.facts["metrics"]))

    async def metric(self, sample: str) -> float:
        """The value of one sample, such as `coordinator_peers`; 0 while there is none."""
        page = await self.metrics_page()
        found = re.search(rf"^{re.escape(sample)} (\S+)$", page, re.MULTILINE)
        return float(found.group(1)) if found else 0.0

    async def _named_run(self) -> None:
        structlog.contextvars.bind_contextvars(service=self.name)
        await self._run(self._stop, self._on_ready)

    def _on_ready(self, facts: Mapping[str, object]) -> None:
        self.facts = facts
        self._ready.set()


class Stack:
    """A coordinator, a broadcaster and one or more gateways that find each other."""

    def __init__(self, directory: Path, settings: StackSettings, log: CapturedLog) -> None:
        self._directory, self._settings, self.log = directory, settings, log
        # With certificates the links are TCP, at ports that are free now: each service is told those of the others.
        self._ports = {name: free_port() for name in ("coordinator", "broadcaster")} if settings.certificates else {}
        self.coordinator = Service("coordinator", self._run_coordinator)
        self.broadcaster = Service("broadcaster", self._run_broadcaster)
        self.gateways = [self._gateway(index) for index in range(settings.gateways)]
        self._genesis = settings.genesis
        if settings.network is None and settings.genesis is None:
            self._genesis = write_genesis(directory / "genesis.json", settings.genesis_config)
        self.client = AsyncCoordinator(self._address("coordinator"), self.credentials("admin"))

    @property
    def datadir(self) -> Path:
        """The coordinator's."""
        return self._directory / "node"

    def credentials(self, name: str) -> Credentials | None:
        """Those of one certificate of the set, where the stack has one."""
        directory = self._settings.certificates
        return None if directory is None else credentials_of(directory, name)

    @property
    def coordinator_address(self) -> str:
        return self._address("coordinator")

    @property
    def broadcaster_address(self) -> str:
        return self._address("broadcaster")

    @property
    def gateway(self) -> Service:
        return self.gateways[0]

    @property
    def services(self) -> list[Service]:
        return [*self.gateways, self.broadcaster, self.coordinator]

    @property
    def enode(self) -> Enode:
        return self.enode_of(self.gateway)

    @staticmethod
    def enode_of(gateway: Service) -> Enode:
        return parse_enode(str(gateway.facts["enode"]))

    async def start(self) -> None:
        await self.coordinator.start()
        for service in (self.broadcaster, *self.gateways):
            await service.start(wait=False)
        for service in (self.broadcaster, *self.gateways):
            await service.until_ready()

    async def stop(self) -> None:
        await self.client.close()
        for service in self.services:
            await service.stop()

    async def status(self) -> NodeStatus:
        return await self.client.status()

    async def until_status(self, holds: Callable[[NodeStatus], bool], what: str) -> NodeStatus:
        async def read() -> NodeStatus | None:
            status = await self.client.status()
            return status if holds(status) else None

        return await until(read, what)

    async def until_head(self, head: Header) -> NodeStatus:
        """Wait until `head` is ours and no sync runs."""

        def is_there(status: NodeStatus) -> bool:
            return status.head.block_hash == head.hash and status.phase.value == "idle"

        return await self.until_status(is_there, f"head {head.number}")

    async def ends_of(self, node_id: PeerId) -> tuple[Disconnect, ...]:
        """The ended connections with this node, newest first, once there is one: it is told a moment after."""

        async def read() -> tuple[Disconnect, ...]:
            return (await self.client.disconnects(node_id=node_id)).disconnects

        return await until(read, "the end of a connection in the list")

    async def until_peers(self, count: int) -> None:
        await self.until_status(lambda status: status.peer_count == count, f"{count} peers")

    def _address(self, service: str) -> str:
        if service in self._ports:
            return f"127.0.0.1:{self._ports[service]}"
        return f"unix:{self._directory / service}.sock"

    def _tls(self, name: str) -> dict[str, Any]:
        directory = self._settings.certificates
        return {} if directory is None else flags_of(directory, name)

    def _run_coordinator(self, stop: asyncio.Event, ready: Ready) -> Coroutine[Any, Any, None]:
        settings = self._settings
        config = CoordinatorConfig(
            datadir=self.datadir,
            network=settings.network,
            genesis=self._genesis,
            seal_check=settings.seal_check,
            syncmode=settings.syncmode,
            seal_sample=settings.seal_sample,
            listen=(self._address("coordinator"),),
            broadcaster=(self._address("broadcaster"),),
            static_peer=tuple(settings.static_peers),
            maxpeers=settings.maxpeers,
            min_sync_peers=settings.min_sync_peers,
            force_sync_cycle=settings.force_sync_cycle,
            request_timeout=settings.request_timeout,
            whitelist=tuple(settings.whitelist),
            trace_endpoint=settings.trace_endpoint,
            **self._tls("coordinator"),
        )
        return coordinator_app.run(config, stop=stop, ready=ready)

    def _run_broadcaster(self, stop: asyncio.Event, ready: Ready) -> Coroutine[Any, Any, None]:
        config = BroadcasterConfig(
            coordinator=self._address("coordinator"),
            listen=(self._address("broadcaster"),),
            trace_endpoint=self._settings.trace_endpoint,
            datadir=self._directory / "broadcaster",
            **self._tls("broadcaster"),
        )
        return broadcaster_app.run(config, stop=stop, ready=ready)

    def _gateway(self, index: int) -> Service:
        config = GatewayConfig(
            coordinator=self._address("coordinator"),
            broadcaster=(self._address("broadcaster"),),
            gateway_id=f"gateway-{index}",
            host="127.0.0.1",
            port=0,
            nodekey=local_node(f"{self._settings.name}gateway-{index}").key.to_hex(),
            datadir=self._directory / f"gateway-{index}",
            nodiscover=self._settings.bootnodes is None,
            bootnodes=tuple(self._settings.bootnodes or ()),
            handshake_timeout=self._settings.handshake_timeout,
            redial_after=self._settings.redial_after,
            trace_endpoint=self._settings.trace_endpoint,
            **self._tls("peer_gateway"),
        )
        return Service(f"gateway-{index}", lambda stop, ready: gateway_app.run(config, stop=stop, ready=ready))


@dataclass(frozen=True, kw_only=True)
class StackSettings:
    """What tests change; times are short, so that what takes minutes in life takes seconds here."""

    name: str = ""
    """The gateways' keys follow from it: stacks that meet need different ones."""
    static_peers: Sequence[str] = ()
    bootnodes: Sequence[str] | None = None
    """Discovery is on where these are given, none included."""
    syncmode: Any = "full"
    seal_sample: bool = False
    gateways: int = 1
    maxpeers: int = 25
    min_sync_peers: int = 1
    force_sync_cycle: float = 0.5
    request_timeout: float = 30.0
    handshake_timeout: float = 5.0
    redial_after: float = 30.0
    genesis_config: Mapping[str, object] = field(default_factory=dict)
    whitelist: Sequence[str] = ()
    network: str | None = None
    """A built-in network instead of the small one."""
    genesis: Path | None = None
    """A genesis file of another network."""
    seal_check: Any = "none"
    trace_endpoint: str | None = None
    certificates: Path | None = None
    """A set of `trisync certs`: links are TLS over TCP then, else unix sockets."""


def free_port() -> int:
    """A TCP port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def running_stack(**settings: Any) -> AsyncIterator[Stack]:
    """A new stack with these `StackSettings`; checked for tracebacks at its end.

    Its directory is a short one, for the paths of unix sockets are limited.
    """
    with tempfile.TemporaryDirectory(prefix="trisync-") as scratch, captured_logs() as log:
        stack = Stack(Path(scratch), StackSettings(**settings), log)
        try:
            await stack.start()
            yield stack
        finally:
            await stack.stop()
        log.check_no_traceback()


def in_one_loop(scenario: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Makes a test of a coroutine: in the services' own kind of event loop, for a bounded time."""
    return in_one_loop_for(TEST_S)(scenario)


def in_one_loop_for(
    seconds: float,
) -> Callable[[Callable[P, Coroutine[Any, Any, None]]], Callable[P, None]]:
    """`in_one_loop` for a test that takes its time."""

    def decorate(scenario: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
        @functools.wraps(scenario)
        def test(*args: P.args, **kwargs: P.kwargs) -> None:
            async def limited() -> None:
                async with asyncio.timeout(seconds):
                    await scenario(*args, **kwargs)

            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(limited())

        return test

    return decorate


async def _read_page(address: str) -> str:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    try:
        async with asyncio.timeout(DEADLINE_S):
            return (await reader.read()).decode()
    finally:
        writer.close()
