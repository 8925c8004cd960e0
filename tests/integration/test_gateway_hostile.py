"""What bad peers get from a real gateway: a disconnect with the right reason, one log line, and nobody else harmed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

import pytest
from blocksync.v1 import common_pb2, gateway_link_pb2
from structlog.testing import capture_logs

from services.shared.ethwire.eth_messages import encode_message
from services.shared.ethwire.faults import DisconnectReason
from services.shared.ethwire.messages import (
    BlockBodies,
    BlockHeaders,
    EthMessage,
    GetBlockHeaders,
    MessageCode,
    NodeData,
    Receipts,
    Status,
    Transactions,
)
from services.shared.ethwire.types import BlockHash
from services.shared.rpc.convert import headers_query_to_proto, reason_to_proto
from tests.support.deadlines import until
from tests.support.gateway_under_test import CHAIN, GatewayUnderTest, gateway_under_test, in_loop
from tests.support.scripted_chain import ScriptedChain
from tests.support.scripted_peer import DEADLINE_S, ScriptedListener, ScriptedPeer
from tests.support.wire import local_node

pytestmark = pytest.mark.integration

GIGABYTE_VARINT = b"\x80\x80\x80\x80\x04"
"""The start of a snappy block that says it inflates to 1 GiB."""

FIRST_STATUSES: dict[str, Callable[[Status], Status]] = {
    "wrong-genesis": lambda status: status._replace(genesis_hash=BlockHash(bytes(32))),
    "wrong-network": lambda status: status._replace(network_id=2),
    "wrong-version": lambda status: status._replace(protocol_version=62),
}


async def assert_still_works(gateway: GatewayUnderTest) -> None:
    """An honest peer joins and is answered."""
    peer = await gateway.joined("honest")
    peer.send(GetBlockHeaders(0, 2, 0, False))
    assert len((await peer.receive(BlockHeaders)).headers_rlp) == 2


def events_about(peer: ScriptedPeer, logs: Sequence[MutableMapping[str, Any]]) -> list[str]:
    """The log lines that name this peer."""
    return [line["event"] for line in logs if line.get("node") == peer.local.node_id.hex()[:16]]


@pytest.mark.parametrize("lie", FIRST_STATUSES.values(), ids=FIRST_STATUSES.keys())
@in_loop
async def test_status_that_disagrees_is_refused_and_the_place_is_free_again(lie):
    with capture_logs() as logs:
        async with gateway_under_test() as gateway:
            mallory = await gateway.dial("mallory")
            await mallory.ready()
            mallory.send(lie(gateway.status._replace(protocol_version=63)))
            assert await mallory.refusal() is DisconnectReason.SUBPROTOCOL_ERROR
            left = await gateway.coordinator.control.next("peer_left")
            assert (left.node_id, left.by_us) == (mallory.local.node_id, True)
            assert "peer_joined" not in gateway.coordinator.control.names
            await assert_still_works(gateway)
    assert [line["event"] for line in logs if line.get("node") == mallory.local.node_id.hex()[:16]] == [
        "peer not taken"
    ]


@in_loop
async def test_message_before_status_is_refused():
    async with gateway_under_test() as gateway:
        mallory = await gateway.dial("mallory")
        await mallory.ready()
        mallory.send(GetBlockHeaders(0, 1, 0, False))
        assert await mallory.refusal() is DisconnectReason.SUBPROTOCOL_ERROR


@in_loop
async def test_peer_without_status_is_refused_in_time():
    async with gateway_under_test(handshake_timeout=0.3) as gateway:
        mallory = await gateway.dial("mallory")
        await mallory.ready()
        assert await mallory.refusal() is DisconnectReason.READ_TIMEOUT


@in_loop
async def test_socket_without_a_word_is_closed_in_time():
    async with gateway_under_test(handshake_timeout=0.3) as gateway:
        reader, writer = await asyncio.open_connection(gateway.enode.host, gateway.enode.tcp_port)
        async with asyncio.timeout(DEADLINE_S):
            assert await reader.read() == b""
        writer.close()
        await assert_still_works(gateway)


@in_loop
async def test_peer_that_falls_silent_is_disconnected():
    async with gateway_under_test(read_timeout=0.5, ping_interval=0.1) as gateway:
        mallory = await gateway.joined("mallory")
        mallory.stop_reading()
        left = await gateway.coordinator.control.next("peer_left")
        assert (left.reason, left.by_us) == (common_pb2.DISCONNECT_REASON_READ_TIMEOUT, True)


def second_status(mallory: ScriptedPeer) -> None:
    mallory.send(CHAIN.status(1337)._replace(protocol_version=63))


def oversized_frame(mallory: ScriptedPeer) -> None:
    pipe = mallory.connection._pipe
    assert pipe is not None
    # The header alone: what it announces is refused before it comes.
    mallory.send_bytes(pipe._writer.encode(0x10 + MessageCode.NODE_DATA, bytes(13 * 1024 * 1024))[:32])


MISDEEDS: dict[str, tuple[Callable[[ScriptedPeer], None], DisconnectReason]] = {
    "second-status": (second_status, DisconnectReason.SUBPROTOCOL_ERROR),
    "oversized-frame": (oversized_frame, DisconnectReason.SUBPROTOCOL_ERROR),
    "snappy-bomb": (
        lambda peer: peer.send_frame(MessageCode.BLOCK_BODIES, GIGABYTE_VARINT + bytes(100)),
        DisconnectReason.SUBPROTOCOL_ERROR,
    ),
    "not-snappy": (
        lambda peer: peer.send_frame(MessageCode.BLOCK_BODIES, b"\xff" * 50),
        DisconnectReason.SUBPROTOCOL_ERROR,
    ),
    "garbage": (lambda peer: peer.send_bytes(os.urandom(2000)), DisconnectReason.BREACH_OF_PROTOCOL),
    "malformed-announce": (
        lambda peer: peer.send_payload(MessageCode.NEW_BLOCK_HASHES, b"\xc1"),
        DisconnectReason.SUBPROTOCOL_ERROR,
    ),
    "malformed-question": (
        lambda peer: peer.send_payload(MessageCode.GET_BLOCK_HEADERS, b"\xc0"),
        DisconnectReason.SUBPROTOCOL_ERROR,
    ),
    "malformed-block": (
        lambda peer: peer.send_payload(MessageCode.NEW_BLOCK, b"\xc7\xc5\xc1\x01\xc0\xc0\x01"),
        DisconnectReason.SUBPROTOCOL_ERROR,
    ),
    "nil-transaction": (
        lambda peer: peer.send(Transactions([b"\xc0"])),
        DisconnectReason.SUBPROTOCOL_ERROR,
    ),
    "unused-code": (lambda peer: peer.send_payload(0x09, b"\xc0"), DisconnectReason.SUBPROTOCOL_ERROR),
    "code-out-of-range": (
        lambda peer: peer.send_frame(0x10 + 17, b"\x01\x00\xc0", base=True),
        DisconnectReason.BREACH_OF_PROTOCOL,
    ),
}


FAULTS = {
    "second-status": "out_of_place",
    "oversized-frame": "oversize",
    "snappy-bomb": "oversize",
    "unused-code": "unknown_code",
    "code-out-of-range": "unknown_code",
}
"""What they are counted as; the others are undecodable."""


@pytest.mark.parametrize("name", MISDEEDS)
@in_loop
async def test_misdeed_of_a_joined_peer_ends_it_with_one_log_line(name):
    misdeed, reason = MISDEEDS[name]
    with capture_logs() as logs:
        async with gateway_under_test() as gateway:
            mallory = await gateway.joined("mallory")
            misdeed(mallory)
            assert await mallory.refusal() == reason
            left = await gateway.coordinator.control.next("peer_left")
            assert (left.reason, left.by_us) == (reason_to_proto(reason), True)
            assert await gateway.metric("faulty_messages_total", fault=FAULTS.get(name, "undecodable")) == 1
            await assert_still_works(gateway)
    assert events_about(mallory, logs) == ["peer joined", "peer left"]
    assert not any("exc_info" in line for line in logs)


@in_loop
async def test_unasked_replies_are_counted_and_harm_nobody():
    async with gateway_under_test() as gateway:
        mallory = await gateway.joined("mallory")
        mallory.send(BlockHeaders([CHAIN.headers[3].header_rlp]))
        mallory.send(BlockBodies(CHAIN.bodies_rlp[:20]))
        mallory.send(Receipts([b"\xc0"]))
        mallory.send(NodeData([bytes(5_000_000)]))
        mallory.send_payload(MessageCode.NODE_DATA, b"not worth decoding")
        mallory.send(GetBlockHeaders(0, 1, 0, False))
        assert len((await mallory.receive(BlockHeaders)).headers_rlp) == 1
        assert await gateway.metric("dropped_total", kind="reply", cause="unasked") == 5
        assert await gateway.metric("faulty_messages_total", fault="unasked") == 5
        assert set(gateway.coordinator.bulk.names) <= {"hello"}


@in_loop
async def test_reply_to_another_question_ends_the_peer():
    async with gateway_under_test() as gateway:
        mallory = await gateway.joined("mallory")
        mallory.answer = lambda message: BlockHeaders([header.header_rlp for header in CHAIN.headers[8:12]])
        gateway.ask(mallory, 1, headers=headers_query_to_proto(GetBlockHeaders(5, 4, 0, False)))
        assert await mallory.refusal() is DisconnectReason.USELESS_PEER
        assert "headers" not in gateway.coordinator.bulk.names


@in_loop
async def test_bodies_of_a_wrong_shape_end_the_peer():
    async with gateway_under_test() as gateway:
        mallory = await gateway.joined("mallory")
        mallory.answer = lambda message: BlockBodies([b"\xc2\xc0\x01"])
        gateway.ask(mallory, 1, bodies=gateway_link_pb2.HashList(hashes=bytes(32)))
        assert await mallory.refusal() is DisconnectReason.SUBPROTOCOL_ERROR


@in_loop
async def test_hang_up_in_the_middle_of_a_reply_is_a_peer_that_left():
    async with gateway_under_test() as gateway:
        mallory = await gateway.joined("mallory")
        gateway.ask(mallory, 1, headers=headers_query_to_proto(GetBlockHeaders(1, 30, 0, False)))
        await mallory.receive(GetBlockHeaders)
        _, payload = encode_message(63, BlockHeaders([header.header_rlp for header in CHAIN.headers[1:31]]))
        mallory.connection.send_message(MessageCode.BLOCK_HEADERS, payload)
        frame = mallory.connection.data_to_send()
        mallory.send_bytes(frame[: len(frame) // 2])
        mallory.hang_up()
        left = await gateway.coordinator.control.next("peer_left")
        assert (left.node_id, left.by_us) == (mallory.local.node_id, False)
        await assert_still_works(gateway)


class LargeReplies(ScriptedChain):
    """A chain whose every answer is 2 MiB that do not compress."""

    def answer(self, message: EthMessage) -> EthMessage:
        return BlockHeaders([b"\xfa\x1f\xff\xfc" + os.urandom(0x1FFFFC)])


@in_loop
async def test_peer_that_asks_and_does_not_read_is_disconnected_and_costs_no_memory():
    async with gateway_under_test(write_timeout=0.3) as gateway:
        mallory = await gateway.joined("mallory")
        gateway.coordinator.chain = LargeReplies([])
        mallory.stop_reading()
        for _ in range(100):
            mallory.send(GetBlockHeaders(0, 1, 0, False))
        left = await gateway.coordinator.control.next("peer_left")
        assert (left.reason, left.by_us) == (common_pb2.DISCONNECT_REASON_NETWORK_ERROR, True)
        # 2 MiB each: what the kernel took, and then the reply after which the peer counted as slow.
        assert gateway.coordinator.reads <= 8
        gateway.coordinator.chain = CHAIN
        await assert_still_works(gateway)


@in_loop
async def test_strangers_beyond_the_limit_are_turned_away():
    async with gateway_under_test(pending_peers=3, handshake_timeout=1.0) as gateway:
        strangers = [await asyncio.open_connection(gateway.enode.host, gateway.enode.tcp_port) for _ in range(4)]
        async with asyncio.timeout(DEADLINE_S):
            assert await strangers[3][0].read() == b""
            assert await gateway.metric("refused_connections_total", cause="pending") == 1
            assert [await reader.read() for reader, _ in strangers] == [b""] * 4
        for _, writer in strangers:
            writer.close()
        await assert_still_works(gateway)


@in_loop
async def test_stranger_gives_way_to_another_address_when_one_holds_all_places():
    async with gateway_under_test(host="0.0.0.0", pending_peers=4, handshake_timeout=10.0) as gateway:
        port = gateway.enode.tcp_port
        strangers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
        await until_pending(gateway, 4)
        # From another loopback address: it is another source.
        loop = asyncio.get_running_loop()
        local = local_node("alice")
        _, alice = await loop.create_connection(
            lambda: ScriptedPeer(local, gateway.enode.node_id), "127.0.0.1", port, local_addr=("127.0.0.2", 0)
        )
        await alice.join(gateway.status)
        async with asyncio.timeout(DEADLINE_S):
            assert await strangers[0][0].read() == b""
        assert await gateway.metric("refused_connections_total", cause="evicted") == 1
        for _, writer in strangers:
            writer.close()


async def until_pending(gateway, count: int) -> None:
    async def are_there() -> bool:
        found: float = await gateway.metric("connections", direction="in")
        return found == count

    await until(are_there, f"{count} connections")


@in_loop
async def test_address_that_comes_again_at_once_is_turned_away_before_the_handshake(monkeypatch):
    # Loopback is exempt, and all there is for a test: so it counts as any other address here.
    monkeypatch.setattr("services.peer_gateway.core.address_rules.is_lan", lambda _: False)
    async with gateway_under_test() as gateway:
        alice = await gateway.joined("alice")
        for _ in range(3):
            reader, writer = await asyncio.open_connection(gateway.enode.host, gateway.enode.tcp_port)
            async with asyncio.timeout(DEADLINE_S):
                assert await reader.read() == b""
            writer.close()
        assert await gateway.metric("refused_connections_total", cause="throttled") == 3
        assert await gateway.metric("bytes_total", direction="in") > 0
        assert alice.is_connected


@in_loop
async def test_netrestrict_turns_away_peers_and_refuses_static_nodes():
    async with (
        ScriptedListener(local_node("bob")) as bob,
        gateway_under_test(starts=False, netrestrict="10.0.0.0/8,fd00::/8") as gateway,
    ):
        gateway.coordinator.static_enodes = [str(bob.enode)]
        await gateway.start_coordinator()
        failed = await gateway.coordinator.control.next("dial_failed")
        assert failed.enode == str(bob.enode)
        assert "--netrestrict" in failed.explanation
        async with asyncio.timeout(DEADLINE_S):
            await gateway.is_ready.wait()
        reader, writer = await asyncio.open_connection(gateway.enode.host, gateway.enode.tcp_port)
        async with asyncio.timeout(DEADLINE_S):
            assert await reader.read() == b""
        writer.close()
        assert await gateway.metric("refused_connections_total", cause="netrestrict") == 1
        assert bob.peers == []
