"""Peers that read slowly or not at all: what waits for them is bounded, what is urgent passes, nobody else notices."""

from __future__ import annotations

import asyncio
import functools
import gc
import os

import pytest
from blocksync.v1 import broadcast_pb2, common_pb2, gateway_link_pb2

from services.peer_gateway.core.devp2p import BaseCode
from services.peer_gateway.core.send_queue import TOTAL_BYTES
from services.peer_gateway.edges.peer_session import PeerSession
from services.peer_gateway.edges.tcp import WRITE_BUFFER_BYTES
from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.limits import SOFT_REPLY_BYTES
from services.shared.ethwire.messages import (
    BlockHeaders,
    EthMessage,
    GetBlockHeaders,
    GetNodeData,
    NewBlock,
    NewBlockHashes,
    NodeData,
    Transactions,
)
from services.shared.rpc.convert import big_to_bytes
from tests.support.deadlines import until
from tests.support.gateway_under_test import CHAIN, GatewayUnderTest, gateway_under_test, in_loop
from tests.support.scripted_chain import ScriptedChain
from tests.support.scripted_peer import ScriptedPeer

pytestmark = pytest.mark.integration

REPLY_BYTES = SOFT_REPLY_BYTES


class LargeReplies(ScriptedChain):
    """A chain whose every answer is 2 MiB that do not compress."""

    def answer(self, message: EthMessage) -> EthMessage:
        size = REPLY_BYTES - 10
        return BlockHeaders([b"\xfa" + size.to_bytes(3) + os.urandom(size)])


@functools.lru_cache(maxsize=8)
def session_of(peer: ScriptedPeer) -> PeerSession:
    """The gateway's side of this peer. Both run in this process, where a search takes a while."""
    sessions = [session for session in gc.get_objects() if isinstance(session, PeerSession)]
    for session in sessions:
        if session.details().node_id == peer.local.node_id and not session.socket.closed.done():
            return session
    raise AssertionError("the peer is gone")


def held_for(peer: ScriptedPeer) -> int:
    """The bytes that the gateway holds for this peer."""
    return session_of(peer).socket.unsent_bytes if peer.is_connected else 0


def send_block(gateway: GatewayUnderTest, number: int, *peers: ScriptedPeer, body_bytes: int = 0) -> None:
    """Have the broadcaster send a block, whatever is in its body, to these peers."""
    body = b"\xc0" if not body_bytes else b"\xfa" + body_bytes.to_bytes(3) + os.urandom(body_bytes)
    content = body + b"\xc0"
    gateway.broadcaster.send(
        send_block=broadcast_pb2.SendBlock(
            node_ids=[peer.local.node_id for peer in peers],
            header_rlp=CHAIN.headers[number].header_rlp,
            body_rlp=b"\xfa" + len(content).to_bytes(3) + content if body_bytes else b"\xc2\xc0\xc0",
            block_hash=os.urandom(32),
            total_difficulty=big_to_bytes(17),
        )
    )


def send_announce(gateway: GatewayUnderTest, number: int, *peers: ScriptedPeer) -> None:
    announce = common_pb2.Announce(block_hash=os.urandom(32), number=number)
    ids = [peer.local.node_id for peer in peers]
    gateway.broadcaster.send(send_announces=broadcast_pb2.SendAnnounces(node_ids=ids, announces=[announce]))


def send_transactions(gateway: GatewayUnderTest, *peers: ScriptedPeer) -> None:
    """About 100 KiB of them, as a new peer gets them."""
    ids = [peer.local.node_id for peer in peers]
    pack = [b"\xf9\x04\x00" + os.urandom(1024) for _ in range(100)]
    gateway.broadcaster.send(send_transactions=broadcast_pb2.SendTransactions(node_ids=ids, transactions_rlp=pack))


async def fill(gateway: GatewayUnderTest, peer: ScriptedPeer) -> None:
    """Have the peer ask for replies it does not read until one waits in its queue behind a full write buffer."""
    gateway.coordinator.chain = LargeReplies([])
    peer.stop_reading()
    for _ in range(20):
        peer.send(GetBlockHeaders(0, 1, 0, False))
    await until(lambda: held_for(peer) > REPLY_BYTES + WRITE_BUFFER_BYTES, "a reply waits behind the write buffer")


