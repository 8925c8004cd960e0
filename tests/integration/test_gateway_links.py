"""A real gateway whose coordinator and broadcaster come and go: admission, snapshots, what is sent to peers."""

from __future__ import annotations

import asyncio
import functools
import os
import random
import tempfile
import time
from typing import cast

import pytest
from blocksync.v1 import broadcast_pb2, common_pb2, gateway_link_pb2
from coincurve import PrivateKey
from prometheus_client import CollectorRegistry

from services.peer_gateway.edges.broadcaster_link import BroadcastCommands, BroadcasterChannels, BroadcasterLink
from services.peer_gateway.edges.link import CriticalOutbox, LinkKeeper, LinkLost
from services.peer_gateway.metrics import GatewayMetrics
from services.shared.ethwire.faults import DisconnectReason
from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.messages import (
    BlockBodies,
    BlockHeaders,
    GetBlockBodies,
    GetBlockHeaders,
    GetNodeData,
    GetReceipts,
    NewBlock,
    NewBlockHashes,
    NodeData,
    Receipts,
    Status,
    Transactions,
)
from services.shared.ethwire.rlp_slices import join_list
from services.shared.ethwire.types import Announce
from services.shared.rpc.channel import Backoff
from services.shared.rpc.convert import big_to_bytes, headers_query_to_proto
from services.shared.rpc.known_transactions import known_transactions_from_proto
from tests.support.deadlines import until
from tests.support.gateway_under_test import CHAIN, GatewayUnderTest, gateway_under_test, in_loop
from tests.support.scripted_peer import ScriptedPeer
from tests.support.scripted_services import ScriptedBroadcaster
from tests.support.wire import local_node

pytestmark = pytest.mark.integration

REFUSALS = {
    gateway_link_pb2.ADMISSION_TOO_MANY_PEERS: DisconnectReason.TOO_MANY_PEERS,
    gateway_link_pb2.ADMISSION_ALREADY_CONNECTED: DisconnectReason.ALREADY_CONNECTED,
    gateway_link_pb2.ADMISSION_SELF: DisconnectReason.CONNECTED_TO_SELF,
    gateway_link_pb2.ADMISSION_BANNED: DisconnectReason.USELESS_PEER,
}


@pytest.mark.parametrize(("verdict", "reason"), REFUSALS.items(), ids=[reason.name for reason in REFUSALS.values()])
@in_loop
async def test_peer_that_is_not_admitted_hears_why(verdict, reason):
    async with gateway_under_test() as gateway:
        gateway.coordinator.verdict = verdict
        peer = await gateway.dial()
        assert await peer.refusal() is reason
        assert not {"peer_joined", "peer_left"} & set(gateway.coordinator.control.names)


@in_loop
async def test_second_connection_of_a_peer_is_refused():
    async with gateway_under_test() as gateway:
        first = await gateway.joined("alice")
        second = await gateway.dial("alice")
        assert await second.refusal() is DisconnectReason.ALREADY_CONNECTED
        first.send(GetBlockHeaders(0, 1, 0, False))
        await first.receive(BlockHeaders)


@in_loop
async def test_connection_that_ends_unanswered_leaves_its_nodes_other_connection_joined():
    async with gateway_under_test() as gateway:
        gateway.coordinator.verdict = None
        first = await gateway.dial("alice")
        ticket = (await gateway.coordinator.control.next("admit_peer")).ticket
        second = await gateway.dial("alice")
        assert await second.refusal() is DisconnectReason.ALREADY_CONNECTED
        admitted = gateway_link_pb2.AdmitVerdict(ticket=ticket, admission=gateway_link_pb2.ADMISSION_ADMITTED)
        gateway.coordinator.send(admit_verdict=admitted)
        await first.join(gateway.status)
        await gateway.coordinator.control.next("peer_joined")
        gateway.coordinator.verdict = gateway_link_pb2.ADMISSION_ADMITTED
        await gateway.joined("bob")
        assert "peer_left" not in gateway.coordinator.control.names


