"""A real gateway between a scripted coordinator, a scripted broadcaster and scripted peers."""

from __future__ import annotations

import asyncio
import functools
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

import uvloop
from blocksync.v1 import gateway_link_pb2

from services.peer_gateway.app import run
from services.peer_gateway.config import GatewayConfig
from services.shared.chainspec.enode import Enode, parse_enode
from services.shared.ethwire.messages import Status
from tests.support.chain_maker import made_chain
from tests.support.scripted_chain import ScriptedChain
from tests.support.scripted_peer import ScriptedPeer
from tests.support.scripted_services import DEADLINE_S, ScriptedBroadcaster, ScriptedCoordinator
from tests.support.wire import local_node

NETWORK_ID: Final = 1337

CHAIN: Final = ScriptedChain(
    (header.header_rlp, body.body_rlp)
    for header, body in zip(made_chain(40).headers, made_chain(40).bodies, strict=True)
)


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test's coroutine in a loop of its own, of the kind services run in."""

    @functools.wraps(test)
    def run_test(*arguments: Any, **fixtures: Any) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(test(*arguments, **fixtures))

    return run_test


class GatewayUnderTest:
    """The gateway, and all it talks to."""

    def __init__(self, run_dir: Path) -> None:
        self.coordinator_address = f"unix:{run_dir}/coordinator.sock"
        self.broadcaster_address = f"unix:{run_dir}/broadcaster.sock"
        self.coordinator = ScriptedCoordinator(CHAIN, NETWORK_ID)
        self.broadcaster = ScriptedBroadcaster()
        self.facts: dict[str, Any] = {}
        self.is_ready = asyncio.Event()
        self.stop = asyncio.Event()

    @property
    def enode(self) -> Enode:
        return parse_enode(str(self.facts["enode"]))

    @property
    def status(self) -> Status:
        """What an honest peer on the same chain says."""
        return CHAIN.status(NETWORK_ID)

    async def dial(self, name: str = "alice", **local: Any) -> ScriptedPeer:
        return await ScriptedPeer.dial(self.enode, local_node(name, **local))

    async def joined(self, name: str = "alice", **local: Any) -> ScriptedPeer:
        """A peer that has finished all handshakes, as the coordinator knows too."""
        peer = await self.dial(name, **local)
        await peer.join(self.status)
        joined = await self.coordinator.control.next("peer_joined")
        assert joined.peer.node_id == peer.local.node_id
        return peer

    def ask(self, peer: ScriptedPeer, request_id: int, **query: Any) -> None:
        """Have the gateway ask a peer: `ask(peer, 7, bodies=…)`."""
        request = gateway_link_pb2.PeerRequest(request_id=request_id, node_id=peer.local.node_id, **query)
        self.coordinator.send(peer_request=request)

    async def start_coordinator(self) -> None:
        await self.coordinator.start(self.coordinator_address)

    async def restart_coordinator(self) -> None:
        """Stop the coordinator and start one that knows nothing of before."""
        await self.coordinator.stop()
        self.coordinator = ScriptedCoordinator(CHAIN, NETWORK_ID)
        await self.start_coordinator()

    async def metric(self, name: str, /, **labels: str) -> float:
        """A sample of the gateway's /metrics; 0 where it is not there."""
        for sample, value in (await self._metrics_page()).items():
            found, _, rest = sample.partition("{")
            if found == f"peer_gateway_{name}" and all(f'{key}="{text}"' in rest for key, text in labels.items()):
                return value
        return 0.0

    async def samples(self) -> set[str]:
        """Names and labels of all samples of the gateway's own metrics."""
        return {sample for sample in await self._metrics_page() if sample.startswith("peer_gateway_")}

    async def _metrics_page(self) -> dict[str, float]:
        host, _, port = str(self.facts["metrics"]).rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        page = (await reader.read()).decode()
        writer.close()
        content = page.partition("\r\n\r\n")[2]
        lines = (line.rpartition(" ") for line in content.splitlines() if not line.startswith("#"))
        return {sample: float(value) for sample, _, value in lines if sample}

    def ready(self, facts: object) -> None:
        self.facts = dict(cast("dict[str, Any]", facts))
        self.is_ready.set()


@asynccontextmanager
async def gateway_under_test(*, starts: bool = True, **config: Any) -> AsyncIterator[GatewayUnderTest]:
    """Run a gateway. With `starts`, its coordinator is there and peers can connect."""
    with tempfile.TemporaryDirectory() as run_dir:
        bench = GatewayUnderTest(Path(run_dir))
        settings: dict[str, Any] = {
            "coordinator": bench.coordinator_address,
            "broadcaster": (await bench.broadcaster.start(bench.broadcaster_address),),
            "host": "127.0.0.1",
            "port": 0,
            "gateway_id": "gateway-0",
            "nodekey": os.urandom(32).hex(),
            "nodiscover": True,
            **config,
        }
        if starts:
            await bench.start_coordinator()
        running = asyncio.create_task(run(GatewayConfig(**settings), stop=bench.stop, ready=bench.ready))
        try:
            if starts:
                await _ready_or_failed(bench, running)
            yield bench
        finally:
            bench.stop.set()
            async with asyncio.timeout(DEADLINE_S):
                await running
            await bench.coordinator.stop()
            await bench.broadcaster.stop()


async def _ready_or_failed(bench: GatewayUnderTest, running: asyncio.Task[None]) -> None:
    waiting = asyncio.create_task(bench.is_ready.wait())
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.wait({waiting, running}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        waiting.cancel()
        await running
