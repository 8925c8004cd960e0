"""A real gateway between a scripted coordinator, broadcaster and peers: joining, asking, answering, leaving."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from blocksync.v1 import common_pb2, gateway_link_pb2

from services.peer_gateway.core.request_book import MAX_OUTSTANDING
from services.peer_gateway.edges.dialler import Dialler
from services.shared.chainspec.enode import Enode, parse_enode
from services.shared.ethwire.disconnect_reason import DisconnectReason
from services.shared.ethwire.hashing import EMPTY_TRIE_ROOT, keccak256
from services.shared.ethwire.messages import (
    BlockBodies,
    BlockHeaders,
    EthMessage,
    GetBlockBodies,
    GetBlockHeaders,
    GetNodeData,
    GetReceipts,
    NewBlock,
    NewBlockHashes,
    NodeData,
    Receipts,
)
from services.shared.ethwire.rlp_slices import encode_string, encode_uint, join_list
from services.shared.ethwire.roots import ordered_trie_root
from services.shared.ethwire.types import Announce, BlockHash
from services.shared.rpc.convert import big_from_bytes, headers_query_to_proto
from tests.support.deadlines import until
from tests.support.gateway_under_test import CHAIN, NETWORK_ID, gateway_under_test, in_loop
from tests.support.scripted_chain import ScriptedChain
from tests.support.scripted_peer import ScriptedListener, ScriptedPeer
from tests.support.wire import local_node

pytestmark = pytest.mark.integration


class HoldsState(ScriptedChain):
    """A chain with two state entries."""

    held = {keccak256(value): value for value in (b"account", b"storage")}

    def answer(self, message: EthMessage) -> EthMessage | None:
        if isinstance(message, GetNodeData):
            return NodeData([self.held[wanted] for wanted in message.hashes if wanted in self.held])
        return super().answer(message)


@in_loop
async def test_peer_that_shakes_hands_joins_with_what_it_said():
    async with gateway_under_test() as gateway:
        peer = await gateway.dial("alice")
        ours = await peer.join(gateway.status)
        assert ours == gateway.status._replace(protocol_version=63)
        asked = await gateway.coordinator.control.next("admit_peer")
        assert (asked.node_id, asked.inbound, asked.static) == (peer.local.node_id, True, False)
        joined = (await gateway.coordinator.control.next("peer_joined")).peer
        assert joined.node_id == peer.local.node_id
        assert (joined.client_name, joined.eth_version, joined.p2p_version) == ("alice", 63, 5)
        assert joined.head_hash == gateway.status.head_hash
        assert big_from_bytes(joined.total_difficulty) == gateway.status.total_difficulty
        told = await gateway.broadcaster.arrivals.next("peer_joined")
        assert told.peer.node_id == peer.local.node_id


@pytest.mark.parametrize("settings", [{"eth_versions": (62,)}, {"p2p_version": 4}], ids=["eth-62", "p2p-4"])
@in_loop
async def test_old_peer_joins_and_is_answered(settings):
    async with gateway_under_test() as gateway:
        peer = await gateway.joined("alice", **settings)
        assert peer.eth_version == settings.get("eth_versions", (63,))[0]
        assert peer.connection.is_compressed is ("p2p_version" not in settings)
        peer.send(GetBlockHeaders(0, 3, 0, False))
        reply = await peer.receive(BlockHeaders)
        assert reply.headers_rlp == [header.header_rlp for header in CHAIN.headers[:3]]


@in_loop
async def test_questions_are_answered_in_order_from_the_coordinators_chain():
    async with gateway_under_test() as gateway:
        peer = await gateway.joined()
        hashes = [header.hash for header in CHAIN.headers]
        gateway.coordinator.may_read.clear()
        peer.send(GetBlockHeaders(5, 4, 1, False))
        peer.send(GetBlockBodies(hashes[3:6]))
        peer.send(GetReceipts(hashes[:1]))
        peer.send(GetNodeData([bytes(32)]))
        peer.send(GetBlockHeaders(hashes[9], 2, 0, True))
        gateway.coordinator.may_read.set()
        assert (await peer.receive(BlockHeaders)).headers_rlp == [CHAIN.headers[n].header_rlp for n in (5, 7, 9, 11)]
        assert (await peer.receive(BlockBodies)).bodies_rlp == CHAIN.bodies_rlp[3:6]
        assert (await peer.receive(Receipts)).receipts_rlp == []
        assert (await peer.receive(NodeData)).values == []
        assert (await peer.receive(BlockHeaders)).headers_rlp == [CHAIN.headers[n].header_rlp for n in (9, 8)]


@in_loop
async def test_question_is_answered_empty_when_the_coordinator_takes_too_long():
    async with gateway_under_test(question_patience=0.2) as gateway:
        peer = await gateway.joined()
        gateway.coordinator.may_read.clear()
        peer.send(GetBlockHeaders(0, 3, 0, False))
        assert await peer.receive(BlockHeaders) == BlockHeaders([])
        assert await gateway.metric("questions_total", kind="GetBlockHeaders", outcome="late") == 1


@in_loop
async def test_replies_reach_the_coordinator_with_request_id_bytes_and_digests():
    async with gateway_under_test() as gateway:
        peer = await gateway.joined()
        peer.answer = CHAIN.answer
        query = headers_query_to_proto(GetBlockHeaders(3, 10, 0, False))
        gateway.ask(peer, 77, headers=query)
        hashes = b"".join(header.hash for header in CHAIN.headers[3:13])
        gateway.ask(peer, 78, bodies=gateway_link_pb2.HashList(hashes=hashes))
        headers = await gateway.coordinator.bulk.next("headers")
        assert (headers.request_id, headers.node_id, headers.last_part) == (77, peer.local.node_id, True)
        assert list(headers.headers_rlp) == [header.header_rlp for header in CHAIN.headers[3:13]]
        assert headers.hashes == hashes
        bodies = await gateway.coordinator.bulk.next("bodies")
        assert (bodies.request_id, bodies.part, bodies.last_part) == (78, 0, True)
        assert list(bodies.bodies_rlp) == CHAIN.bodies_rlp[3:13]
        expected = b"".join(header.transactions_root + header.uncles_hash for header in CHAIN.headers[3:13])
        assert bodies.roots == expected


@in_loop
async def test_receipts_and_state_entries_reach_the_coordinator_with_what_was_computed_of_them():
    bloom = bytes(range(256))
    receipt = join_list([b"\x01", encode_uint(21_000), encode_string(bloom), b"\xc0"])
    lists, values = [join_list([receipt]), b"\xc0"], [b"code", b"node"]
    async with gateway_under_test() as gateway:
        peer = await gateway.joined()
        gateway.ask(peer, 7, receipts=gateway_link_pb2.HashList(hashes=bytes(96)))
        gateway.ask(peer, 8, node_data=gateway_link_pb2.HashList(hashes=b"".join(map(keccak256, values))))
        assert await peer.receive(GetReceipts) == GetReceipts([BlockHash(bytes(32))] * 3)
        assert await peer.receive(GetNodeData) == GetNodeData([keccak256(value) for value in values])
        peer.send(NodeData(values[1:]))
        peer.send(Receipts(lists))
        entries = await gateway.coordinator.bulk.next("node_data")
        assert (entries.request_id, list(entries.values), entries.hashes) == (8, values[1:], keccak256(values[1]))
        receipts = await gateway.coordinator.bulk.next("receipts")
        assert (receipts.request_id, list(receipts.receipts_rlp)) == (7, lists)
        assert receipts.roots == ordered_trie_root([receipt]) + EMPTY_TRIE_ROOT
        assert (receipts.blooms, list(receipts.gas_used)) == (bloom + bytes(256), [21_000, 0])


@pytest.mark.parametrize(
    ("query", "reply", "reason"),
    [
        ("node_data", NodeData([b"not what was asked for"]), DisconnectReason.USELESS_PEER),
        ("receipts", Receipts([b"\xc0", b"\xc0"]), DisconnectReason.USELESS_PEER),
        ("receipts", Receipts([b"\xc1\xc0"]), DisconnectReason.SUBPROTOCOL_ERROR),
    ],
    ids=["foreign-entry", "too-many-lists", "no-receipt"],
)
@in_loop
async def test_peer_is_dropped_when_its_receipts_or_state_entries_are_not_what_was_asked_for(query, reply, reason):
    async with gateway_under_test() as gateway:
        peer = await gateway.joined()
        gateway.ask(peer, 7, **{query: gateway_link_pb2.HashList(hashes=keccak256(b"asked for"))})
        await peer.receive(GetNodeData if query == "node_data" else GetReceipts)
        peer.send(reply)
        assert await peer.refusal() is reason


@in_loop
async def test_late_and_empty_replies_keep_the_ids_of_what_was_asked_in_that_order():
    async with gateway_under_test() as gateway:
        peer = await gateway.joined()
        for request_id, number in ((1, 3), (2, 10_000), (3, 5)):
            gateway.ask(peer, request_id, headers=headers_query_to_proto(GetBlockHeaders(number, 2, 0, False)))
        gateway.ask(peer, 4, bodies=gateway_link_pb2.HashList(hashes=CHAIN.headers[3].hash))
        asked = [await peer.receive(GetBlockHeaders) for _ in range(3)]
        await peer.receive(GetBlockBodies)
        # Another kind does not wait for them, however late they are.
        peer.send(BlockBodies(CHAIN.bodies_rlp[3:4]))
        assert (await gateway.coordinator.bulk.next("bodies")).request_id == 4
        for question in asked:
            answer = CHAIN.answer(question)
            assert answer is not None
            peer.send(answer)
        replies = [await gateway.coordinator.bulk.next("headers") for _ in range(3)]
        assert [(reply.request_id, len(reply.headers_rlp)) for reply in replies] == [(1, 2), (2, 0), (3, 2)]


@in_loop
async def test_peer_that_answers_nothing_any_more_is_useless_in_the_end(monkeypatch):
    monkeypatch.setattr("services.peer_gateway.core.request_book.ANSWER_PATIENCE_S", 0.3)
    async with gateway_under_test() as gateway:
        peer = await gateway.joined()
        query = headers_query_to_proto(GetBlockHeaders(1, 1, 0, False))
        for request_id in range(MAX_OUTSTANDING + 1):
            gateway.ask(peer, request_id, headers=query)
        lost = await gateway.coordinator.control.next("request_lost")
        assert (lost.request_id, peer.is_connected) == (MAX_OUTSTANDING, True), "a burst is no offence"
        over = asyncio.get_running_loop().time() + 0.4
        await until(lambda: asyncio.get_running_loop().time() > over, "the first question has waited too long")
        gateway.ask(peer, 1000, headers=query)
        assert await peer.refusal() is DisconnectReason.USELESS_PEER
        assert "64 BlockHeaders are owed" in (await gateway.coordinator.control.next("peer_left")).explanation


@in_loop
async def test_state_entries_that_the_coordinator_holds_reach_the_peer_that_asks():
    async with gateway_under_test() as gateway:
        peer = await gateway.joined()
        gateway.coordinator.chain = HoldsState((header.header_rlp, b"\xc2\xc0\xc0") for header in CHAIN.headers[:1])
        peer.send(GetNodeData([keccak256(b"unknown"), *HoldsState.held]))
        assert (await peer.receive(NodeData)).values == [b"account", b"storage"]


@in_loop
async def test_reply_over_four_megabytes_crosses_in_numbered_parts():
    async with gateway_under_test() as gateway:
        peer = await gateway.joined()
        values = [bytes([index]) * 1_000_000 for index in range(9)]
        peer.answer = lambda message: NodeData(values) if isinstance(message, GetNodeData) else None
        hashes = b"".join(map(keccak256, values))
        gateway.ask(peer, 5, node_data=gateway_link_pb2.HashList(hashes=hashes))
        parts = [await gateway.coordinator.bulk.next("node_data") for _ in range(3)]
        assert [(part.request_id, part.part, part.last_part) for part in parts] == [
            (5, 0, False),
            (5, 1, False),
            (5, 2, True),
        ]
        assert [value for part in parts for value in part.values] == values
        assert b"".join(part.hashes for part in parts) == hashes


@in_loop
async def test_request_for_an_unknown_peer_is_reported_lost():
    async with gateway_under_test() as gateway:
        request = gateway_link_pb2.PeerRequest(
            request_id=9, node_id=bytes(64), headers=headers_query_to_proto(GetBlockHeaders(0, 1, 0, False))
        )
        gateway.coordinator.send(peer_request=request)
        lost = await gateway.coordinator.control.next("request_lost")
        assert (lost.request_id, lost.explanation) == (9, "the peer is gone")


@in_loop
async def test_request_that_the_peers_version_does_not_have_is_reported_lost():
    async with gateway_under_test() as gateway:
        peer = await gateway.joined("alice", eth_versions=(62,))
        gateway.ask(peer, 9, receipts=gateway_link_pb2.HashList(hashes=bytes(32)))
        lost = await gateway.coordinator.control.next("request_lost")
        assert lost.explanation == "eth/62 has no GetReceipts message"


@in_loop
async def test_announced_and_propagated_blocks_reach_coordinator_and_broadcaster():
    async with gateway_under_test() as gateway:
        peer = await gateway.joined()
        header, body_rlp = CHAIN.headers[7], CHAIN.bodies_rlp[7]
        total_difficulty = gateway.status.total_difficulty + 10**6
        peer.send(NewBlockHashes([Announce(header.hash, 7)]))
        peer.send(NewBlock(header.header_rlp, body_rlp, total_difficulty))
        announces = await gateway.coordinator.bulk.next("announces")
        assert [(entry.block_hash, entry.number) for entry in announces.announces] == [(header.hash, 7)]
        block = await gateway.coordinator.bulk.next("block")
        assert (block.node_id, block.block_hash) == (peer.local.node_id, header.hash)
        assert (block.header_rlp, block.body_rlp) == (header.header_rlp, body_rlp)
        assert block.roots == header.transactions_root + header.uncles_hash
        assert big_from_bytes(block.total_difficulty) == total_difficulty
        for _ in range(2):
            known = await gateway.broadcaster.arrivals.next("known_blocks")
            assert (known.node_id, known.hashes) == (peer.local.node_id, header.hash)


@in_loop
async def test_peer_is_dropped_with_the_coordinators_reason():
    async with gateway_under_test() as gateway:
        peer = await gateway.joined()
        gateway.coordinator.send(
            drop_peer=gateway_link_pb2.DropPeer(
                node_id=peer.local.node_id,
                offence=common_pb2.OFFENCE_INVALID_CHAIN,
                explanation="headers that do not link",
            )
        )
        assert await peer.refusal() is DisconnectReason.USELESS_PEER
        left = await gateway.coordinator.control.next("peer_left")
        assert left.reason == common_pb2.DISCONNECT_REASON_USELESS_PEER
        assert (left.by_us, left.explanation) == (True, "headers that do not link")
        assert (await gateway.broadcaster.arrivals.next("peer_left")).node_id == peer.local.node_id


@in_loop
async def test_peer_that_leaves_is_reported_with_its_reason():
    async with gateway_under_test() as gateway:
        peer = await gateway.joined()
        peer.disconnect(DisconnectReason.TOO_MANY_PEERS)
        left = await gateway.coordinator.control.next("peer_left")
        assert (left.by_us, left.reason) == (False, common_pb2.DISCONNECT_REASON_TOO_MANY_PEERS)


@in_loop
async def test_stop_tells_every_peer_that_we_quit():
    async with gateway_under_test() as gateway:
        alice, bob = await gateway.joined("alice"), await gateway.joined("bob")
        gateway.stop.set()
        assert await alice.refusal() is DisconnectReason.CLIENT_QUITTING
        assert await bob.refusal() is DisconnectReason.CLIENT_QUITTING


@in_loop
async def test_nobody_can_connect_before_the_first_status():
    async with gateway_under_test(starts=False) as gateway, ScriptedListener(local_node("alice")) as listener:
        gateway.coordinator.status = None
        gateway.coordinator.static_enodes = [str(listener.enode)]
        await gateway.start_coordinator()
        hello = await gateway.coordinator.control.next("hello")
        port = parse_enode(hello.enode).tcp_port
        with pytest.raises(ConnectionRefusedError):
            await ScriptedPeer.dial(Enode(hello.node_id, "127.0.0.1", port, port), local_node("bob"))
        assert listener.peers == []
        gateway.coordinator.send_status(CHAIN.status(NETWORK_ID))
        dialled = await listener.next_peer()
        await dialled.join(gateway.status)
        assert (await gateway.dial("bob")).is_connected


@in_loop
async def test_static_node_is_dialled_and_redialled():
    async with gateway_under_test(starts=False, redial_after=0.05) as gateway:
        async with ScriptedListener(local_node("alice")) as listener:
            gateway.coordinator.static_enodes = [str(listener.enode)]
            await gateway.start_coordinator()
            for _ in range(3):
                peer = await listener.next_peer()
                await peer.join(gateway.status)
                asked = await gateway.coordinator.control.next("admit_peer")
                assert (asked.static, asked.inbound) == (True, False)
                await gateway.coordinator.control.next("peer_joined")
                peer.hang_up()
                await gateway.coordinator.control.next("peer_left")
        failed = await gateway.coordinator.control.next("dial_failed")
        assert failed.enode == gateway.coordinator.static_enodes[0]
        assert "refused" in failed.explanation


@in_loop
async def test_node_with_another_key_than_its_enode_is_not_taken():
    async with gateway_under_test(starts=False) as gateway, ScriptedListener(local_node("mallory")) as listener:
        address = listener.enode
        claimed = Enode(local_node("alice").node_id, address.host, address.tcp_port, address.udp_port)
        gateway.coordinator.static_enodes = [str(claimed)]
        await gateway.start_coordinator()
        peer = await listener.next_peer()
        await peer.disconnected()
        assert "admit_peer" not in gateway.coordinator.control.names


@in_loop
async def test_peer_that_had_connected_takes_an_inbound_place_again_when_it_is_dialled_after_restarts(tmp_path: Path):
    async with ScriptedListener(local_node("alice")) as listener:
        async with gateway_under_test(datadir=tmp_path) as gateway:
            await gateway.joined("alice", listen_port=listener.enode.tcp_port)
        for _ in range(2):
            async with gateway_under_test(datadir=tmp_path) as gateway:
                asked = await gateway.coordinator.control.next("admit_peer")
                assert (asked.inbound, asked.former, asked.was_inbound) == (False, True, True)
                peer = await listener.next_peer()
                await peer.join(gateway.status)
                joined = (await gateway.coordinator.control.next("peer_joined")).peer
                assert (joined.inbound, joined.was_inbound) == (False, True)


@in_loop
async def test_many_peers_join_at_once():
    async with gateway_under_test() as gateway:
        peers = await asyncio.gather(*(gateway.dial(f"peer-{index}") for index in range(40)))
        await asyncio.gather(*(peer.join(gateway.status) for peer in peers))
        joined = {(await gateway.coordinator.control.next("peer_joined")).peer.node_id for _ in peers}
        assert joined == {peer.local.node_id for peer in peers}


@in_loop
async def test_nodes_that_discovery_finds_are_dialled_up_to_the_places_of_the_plan(monkeypatch):
    diallers: list[Dialler] = []
    monkeypatch.setattr(Dialler, "run", noting(Dialler.run, diallers))
    async with contextlib.AsyncExitStack() as stack, gateway_under_test() as gateway:
        found = [await stack.enter_async_context(ScriptedListener(local_node(f"node-{at}"))) for at in range(6)]
        dialler = diallers[0]
        dialler.offer(listener.enode for listener in found)
        gateway.coordinator.send(dial_plan=gateway_link_pb2.DialPlan(dynamic_places=2))
        admitted = [await gateway.coordinator.control.next("admit_peer") for _ in range(2)]
        assert [(asked.static, asked.former, asked.inbound) for asked in admitted] == [(False, False, False)] * 2
        assert dialler.wanted(asyncio.get_running_loop().time()) == 0
        peers = [peer for listener in found for peer in listener.peers]
        assert len(peers) == 2
        peers[0].hang_up()
        # Its place goes to another one.
        await gateway.coordinator.control.next("admit_peer")
        assert sum(len(listener.peers) for listener in found) == 3


def noting(run, diallers):
    """`Dialler.run` that tells which dialler runs: nothing offers it nodes while discovery is not there."""

    async def run_noted(self, former, **settings):
        diallers.append(self)
        await run(self, former, **settings)

    return run_noted


@in_loop
async def test_no_more_dials_are_under_way_than_handshakes_may_be_pending():
    silent: list[asyncio.StreamWriter] = []
    most = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most
        silent.append(writer)
        most = max(most, sum(not each.is_closing() for each in silent))
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, gateway_under_test(starts=False, pending_peers=2, handshake_timeout=0.2) as gateway:
        static = [Enode(local_node(f"silent-{at}").node_id, "127.0.0.1", port, port) for at in range(6)]
        gateway.coordinator.static_enodes = [str(node) for node in static]
        await gateway.start_coordinator()
        await until(lambda: len(silent) == 6, "a dial to each node")
        assert most == 2