@in_loop
async def test_connection_with_our_own_key_is_refused():
    key = PrivateKey(os.urandom(32))
    async with gateway_under_test(nodekey=key.secret.hex()) as gateway:
        peer = await gateway.dial("mirror", key=key)
        assert await peer.refusal() is DisconnectReason.CONNECTED_TO_SELF


@in_loop
async def test_sibling_gateway_is_refused():
    async with gateway_under_test() as gateway:
        sibling = local_node("sibling")
        plan = gateway_link_pb2.DialPlan(gateway_node_ids=[sibling.node_id])
        gateway.coordinator.send(dial_plan=plan)
        peer = await gateway.joined("alice")
        assert await (await gateway.dial("sibling")).refusal() is DisconnectReason.CONNECTED_TO_SELF
        assert peer.is_connected


@in_loop
async def test_broadcaster_that_restarts_is_told_which_transactions_peers_have():
    hashes = [keccak256(bytes([number])) for number in range(3)]
    wires = [b"\xc3\x01\x02" + bytes([number]) for number in range(3)]
    async with gateway_under_test() as gateway:
        alice, bob = await gateway.joined("alice"), await gateway.joined("bob")
        assert (await gateway.broadcaster.arrivals.next("known_transactions")).complete
        alice.send(Transactions(wires))
        await gateway.broadcaster.arrivals.next("transactions")
        gateway.broadcaster.send(
            send_transactions=broadcast_pb2.SendTransactions(
                node_ids=[bob.local.node_id], transactions_rlp=wires[:2], hashes=b"".join(hashes[:2])
            )
        )
        await bob.receive(Transactions)
        await gateway.broadcaster.stop()
        gateway.broadcaster = ScriptedBroadcaster()
        await gateway.broadcaster.start(gateway.broadcaster_address)
        assert (await gateway.broadcaster.arrivals.next("hello")).known_transactions_follow
        part = await gateway.broadcaster.arrivals.next("known_transactions")
        assert part.complete
        row, known = known_transactions_from_proto(part)
        knowers = {one: {peer for at, peer in enumerate(row) if bits >> at & 1} for one, bits in known}
        received = {keccak256(wire): {alice.local.node_id} for wire in wires}
        assert knowers == {**received, **{one: {bob.local.node_id} for one in hashes[:2]}}
        assert await gateway.metric("known_transaction_hashes") == 5


@in_loop
async def test_peer_that_joins_in_the_moment_of_the_snapshot_is_told_to_the_broadcaster():
    """Whatever happens after the snapshot follows it, also in the same turn of the event loop."""
    loop, metrics = asyncio.get_running_loop(), GatewayMetrics(CollectorRegistry())
    alice = broadcast_pb2.BroadcastPeer(node_id=local_node("alice").node_id)
    broadcaster = ScriptedBroadcaster()
    with tempfile.TemporaryDirectory() as run_dir:
        address = await broadcaster.start(f"unix:{run_dir}/broadcaster.sock")
        async with BroadcasterChannels([address]) as channels:
            keeper = LinkKeeper("broadcaster", Backoff(random.Random(1)), metrics)
            link = BroadcasterLink(channels, keeper, metrics)

            def hello() -> broadcast_pb2.BroadcastHello:
                loop.call_soon(link.peer_joined, alice)
                return broadcast_pb2.BroadcastHello(gateway_id="gateway-0")

            nothing_is_sent = cast("BroadcastCommands", None)
            running = asyncio.create_task(link.run(hello, lambda: iter(()), nothing_is_sent))
            assert (await broadcaster.arrivals.next("hello")).gateway_id == "gateway-0"
            assert (await broadcaster.arrivals.next("peer_joined")).peer == alice
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        await broadcaster.stop()


@in_loop
async def test_gateways_own_limit_spares_trusted_peers():
    trusted = f"enode://{local_node('carol').node_id.hex()}@127.0.0.1:30303"
    async with gateway_under_test(maxpeers=1, trusted_peer=(trusted,)) as gateway:
        await gateway.joined("alice")
        assert await (await gateway.dial("bob")).refusal() is DisconnectReason.TOO_MANY_PEERS
        carol = await gateway.joined("carol")
        assert carol.is_connected