@in_loop
async def test_peer_that_never_reads_costs_a_bounded_memory_and_what_is_dropped_is_counted():
    async with gateway_under_test(write_timeout=600.0) as gateway:
        mallory, alice = await gateway.joined("mallory"), await gateway.joined("alice")
        await fill(gateway, mallory)
        most = 0
        for number in range(40):
            send_block(gateway, number, mallory, alice, body_bytes=500_000)
            send_announce(gateway, number, mallory, alice)
            for _ in range(5):
                send_transactions(gateway, mallory, alice)
            await alice.receive(NewBlock)
            most = max(most, held_for(mallory))
        assert TOTAL_BYTES // 2 < most < TOTAL_BYTES + WRITE_BUFFER_BYTES + 2 * REPLY_BYTES + 100_000
        for name, sent, waiting in (("NewBlock", 40, 4), ("NewBlockHashes", 40, 4), ("Transactions", 200, 40)):

            async def is_counted(name: str = name, least: int = sent - waiting, most: int = sent) -> bool:
                # What was sent last may still be on its way to the gateway.
                return least <= await gateway.metric("dropped_total", kind=name, cause="slow-peer") <= most

            await until(is_counted, f"{name} dropped")
        assert await gateway.metric("send_queue_bytes") > TOTAL_BYTES // 2
        pass_write_timeout(mallory)
        left = await gateway.coordinator.control.next("peer_left")
        assert (left.node_id, left.reason) == (mallory.local.node_id, common_pb2.DISCONNECT_REASON_NETWORK_ERROR)
        assert (left.by_us, "read nothing for 600 s" in left.explanation) == (True, True)
        assert gateway.coordinator.reads <= 8
        assert alice.is_connected
        refused = await gateway.broadcaster.arrivals.next("send_refused")
        assert list(refused.node_ids) == [mallory.local.node_id]
        await until_metric(gateway, "send_queue_bytes", 0)


@in_loop
async def test_block_passes_announces_transactions_and_replies_that_wait():
    async with gateway_under_test() as gateway:
        peer = await gateway.joined()
        await fill(gateway, peer)
        for _ in range(3):
            send_transactions(gateway, peer)
        send_announce(gateway, 3, peer)
        send_block(gateway, 5, peer)
        gateway.ask(peer, 7, headers=common_pb2.HeadersQuery(number=1, amount=1))
        for name in ("GetBlockHeaders", "NewBlock"):
            await until(functools.partial(gateway.metric, "messages_total", direction="out", name=name), "it is queued")
        peer.seen.clear()
        peer.resume_reading()
        await until(lambda: "Transactions" in peer.seen and "BlockHeaders" in peer.seen[-1:], "the peer has read on")
        urgent = [name for name in peer.seen if name != "BlockHeaders"]
        assert urgent == ["GetBlockHeaders", "NewBlock", "NewBlockHashes", *["Transactions"] * 3]
        # What had left the queue comes first; the reply that waited in it comes after everything else.
        assert peer.seen.index("Transactions") < len(peer.seen) - 1 - peer.seen[::-1].index("BlockHeaders")
        assert peer.seen.index("GetBlockHeaders") <= 1 + 2 * (2 * 1024 * 1024) // REPLY_BYTES + 4


@in_loop
async def test_slow_peer_gets_every_reply_in_order_once_it_reads():
    async with gateway_under_test(question_patience=2.0) as gateway:
        peer = await gateway.joined()
        await fill(gateway, peer)
        over = asyncio.get_running_loop().time() + 2.2
        await until(lambda: asyncio.get_running_loop().time() > over, "the patience with the coordinator is over")
        peer.resume_reading()
        replies = [await peer.receive(BlockHeaders) for _ in range(20)]
        assert all(len(reply.headers_rlp) == 1 for reply in replies), "no question ran out of patience meanwhile"


@in_loop
async def test_broadcast_reaches_every_peer_whole():
    async with gateway_under_test() as gateway:
        peers = [await gateway.joined(f"peer-{number}") for number in range(10)]
        for number in range(3):
            send_block(gateway, number, *peers)
        send_announce(gateway, 9, *peers)
        send_transactions(gateway, *peers)
        for peer in peers:
            for number in range(3):
                assert (await peer.receive(NewBlock)).header_rlp == CHAIN.headers[number].header_rlp
            assert [entry.number for entry in (await peer.receive(NewBlockHashes)).announces] == [9]
            assert len((await peer.receive(Transactions)).transactions_rlp) == 100
        for name in ("NewBlock", "NewBlockHashes", "Transactions"):
            assert await gateway.metric("dropped_total", kind=name, cause="slow-peer") == 0


