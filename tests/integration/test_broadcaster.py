"""The broadcaster as it runs: real gRPC on loopback, a gateway and a coordinator that follow a script."""

from __future__ import annotations

import asyncio
import contextlib
import re
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import grpc
import grpc.aio
import pytest
from blocksync.v1 import broadcast_pb2, broadcast_pb2_grpc, common_pb2, coordinator_pb2, coordinator_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.broadcaster.app import run
from services.broadcaster.config import BroadcasterConfig
from services.shared.rpc.channel import open_channel

pytestmark = pytest.mark.integration

DEADLINE_S = 20.0
ALICE, BOB, MALLORY = b"A" * 64, b"B" * 64, b"M" * 64
HASH = b"\x01" * 32


@dataclass
class ScriptedCoordinator:
    """Answers WatchChain with one snapshot per stream, then with what the test puts into `moves`."""

    streams: int = 0
    moves: asyncio.Queue[coordinator_pb2.WatchChainResponse | None] = field(default_factory=asyncio.Queue)

    async def WatchChain(self, request, context):
        self.streams += 1
        yield coordinator_pb2.WatchChainResponse(
            snapshot=coordinator_pb2.ChainSnapshot(network_id=1, genesis_hash=HASH, head=chain_head(self.streams))
        )
        while (move := await self.moves.get()) is not None:
            yield move


@dataclass
class RunningBroadcaster:
    channel: grpc.aio.Channel
    metrics_address: str
    stop: asyncio.Event
    task: asyncio.Task[None]

    @property
    def gateways(self) -> broadcast_pb2_grpc.BroadcastLinkServiceStub:
        return broadcast_pb2_grpc.BroadcastLinkServiceStub(self.channel)

    @property
    def calls(self) -> broadcast_pb2_grpc.BroadcastServiceStub:
        return broadcast_pb2_grpc.BroadcastServiceStub(self.channel)

    async def metric(self, sample: str) -> float:
        """The value of one sample, such as `broadcaster_peers`; 0 while there is none."""
        page = await asyncio.to_thread(_read_page, f"http://{self.metrics_address}/metrics")
        found = re.search(rf"^{re.escape(sample)} (\S+)$", page, re.MULTILINE)
        return float(found.group(1)) if found else 0.0

    async def until_metric(self, sample: str, value: float) -> None:
        await until(lambda: self.metric(sample), value)


def _read_page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as response:
        page: str = response.read().decode()
        return page


async def until(read: Callable[[], Awaitable[object]], wanted: object) -> None:
    """Read again until the value is the wanted one; the test's deadline ends it otherwise."""
    while await read() != wanted:
        await asyncio.sleep(0.01)


def chain_head(number: int) -> common_pb2.ChainHead:
    return common_pb2.ChainHead(block_hash=HASH, number=number, total_difficulty=b"\x01")


@contextlib.asynccontextmanager
async def broadcaster(**changes: object) -> AsyncIterator[RunningBroadcaster]:
    stop, facts = asyncio.Event(), asyncio.get_running_loop().create_future()
    settings: dict[str, object] = {"coordinator": "127.0.0.1:1", "listen": ("127.0.0.1:0",), **changes}
    config = BroadcasterConfig(**settings)  # type: ignore[arg-type]
    task = asyncio.create_task(run(config, stop=stop, ready=facts.set_result))
    await asyncio.wait({task, facts}, return_when=asyncio.FIRST_COMPLETED)
    where: Mapping[str, list[str]] = facts.result()
    async with open_channel(where["grpc"][0]) as channel:
        yield RunningBroadcaster(channel, str(where["metrics"]), stop, task)
        stop.set()
        await task


async def attach(running: RunningBroadcaster, gateway_id: str, *peers: bytes):
    stream = running.gateways.Attach()
    hello = broadcast_pb2.BroadcastHello(
        gateway_id=gateway_id, peers=[broadcast_pb2.BroadcastPeer(node_id=peer, eth_version=63) for peer in peers]
    )
    await stream.write(broadcast_pb2.AttachRequest(hello=hello))
    await stream.initial_metadata()
    return stream


def propagate_request(block_hash: bytes = HASH, body: bytes = b"body", origins: tuple[bytes, ...] = ()):
    return broadcast_pb2.PropagateRequest(
        header_rlp=b"header",
        body_rlp=body,
        block_hash=block_hash,
        number=9,
        total_difficulty=b"\x09",
        origin_node_ids=origins,
    )


def announce_request(block_hash: bytes = HASH):
    return broadcast_pb2.AnnounceBlockRequest(announce=common_pb2.Announce(block_hash=block_hash, number=9))


def in_one_loop(scenario: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await scenario()

    asyncio.run(limited())


def test_a_block_is_propagated_and_then_announced_to_those_who_still_lack_it():
    async def scenario() -> None:
        async with broadcaster() as running:
            peers = [number.to_bytes(64, "big") for number in range(10)]
            east, west = await attach(running, "east", *peers[:5]), await attach(running, "west", *peers[5:])
            await east.write(
                broadcast_pb2.AttachRequest(known_blocks=broadcast_pb2.KnownBlocks(node_id=peers[0], hashes=HASH))
            )
            await east.write(
                broadcast_pb2.AttachRequest(peer_left=broadcast_pb2.BroadcastPeerLeft(node_id=peers[1]))
            )
            joined = broadcast_pb2.BroadcastPeer(node_id=ALICE, known_blocks=HASH)
            await west.write(
                broadcast_pb2.AttachRequest(peer_joined=broadcast_pb2.BroadcastPeerJoined(peer=joined))
            )
            await running.until_metric("broadcaster_peers", 10)
            await west.write(
                broadcast_pb2.AttachRequest(peer_left=broadcast_pb2.BroadcastPeerLeft(node_id=ALICE))
            )
            await running.until_metric("broadcaster_peers", 9)

            answer = await running.calls.Propagate(propagate_request(origins=(peers[9],)))
            assert (answer.propagated, answer.lacking) == (4, 7)
            answer = await running.calls.AnnounceBlock(announce_request())
            assert answer.announced == 3
            sent, announced = [], []
            while len(sent) + len(announced) < 7:
                reads = {asyncio.create_task(stream.read()) for stream in (east, west)}
                for response in asyncio.as_completed(reads):
                    content = await response
                    sent += content.send_block.node_ids
                    announced += content.send_announces.node_ids
                    if len(sent) + len(announced) == 7:
                        break
            assert (len(sent), len(announced)) == (4, 3)
            assert sorted(sent + announced) == peers[2:9]

    in_one_loop(scenario)