@in_loop
async def test_nobody_is_admitted_while_the_coordinator_is_away():
    async with gateway_under_test(handshake_timeout=0.4) as gateway:
        await gateway.coordinator.stop()
        peer = await gateway.dial()
        assert await peer.refusal() is DisconnectReason.TOO_MANY_PEERS


@in_loop
async def test_admission_is_asked_again_when_the_coordinator_restarts():
    async with gateway_under_test() as gateway:
        gateway.coordinator.verdict = None
        peer = await gateway.dial()
        await gateway.coordinator.control.next("admit_peer")
        await gateway.restart_coordinator()
        await peer.join(gateway.status)
        await gateway.coordinator.control.next("peer_joined")
        assert gateway.coordinator.control.names == ["hello", "admit_peer", "peer_joined"]


@in_loop
async def test_coordinator_restart_keeps_the_peer_and_its_question():
    async with gateway_under_test() as gateway:
        peer = await gateway.joined()
        await gateway.coordinator.stop()
        peer.send(GetBlockHeaders(0, 3, 0, False))
        await gateway.restart_coordinator()
        hello = await gateway.coordinator.control.next("hello")
        assert [known.node_id for known in hello.peers] == [peer.local.node_id]
        assert hello.peers[0].head_hash == gateway.status.head_hash
        assert len((await peer.receive(BlockHeaders)).headers_rlp) == 3
        peer.answer = CHAIN.answer
        gateway.ask(peer, 1, headers=headers_query_to_proto(GetBlockHeaders(1, 2, 0, False)))
        assert (await gateway.coordinator.bulk.next("headers")).request_id == 1


QUESTIONS = (
    GetBlockHeaders(0, 1, 0, False),
    GetBlockBodies([CHAIN.headers[4].hash]),
    GetBlockHeaders(7, 3, 0, True),
    GetReceipts([CHAIN.headers[5].hash]),
    GetBlockBodies([CHAIN.headers[6].hash, CHAIN.headers[7].hash]),
    GetNodeData([bytes(32)]),
)


@in_loop
async def test_questions_of_the_coordinators_absence_are_answered_in_their_order_afterwards():
    async with gateway_under_test() as gateway:
        alice, bob = await gateway.joined("alice"), await gateway.joined("bob")
        await gateway.coordinator.stop()
        for peer in (alice, bob):
            for question in QUESTIONS:
                peer.send(question)
        await gateway.restart_coordinator()
        for peer in (alice, bob):
            assert [await peer.receive_any() for _ in QUESTIONS] == [CHAIN.answer(question) for question in QUESTIONS]
            assert peer.is_connected


@in_loop
async def test_questions_are_answered_empty_in_their_order_when_the_coordinator_stays_away():
    async with gateway_under_test(question_patience=0.5) as gateway:
        peer = await gateway.joined()
        await gateway.coordinator.stop()
        asked_at = asyncio.get_running_loop().time()
        for question in QUESTIONS:
            peer.send(question)
        empty = [BlockHeaders([]), BlockBodies([]), BlockHeaders([]), Receipts([]), BlockBodies([]), NodeData([])]
        assert [await peer.receive_any() for _ in QUESTIONS] == empty
        assert asyncio.get_running_loop().time() - asked_at >= 0.5
        await gateway.restart_coordinator()
        await gateway.coordinator.control.next("hello")
        peer.send(QUESTIONS[0])
        assert await peer.receive_any() == CHAIN.answer(QUESTIONS[0])


