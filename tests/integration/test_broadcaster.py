"""The broadcaster as it runs: real gRPC on loopback, a gateway and a coordinator that follow a script."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import signal
import sys
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio
import pytest
from blocksync.v1 import broadcast_pb2, broadcast_pb2_grpc, common_pb2, coordinator_pb2, coordinator_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.broadcaster.app import run
from services.broadcaster.config import BroadcasterConfig
from services.shared.ethwire.types import Announce, Block, PeerId
from services.shared.rpc.channel import open_channel
from services.shared.runtime.ready_file import read_ready
from services.sync_coordinator.edges.broadcaster_client import BroadcasterClient
from services.sync_coordinator.edges.propagations import Propagations
from tests.support.chain_maker import made_chain

pytestmark = pytest.mark.integration

DEADLINE_S = 20.0
ALICE, BOB, MALLORY = b"A" * 64, b"B" * 64, b"M" * 64
HASH = b"\x01" * 32
MADE = made_chain(5)


@dataclass
class ScriptedCoordinator(coordinator_pb2_grpc.ChainWatchServiceServicer):
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
    address: str
    channel: grpc.aio.Channel
    metrics_address: str
    stop: asyncio.Event
    task: asyncio.Task[None]

    @property
    def calls(self) -> broadcast_pb2_grpc.BroadcastServiceAsyncStub:
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
    while await read() != wanted:  # noqa: ASYNC110 - a metrics page sets no event
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
    try:
        async with open_channel(where["grpc"][0]) as channel:
            yield RunningBroadcaster(where["grpc"][0], channel, str(where["metrics"]), stop, task)
    finally:
        stop.set()
        await task


class ScriptedGateway:
    """One Attach stream: says what the test says, and hands over what comes back."""

    def __init__(self, stub: broadcast_pb2_grpc.BroadcastLinkServiceAsyncStub) -> None:
        self._stream = stub.Attach()

    async def say(self, **content: object) -> None:
        await self._stream.write(broadcast_pb2.AttachRequest(**content))  # type: ignore[arg-type]

    async def attach(self, gateway_id: str, peers: Iterable[bytes], *, will_tell: bool = False) -> None:
        entries = [broadcast_pb2.BroadcastPeer(node_id=peer, eth_version=63) for peer in peers]
        await self.say(
            hello=broadcast_pb2.BroadcastHello(
                gateway_id=gateway_id, peers=entries, known_transactions_follow=will_tell
            )
        )
        await self._stream.initial_metadata()

    async def join(self, peer: bytes, known_blocks: bytes = b"") -> None:
        entry = broadcast_pb2.BroadcastPeer(node_id=peer, known_blocks=known_blocks)
        await self.say(peer_joined=broadcast_pb2.BroadcastPeerJoined(peer=entry))

    async def leave(self, peer: bytes) -> None:
        await self.say(peer_left=broadcast_pb2.BroadcastPeerLeft(node_id=peer))

    async def know(self, peer: bytes, hashes: bytes) -> None:
        await self.say(known_blocks=broadcast_pb2.KnownBlocks(node_id=peer, hashes=hashes))

    async def hang_up(self) -> grpc.StatusCode:
        """Say no more; returns the status of the stream."""
        await self._stream.done_writing()
        return await self.end()

    def vanish(self) -> None:
        self._stream.cancel()

    async def next_response(self) -> broadcast_pb2.AttachResponse:
        response = await self._stream.read()
        assert isinstance(response, broadcast_pb2.AttachResponse), "the stream ended"
        return response

    async def end(self) -> grpc.StatusCode:
        """Read what is left, until the stream ends; returns its status."""
        try:
            while await self._stream.read() is not grpc.aio.EOF:
                pass
        except grpc.aio.AioRpcError as error:
            return error.code()
        return await self._stream.code()


@contextlib.asynccontextmanager
async def attached(
    running: RunningBroadcaster, gateway_id: str, *peers: bytes, will_tell: bool = False
) -> AsyncIterator[ScriptedGateway]:
    async with open_channel(running.address) as channel:
        gateway = ScriptedGateway(broadcast_pb2_grpc.BroadcastLinkServiceStub(channel))
        await gateway.attach(gateway_id, peers, will_tell=will_tell)
        yield gateway


def propagate_request(
    block_hash: bytes = HASH, body: bytes = b"body", origins: Iterable[bytes] = ()
) -> broadcast_pb2.PropagateRequest:
    return broadcast_pb2.PropagateRequest(
        header_rlp=b"header",
        body_rlp=body,
        block_hash=block_hash,
        number=9,
        total_difficulty=b"\x09",
        origin_node_ids=origins,
    )


def announce_request(block_hash: bytes = HASH) -> broadcast_pb2.AnnounceBlockRequest:
    return broadcast_pb2.AnnounceBlockRequest(announce=common_pb2.Announce(block_hash=block_hash, number=9))


def in_one_loop(scenario: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await scenario()

    asyncio.run(limited())


def test_a_block_is_propagated_and_then_announced_to_those_who_still_lack_it():
    peers = [number.to_bytes(64, "big") for number in range(10)]

    async def scenario() -> None:
        async with broadcaster() as running, attached(running, "east", *peers) as gateway:
            await gateway.know(peers[0], HASH)
            await gateway.leave(peers[1])
            await gateway.join(ALICE, known_blocks=HASH)
            await gateway.leave(MALLORY)
            await running.until_metric("broadcaster_unknown_peers_total", 1)
            assert await running.metric("broadcaster_peers") == 10

            answer = await running.calls.Propagate(propagate_request(origins=[peers[9]]))
            assert (answer.propagated, answer.lacking) == (4, 7)
            assert (await running.calls.AnnounceBlock(announce_request())).announced == 3
            block = (await gateway.next_response()).send_block
            assert (block.header_rlp, block.body_rlp, block.block_hash) == (b"header", b"body", HASH)
            assert block.total_difficulty == b"\x09"
            announces = (await gateway.next_response()).send_announces
            assert list(announces.announces) == [common_pb2.Announce(block_hash=HASH, number=9)]
            assert (len(block.node_ids), len(announces.node_ids)) == (4, 3)
            assert sorted([*block.node_ids, *announces.node_ids]) == peers[2:9]
            assert (await running.calls.AnnounceBlock(announce_request())).announced == 0
            assert await gateway.hang_up() is grpc.StatusCode.OK
            await running.until_metric("broadcaster_peers", 0)

    in_one_loop(scenario)


def test_a_blocks_bytes_cross_to_each_gateway_once():
    async def scenario() -> None:
        async with (
            broadcaster(fan_out="all") as running,
            attached(running, "east", ALICE, BOB) as east,
            attached(running, "west", MALLORY) as west,
        ):
            answer = await running.calls.Propagate(propagate_request())
            assert (answer.propagated, answer.lacking) == (3, 3)
            assert sorted((await east.next_response()).send_block.node_ids) == [ALICE, BOB]
            assert list((await west.next_response()).send_block.node_ids) == [MALLORY]
            assert await running.metric('broadcaster_peer_sends_total{kind="propagate"}') == 3
            assert await running.metric('broadcaster_fan_out{broadcaster_fan_out="all"}') == 1

    in_one_loop(scenario)


def test_a_second_stream_of_a_gateway_ends_the_first_and_brings_its_own_snapshot():
    async def scenario() -> None:
        async with broadcaster() as running, attached(running, "east", ALICE, BOB) as first:
            await running.calls.AnnounceBlock(announce_request())
            async with attached(running, "east", BOB) as second:
                assert await first.end() is grpc.StatusCode.ABORTED
                assert await running.metric("broadcaster_peers") == 1
                assert (await running.calls.AnnounceBlock(announce_request())).announced == 1
                assert list((await second.next_response()).send_announces.node_ids) == [BOB]
                assert await running.metric('broadcaster_gateway_cuts_total{cause="replaced"}') == 1

    in_one_loop(scenario)


def test_a_gateway_that_vanishes_takes_its_peers_along():
    async def scenario() -> None:
        async with broadcaster() as running, attached(running, "east", ALICE) as gateway:
            gateway.vanish()
            await running.until_metric("broadcaster_gateways", 0)
            assert (await running.calls.AnnounceBlock(announce_request())).announced == 0

    in_one_loop(scenario)


def test_a_gateway_that_does_not_read_is_cut_off_and_delays_nobody():
    body = bytes(1_000_000)

    async def scenario() -> None:
        async with (
            broadcaster(fan_out="all", gateway_queue_bytes=4_000_000) as running,
            attached(running, "slow", MALLORY) as slow,
            attached(running, "east", ALICE) as east,
        ):
            propagated, number, most_waiting = 2, 0, 0.0
            while propagated == 2:
                most_waiting = max(most_waiting, await running.metric("broadcaster_gateway_queue_bytes"))
                number += 1
                block_hash = number.to_bytes(32, "big")
                answer = await running.calls.Propagate(propagate_request(block_hash, body))
                propagated = answer.propagated
                assert (await east.next_response()).send_block.block_hash == block_hash
            assert propagated == 1
            assert number < 40
            assert 3_000_000 <= most_waiting <= 5_000_000
            await running.until_metric("broadcaster_gateway_queue_bytes", 0)
            assert await running.metric('broadcaster_gateway_cuts_total{cause="too_slow"}') == 1
            assert await running.metric('broadcaster_dropped_sends_total{kind="propagate"}') == 1
            assert await running.metric("broadcaster_peers") == 1
            assert await slow.end() is grpc.StatusCode.RESOURCE_EXHAUSTED
            async with attached(running, "slow", MALLORY) as again:
                assert (await running.calls.AnnounceBlock(announce_request(HASH))).announced == 2
                assert list((await again.next_response()).send_announces.node_ids) == [MALLORY]

    in_one_loop(scenario)


def test_transactions_are_counted_and_not_accepted_while_no_chain_is_followed():
    async def scenario() -> None:
        async with broadcaster() as running, attached(running, "east", ALICE, BOB) as gateway:
            content = broadcast_pb2.PeerTransactions(node_id=ALICE, transactions_rlp=[b"\xc0", b"\xc1\x01"])
            await gateway.say(transactions=content)
            await running.until_metric('broadcaster_transactions_refused_total{rule="not-accepted"}', 2)
            await running.calls.AnnounceBlock(announce_request())
            assert (await gateway.next_response()).WhichOneof("content") == "send_announces"

    in_one_loop(scenario)


def made_block(number: int) -> Block:
    return Block(MADE.headers[number], MADE.bodies[number].body_rlp)


def test_one_fan_out_is_shared_by_several_broadcasters():
    peers = [number.to_bytes(64, "big") for number in range(45)]

    async def scenario() -> None:
        async with (
            broadcaster() as first,
            broadcaster() as second,
            attached(first, "east", *peers[:20]) as east,
            attached(second, "west", *peers[20:]) as west,
        ):
            client = BroadcasterClient([first.address, second.address], random.Random(1))
            block = made_block(1)
            origin = PeerId(peers[0])
            assert await client.propagate(block, 1000, [origin]) == 6
            assert await client.announce(Announce(block.header.hash, 1), [origin]) == 38
            sent, announced = Counter[bytes](), Counter[bytes]()
            for gateway in (east, west):
                sent.update((await gateway.next_response()).send_block.node_ids)
                announced.update((await gateway.next_response()).send_announces.node_ids)
            assert sorted([*sent.elements(), *announced.elements()]) == peers[1:]
            assert (sent.total(), announced.total()) == (6, 38)

            propagations = Propagations(client.channels)
            one = await propagations.get(block.header.hash)
            assert (one.propagated_to, one.lacked_by, one.announced_to) == (6, 44, 38)
            assert [entry.block_hash for entry in await propagations.newest(5)] == [block.header.hash]
            await client.close()

    in_one_loop(scenario)


def test_the_last_count_stands_for_a_broadcaster_until_it_takes_no_block():
    peers = [number.to_bytes(64, "big") for number in range(32)]

    async def scenario() -> None:
        async with broadcaster() as first, attached(first, "east", *peers[:16]):
            async with broadcaster() as second, attached(second, "west", *peers[16:]):
                client = BroadcasterClient([first.address, second.address], random.Random(1))
                assert await client.propagate(made_block(1), 1000, []) == 5
            sent = await client.propagate(made_block(2), 2000, [])
            assert sent in (2, 3), "its part of the five over all 32"
            assert await client.announce(Announce(made_block(2).header.hash, 2)) == 16 - sent
            # Nobody is left there: its gateways go to the other one.
            assert await client.propagate(made_block(3), 3000, []) == 4
            await client.close()

    in_one_loop(scenario)


def test_who_was_first_is_told_over_all_broadcasters():
    async def scenario() -> None:
        async with (
            broadcaster() as first,
            broadcaster() as second,
            attached(first, "east", ALICE) as east,
            attached(second, "west", BOB) as west,
        ):
            client = BroadcasterClient([first.address, second.address], random.Random(1))
            propagations = Propagations(client.channels)
            for number, (gateway, peer, seen_us) in enumerate(((west, BOB, 5), (east, ALICE, 6), (west, BOB, 7)), 1):
                known = broadcast_pb2.KnownBlocks(
                    node_id=peer, hashes=made_block(number).header.hash, whole=number == 1, seen_us=seen_us
                )
                await gateway.say(known_blocks=known)
                await client.announce(Announce(made_block(number).header.hash, number))

            async def ranked() -> list[tuple[bytes, int, int, int]]:
                found = await propagations.first_peers()
                return [(one.node_id, one.first, one.first_whole, one.last_first_us) for one in found]

            await until(ranked, [(BOB, 2, 1, 7), (ALICE, 1, 0, 6)])
            await client.close()

    in_one_loop(scenario)


def test_a_peer_without_room_for_a_block_is_announced_it():
    async def scenario() -> None:
        async with broadcaster() as running, attached(running, "east", ALICE) as east:
            assert (await running.calls.Propagate(propagate_request())).propagated == 1
            await east.next_response()
            await east.say(send_refused=broadcast_pb2.SendRefused(block_hash=HASH, node_ids=[ALICE]))
            await running.until_metric("broadcaster_refused_sends_total", 1)
            assert (await running.calls.AnnounceBlock(announce_request())).announced == 1
            assert list((await east.next_response()).send_announces.node_ids) == [ALICE]
            ledger = broadcast_pb2_grpc.LedgerServiceStub(running.channel)
            told = await ledger.ReadPropagation(broadcast_pb2.ReadPropagationRequest(block_hash=HASH))
            assert (told.propagation.refused_by, told.propagation.announced_to) == (1, 1)

    in_one_loop(scenario)


BAD_FIRST = {
    "no hello": {"known_blocks": broadcast_pb2.KnownBlocks(node_id=ALICE, hashes=HASH)},
    "no gateway id": {"hello": broadcast_pb2.BroadcastHello()},
    "short node id": {
        "hello": broadcast_pb2.BroadcastHello(gateway_id="x", peers=[broadcast_pb2.BroadcastPeer(node_id=b"A")])
    },
    "no content": {},
}

BAD_LATER = {
    "second hello": {"hello": broadcast_pb2.BroadcastHello(gateway_id="east")},
    "half a known transaction": {"known_transactions": broadcast_pb2.KnownTransactions(hashes=HASH[:16])},
    "knowers of nothing": {"known_transactions": broadcast_pb2.KnownTransactions(node_ids=[ALICE], knowers=b"1")},
    "half a hash": {"known_blocks": broadcast_pb2.KnownBlocks(node_id=ALICE, hashes=HASH[:16])},
    "short node id": {"peer_left": broadcast_pb2.BroadcastPeerLeft(node_id=b"A")},
    "no content": {},
}


@pytest.mark.parametrize("content", BAD_FIRST.values(), ids=BAD_FIRST)
def test_a_stream_is_refused_when_its_first_message_is_no_good_hello(content):
    async def scenario() -> None:
        async with broadcaster() as running:
            gateway = ScriptedGateway(broadcast_pb2_grpc.BroadcastLinkServiceStub(running.channel))
            await gateway.say(**content)
            assert await gateway.end() is grpc.StatusCode.INVALID_ARGUMENT
            assert await running.metric("broadcaster_gateways") == 0

    in_one_loop(scenario)


@pytest.mark.parametrize("content", BAD_LATER.values(), ids=BAD_LATER)
def test_a_stream_is_ended_when_a_later_message_breaks_the_contract(content):
    async def scenario() -> None:
        async with broadcaster() as running, attached(running, "east", ALICE) as gateway:
            await gateway.say(**content)
            assert await gateway.end() is grpc.StatusCode.INVALID_ARGUMENT
            assert await running.metric('broadcaster_gateway_cuts_total{cause="invalid"}') == 1
            assert await running.metric("broadcaster_peers") == 0

    in_one_loop(scenario)


def test_a_block_without_total_difficulty_is_refused():
    async def scenario() -> None:
        async with broadcaster() as running, attached(running, "east", ALICE):
            request = propagate_request()
            request.total_difficulty = b""
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await running.calls.Propagate(request)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    in_one_loop(scenario)


def test_the_chain_is_followed_again_after_the_coordinator_was_away():
    async def scenario() -> None:
        coordinator = ScriptedCoordinator()
        server = grpc.aio.server()
        coordinator_pb2_grpc.add_ChainWatchServiceServicer_to_server(coordinator, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with broadcaster(coordinator=f"127.0.0.1:{port}") as running:
            await running.until_metric("broadcaster_following_chain", 1)
            coordinator.moves.put_nowait(
                coordinator_pb2.WatchChainResponse(moved=coordinator_pb2.ChainMoved(head=chain_head(70)))
            )
            await running.until_metric("broadcaster_head_number", 70)
            coordinator.moves.put_nowait(None)
            await running.until_metric("broadcaster_head_number", 2)
            assert coordinator.streams == 2
            assert await running.metric("broadcaster_chain_stream_failures_total") == 1
            await server.stop(None)
            await running.until_metric("broadcaster_following_chain", 0)
            assert await running.metric("broadcaster_head_number") == 2

    in_one_loop(scenario)


def test_health_says_serving_and_a_stop_ends_the_streams():
    async def scenario() -> None:
        async with broadcaster() as running, attached(running, "east", ALICE) as gateway:
            health = health_pb2_grpc.HealthStub(running.channel)
            for service in ("", "blocksync.v1.BroadcastService", "blocksync.v1.BroadcastLinkService"):
                answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
            running.stop.set()
            assert await gateway.end() is grpc.StatusCode.UNAVAILABLE
            await running.task

    in_one_loop(scenario)


def test_the_process_starts_answers_health_and_stops_cleanly_when_told(tmp_path: Path):
    address = f"unix:{tmp_path / 'b.sock'}"
    flags = ["--listen", address, "--coordinator", "unix:nowhere.sock", "--run-dir", str(tmp_path)]

    async def scenario() -> None:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.broadcaster", *flags, stderr=asyncio.subprocess.PIPE
        )
        try:
            await until(_is_ready, True)
            async with open_channel(address) as channel:
                health = health_pb2_grpc.HealthStub(channel)
                answer = await health.Check(health_pb2.HealthCheckRequest())
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
            child.send_signal(signal.SIGTERM)
            _, errors = await child.communicate()
            assert child.returncode == 0
            assert len(errors.splitlines()) <= 2, errors.decode()
            assert not await _is_ready()
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()

    async def _is_ready() -> bool:
        return read_ready(tmp_path, "broadcaster") is not None

    in_one_loop(scenario)