@in_loop
async def test_pings_of_a_peer_that_does_not_read_are_answered_with_one_pong_when_it_does():
    async with gateway_under_test() as gateway:
        peer = await gateway.joined()
        await fill(gateway, peer)
        before, size = held_for(peer), await gateway.metric("bytes_total", direction="in")
        for _ in range(20):
            for _ in range(500):
                peer.connection._send(BaseCode.PING, b"\xc0")
            peer.send_bytes(peer.connection.data_to_send())
            await asyncio.sleep(0)
        await until(lambda: _grew(gateway, size + 400_000), "the pings have arrived")
        assert held_for(peer) <= before


def pass_write_timeout(peer: ScriptedPeer) -> None:
    """As if the peer had not read for as long as it may."""
    socket = session_of(peer).socket
    assert socket._queue.is_blocked
    socket._queue._stuck_at = 0.0
    socket._on_timer()


async def until_metric(gateway: GatewayUnderTest, name: str, value: float) -> None:
    async def is_there() -> bool:
        return await gateway.metric(name) == value

    await until(is_there, f"{name} is {value}")


async def _grew(gateway: GatewayUnderTest, size_bytes: float) -> bool:
    return await gateway.metric("bytes_total", direction="in") > size_bytes


@in_loop
async def test_peer_is_not_silent_while_it_is_we_who_do_not_read():
    async with gateway_under_test(ping_interval=0.05, bulk_queue_bytes=1) as gateway:
        peer = await gateway.joined()
        values = [os.urandom(1_500_000)]
        peer.answer = lambda message: NodeData(values) if isinstance(message, GetNodeData) else None
        gateway.coordinator.may_read_bulk.clear()
        for request_id in range(12):
            gateway.ask(peer, request_id, node_data=gateway_link_pb2.HashList(hashes=keccak256(values[0])))
        timers = session_of(peer).socket._connection._timers

        async def is_left_unread() -> bool:
            since = timers._unread_since
            await asyncio.sleep(0.2)
            return since is not None and timers._unread_since == since

        await until(is_left_unread, "the coordinator takes nothing more, so the peer is not read")
        assert timers._unread_since is not None
        assert timers._next_ping is not None
        # As if it had begun that long ago: more than a peer may be silent.
        timers._unread_since, timers._deadline = timers._unread_since - 600, timers._deadline - 600
        first_ping = timers._next_ping
        await until(lambda: (timers._next_ping or 0) > first_ping + 0.1, "the timer was looked at")
        assert not is_read(peer)
        assert peer.is_connected
        gateway.coordinator.may_read_bulk.set()
        replies = [await gateway.coordinator.bulk.next("node_data") for _ in range(12)]
        assert [reply.request_id for reply in replies] == list(range(12))
        assert peer.is_connected


@in_loop
async def test_socket_is_not_left_unread_for_longer_than_the_patience_however_much_waits():
    async with gateway_under_test(bulk_queue_bytes=1, bulk_patience=0.5) as gateway:
        peer = await gateway.joined()
        values = [os.urandom(200_000)]
        peer.answer = lambda message: NodeData(values) if isinstance(message, GetNodeData) else None
        gateway.coordinator.may_read_bulk.clear()
        for request_id in range(60):
            gateway.ask(peer, request_id, node_data=gateway_link_pb2.HashList(hashes=keccak256(values[0])))
        pauses = pauses_of(session_of(peer))
        await until(lambda: any(length > 0.3 for length in pauses), "the peer was not read for a while")
        assert max(pauses) < 3.0, "one patience, not that of each message that waits"
        gateway.coordinator.may_read_bulk.set()


def pauses_of(session: PeerSession) -> list[float]:
    """How long the session leaves its socket unread, each time it does, from now on."""
    inbox, clock = session._inbox, asyncio.get_running_loop().time
    began, lengths, pause, resume = [clock()], list[float](), inbox._pause, inbox._resume

    def on_pause() -> None:
        began.append(clock())
        pause()

    def on_resume() -> None:
        lengths.append(clock() - began[-1])
        resume()

    inbox._pause, inbox._resume = on_pause, on_resume
    return lengths


def is_read(peer: ScriptedPeer) -> bool:
    transport = session_of(peer).socket._transport
    return transport is not None and transport.is_reading()