@in_loop
async def test_reply_to_a_coordinator_that_is_gone_does_not_reach_the_next():
    async with gateway_under_test() as gateway:
        peer = await gateway.joined()
        first, second = GetBlockHeaders(1, 2, 0, False), GetBlockHeaders(5, 2, 0, False)
        gateway.ask(peer, 1, headers=headers_query_to_proto(first))
        assert await peer.receive(GetBlockHeaders) == first
        await gateway.restart_coordinator()
        await gateway.coordinator.control.next("hello")
        gateway.ask(peer, 1, headers=headers_query_to_proto(second))
        assert await peer.receive(GetBlockHeaders) == second
        for question in (first, second):
            reply = CHAIN.answer(question)
            assert reply is not None
            peer.send(reply)
        headers = await gateway.coordinator.bulk.next("headers")
        assert list(headers.headers_rlp) == [header.header_rlp for header in CHAIN.headers[5:7]]
        assert await gateway.metric("dropped_total", kind="reply", cause="stale") == 1


@in_loop
async def test_reply_is_dropped_and_reported_lost_when_the_link_stays_full():
    async with gateway_under_test(bulk_queue_bytes=1024 * 1024, bulk_patience=0.2) as gateway:
        peer = await gateway.joined()
        values = [os.urandom(3_000_000) for _ in range(3)]
        hashes = b"".join(map(keccak256, values))
        peer.answer = lambda message: NodeData(values) if isinstance(message, GetNodeData) else None
        gateway.coordinator.may_read_bulk.clear()
        for request_id in range(1, 6):
            gateway.ask(peer, request_id, node_data=gateway_link_pb2.HashList(hashes=hashes))
        lost = await gateway.coordinator.control.next("request_lost")
        assert lost.explanation == "the link was full for too long"
        assert await gateway.metric("dropped_total", kind="reply", cause="bulk-full") >= 1
        gateway.coordinator.may_read_bulk.set()
        peer.send(GetBlockHeaders(0, 2, 0, False))
        assert len((await peer.receive(BlockHeaders)).headers_rlp) == 2


@in_loop
async def test_queue_that_may_lose_nothing_cuts_its_link_when_it_overflows():
    queue: CriticalOutbox[bytes] = CriticalOutbox(limit_bytes=100)
    for _ in range(4):
        queue.put(b"", 50)
    watch = asyncio.ensure_future(queue.fail_when_cut())
    await asyncio.sleep(0)
    assert not watch.done()
    queue.put(b"", 1)
    with pytest.raises(LinkLost, match="did not fit"):
        await watch
    queue.close()


@in_loop
async def test_heavier_block_raises_the_head_in_the_next_snapshot():
    async with gateway_under_test() as gateway:
        peer = await gateway.joined()
        header = CHAIN.headers[9]
        total_difficulty = gateway.status.total_difficulty + 10**6
        peer.send(NewBlock(header.header_rlp, CHAIN.bodies_rlp[9], total_difficulty))
        await gateway.coordinator.bulk.next("block")
        await gateway.restart_coordinator()
        hello = await gateway.coordinator.control.next("hello")
        assert hello.peers[0].head_hash == header.parent_hash
        assert hello.peers[0].total_difficulty == big_to_bytes(total_difficulty - header.difficulty)


def send_block(number: int, *peers: ScriptedPeer) -> broadcast_pb2.SendBlock:
    header = CHAIN.headers[number]
    return broadcast_pb2.SendBlock(
        node_ids=[peer.local.node_id for peer in peers],
        header_rlp=header.header_rlp,
        body_rlp=CHAIN.bodies_rlp[number],
        block_hash=header.hash,
        total_difficulty=big_to_bytes(CHAIN.total_difficulties[number]),
    )


@in_loop
async def test_block_is_sent_to_the_peers_that_lack_it():
    async with gateway_under_test() as gateway:
        alice, bob = await gateway.joined("alice"), await gateway.joined("bob", p2p_version=4)
        alice.send(NewBlockHashes([Announce(CHAIN.headers[8].hash, 8)]))
        await gateway.broadcaster.arrivals.next("known_blocks")
        for number in (8, 9):
            gateway.broadcaster.send(send_block=send_block(number, alice, bob))
        expected = [
            NewBlock(CHAIN.headers[number].header_rlp, CHAIN.bodies_rlp[number], CHAIN.total_difficulties[number])
            for number in (8, 9)
        ]
        assert await alice.receive(NewBlock) == expected[1]
        assert [await bob.receive(NewBlock) for _ in range(2)] == expected
        assert await gateway.metric("dropped_total", kind="block", cause="known-to-peer") == 1


@in_loop
async def test_announce_is_not_sent_to_a_peer_that_has_the_block():
    async with gateway_under_test() as gateway:
        alice = await gateway.joined()
        known, unknown = [common_pb2.Announce(block_hash=CHAIN.headers[at].hash, number=at) for at in (8, 9)]
        alice.send(NewBlockHashes([Announce(CHAIN.headers[8].hash, 8)]))
        await gateway.broadcaster.arrivals.next("known_blocks")
        for announce in (known, unknown, unknown):
            ids = [alice.local.node_id]
            gateway.broadcaster.send(send_announces=broadcast_pb2.SendAnnounces(node_ids=ids, announces=[announce]))
        assert (await alice.receive(NewBlockHashes)).announces == [Announce(CHAIN.headers[9].hash, 9)]
        await until(functools.partial(dropped, gateway, 2), "both others left out")
        assert alice.seen.count("NewBlockHashes") == 1


async def dropped(gateway: GatewayUnderTest, count: int) -> bool:
    return await gateway.metric("dropped_total", kind="announce", cause="known-to-peer") == count


@in_loop
async def test_broadcaster_is_told_when_a_peer_brought_a_block_and_whether_it_was_whole():
    async with gateway_under_test() as gateway:
        alice = await gateway.joined()
        before_us = time.time_ns() // 1000
        alice.send(NewBlockHashes([Announce(CHAIN.headers[8].hash, 8)]))
        alice.send(NewBlock(CHAIN.headers[9].header_rlp, CHAIN.bodies_rlp[9], 10**9))
        announced, pushed = [await gateway.broadcaster.arrivals.next("known_blocks") for _ in range(2)]
        assert [(one.hashes, one.whole) for one in (announced, pushed)] == [
            (CHAIN.headers[8].hash, False),
            (CHAIN.headers[9].hash, True),
        ]
        assert before_us <= announced.seen_us <= pushed.seen_us <= time.time_ns() // 1000


@pytest.mark.parametrize("order", [1, -1], ids=["dead-first", "dead-last"])
@in_loop
async def test_another_broadcaster_stands_in_when_the_gateways_own_is_away(order: int):
    spare = ScriptedBroadcaster()
    addresses = ("unix:/nowhere/broadcaster.sock", await spare.start("127.0.0.1:0"))[::order]
    async with gateway_under_test(broadcaster=addresses) as gateway:
        assert (await spare.arrivals.next("hello")).gateway_id == gateway.facts["gateway_id"]
        alice = await gateway.joined()
        assert (await spare.arrivals.next("peer_joined")).peer.node_id == alice.local.node_id
    await spare.stop()


@in_loop
async def test_announces_and_transactions_are_sent_to_the_peers_named():
    async with gateway_under_test() as gateway:
        alice, bob = await gateway.joined("alice"), await gateway.joined("bob")
        announce = common_pb2.Announce(block_hash=CHAIN.headers[3].hash, number=3)
        gateway.broadcaster.send(
            send_announces=broadcast_pb2.SendAnnounces(node_ids=[alice.local.node_id, bytes(64)], announces=[announce])
        )
        transactions = [b"\xc3\x01\x02\x03"]
        gateway.broadcaster.send(
            send_transactions=broadcast_pb2.SendTransactions(
                node_ids=[bob.local.node_id], transactions_rlp=transactions
            )
        )
        assert (await alice.receive(NewBlockHashes)).announces == [Announce(CHAIN.headers[3].hash, 3)]
        assert (await bob.receive(Transactions)).transactions_rlp == transactions
        assert "NewBlockHashes" not in bob.seen
        assert "Transactions" not in alice.seen


@in_loop
async def test_transactions_of_a_peer_reach_the_broadcaster():
    async with gateway_under_test() as gateway:
        peer = await gateway.joined()
        peer.send(Transactions([b"\xc3\x01\x02\x03", b"\x83\x01\x02\x03"]))
        told = await gateway.broadcaster.arrivals.next("transactions")
        assert told.node_id == peer.local.node_id
        assert list(told.transactions_rlp) == [b"\xc3\x01\x02\x03", b"\x83\x01\x02\x03"]


@in_loop
async def test_unasked_messages_over_four_megabytes_are_dropped_and_counted():
    async with gateway_under_test() as gateway:
        peer = await gateway.joined()
        large = b"\xb8" + b"\xff" + bytes(255)
        header = CHAIN.headers[9]
        body_rlp = join_list([join_list([large] * 16_500), b"\xc0"])
        peer.send(NewBlock(header.header_rlp, body_rlp, 10**9))
        peer.send(Transactions([b"\xb9\x04\x4c" + bytes(1100)] * 4_000))
        peer.send(Transactions([b"\xc3\x01\x02\x03"]))
        assert len((await gateway.broadcaster.arrivals.next("transactions")).transactions_rlp) == 1
        assert await gateway.metric("dropped_total", kind="block", cause="oversized") == 1
        assert await gateway.metric("dropped_total", kind="transactions", cause="oversized") == 4_000
        assert peer.is_connected


@in_loop
async def test_broadcaster_that_restarts_hears_of_peers_and_what_they_have():
    async with gateway_under_test() as gateway:
        peer = await gateway.joined()
        peer.send(NewBlockHashes([Announce(CHAIN.headers[8].hash, 8)]))
        await gateway.broadcaster.arrivals.next("known_blocks")
        await gateway.broadcaster.stop()
        gateway.broadcaster = ScriptedBroadcaster()
        await gateway.broadcaster.start(gateway.broadcaster_address)
        hello = (await gateway.broadcaster.arrivals.next("hello")).peers
        assert [(known.node_id, known.known_blocks) for known in hello] == [(peer.local.node_id, CHAIN.headers[8].hash)]
        assert peer.is_connected


@in_loop
async def test_gateways_own_limit_spares_whom_the_plan_trusts_as_long_as_it_does():
    async with gateway_under_test(maxpeers=1) as gateway:
        await gateway.joined("alice")

        async def carol_gets_in() -> bool:
            carol = await gateway.dial("carol")
            try:
                await carol.join(gateway.status)
            except AssertionError:
                return False
            carol.hang_up()
            return True

        async def carol_is_refused() -> bool:
            return not await carol_gets_in()

        assert await carol_is_refused()
        trusted = gateway_link_pb2.DialPlan(trusted_node_ids=[local_node("carol").node_id])
        gateway.coordinator.send(dial_plan=trusted)
        await until(carol_gets_in, "a place for carol")
        gateway.coordinator.send(dial_plan=gateway_link_pb2.DialPlan())
        await until(carol_is_refused, "carol being refused")


@in_loop
async def test_peer_whose_place_went_with_the_link_asks_for_one_again_before_it_joins():
    async with gateway_under_test() as gateway:
        alice = await gateway.dial("alice")
        await alice.ready()
        await gateway.coordinator.control.next("admit_peer")
        await alice.receive(Status)
        await gateway.restart_coordinator()
        await gateway.coordinator.control.next("hello")
        gateway.coordinator.verdict = gateway_link_pb2.ADMISSION_TOO_MANY_PEERS
        alice.send(gateway.status._replace(protocol_version=63))
        assert await alice.refusal() is DisconnectReason.TOO_MANY_PEERS
        assert "peer_joined" not in gateway.coordinator.control.names


@in_loop
async def test_broadcasters_are_tried_in_their_order_and_from_the_first_again_after_a_success():
    async with BroadcasterChannels(["unix:/own", "unix:/second"]) as channels:
        assert [channels.next()[0] for _ in range(3)] == ["unix:/own", "unix:/second", "unix:/own"]
        channels.came_up()
        assert channels.next()[0] == "unix:/own"
