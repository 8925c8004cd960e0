"""Decoders of what operators and other services give us: enode URLs, genesis files, node keys, contract messages."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from blocksync.v1 import broadcast_pb2, common_pb2, gateway_link_pb2
from google.protobuf.message import DecodeError, Message

from services.broadcaster.core.fan_out import FanOut, share_of
from services.broadcaster.edges.contract import (
    joined_peer_from_proto,
    peer_ids_from_proto,
    place_from_proto,
    relay_block_from_proto,
    source_from_proto,
)
from services.peer_gateway.edges.commands import _request_from_proto
from services.peer_gateway.edges.node_key import load_node_key
from services.shared.chainspec.enode import EnodeInvalid, parse_enode
from services.shared.chainspec.genesis import parse_genesis
from services.shared.chainspec.json_fields import GenesisInvalid
from services.shared.chainspec.net_restrict import NetRestrict
from services.shared.ethwire.bodies import body_roots, join_block
from services.shared.ethwire.faults import PeerFault
from services.shared.ethwire.types import PeerId
from services.shared.rpc.convert import (
    announces_from_proto,
    big_from_bytes,
    block_hash_from_proto,
    headers_query_from_proto,
    offence_from_proto,
    peer_id_from_proto,
    split_hashes,
)
from services.shared.rpc.errors import InvalidRequest
from services.shared.rpc.known_transactions import (
    known_transactions_from_proto,
    known_transactions_to_proto,
    transaction_hashes_from_proto,
)
from services.shared.runtime.faults import ConfigInvalid, StartRefused
from services.sync_coordinator.core.block_submission import BlockRefused, check_body, read_submitted
from services.sync_coordinator.core.feed_cursor import (
    Cursor,
    CursorInvalid,
    Direction,
    Place,
    decode_cursor,
    encode_cursor,
)
from services.sync_coordinator.core.node_file import NodeFileBroken, parse_node_file
from services.sync_coordinator.core.refusing_http2 import (
    DATA,
    HEADERS,
    PREFACE,
    SETTINGS,
    NotHttp2,
    RefusingConnection,
    frame,
    refusal_headers,
)
from tests.fuzz.target import Target
from tests.support.chain_vectors import load_gz
from tests.support.ruled_chain import GENESIS, ruled_block
from tests.support.vectors import load_vectors


def _refused_http2(received: bytes) -> None:
    """In two pieces what it is in one, and an answer no longer than the calls explain."""
    whole = RefusingConnection(refusal_headers(8, "no", b"")).receive(received)
    http2 = RefusingConnection(refusal_headers(8, "no", b""))
    half = len(received) // 2
    (first, some), (second, more) = http2.receive(received[:half]), http2.receive(received[half:])
    assert some + more == whole[1]
    assert len(whole[0]) <= len(first + second) + 13 <= 4 * len(received) + 200 * (whole[1] + 1)


def contract_targets() -> Iterator[Target]:
    urls = [row["url"].encode() for row in load_vectors("chainspec/enode_urls.json")["valid"]]
    yield Target("enode", _enode, (EnodeInvalid,), urls)
    genesis = [json.dumps(row["genesis"]).encode() for row in load_gz("chainspec/genesis_files.json.gz")]
    yield Target("genesis", _genesis, (GenesisInvalid,), genesis)
    lists = [json.dumps([url.decode() for url in urls[:3]]).encode(), b'["", 7, {"a": [1e5]}, "enode://"]']
    yield Target("node-file", parse_node_file, (NodeFileBroken,), lists)
    yield Target("netrestrict", _netrestrict, (ValueError,), [b"10.0.0.0/8,fd00::/8", b"127.0.0.1"])
    cursors = [
        encode_cursor(Cursor(direction, Place(600, GENESIS.hash), 5), GENESIS.hash).encode() for direction in Direction
    ]
    yield Target("feed-cursor", _feed_cursor, (CursorInvalid,), cursors)
    directory = tempfile.TemporaryDirectory()
    node_key = partial(_node_key, directory)
    yield Target("node-key", node_key, (StartRefused, ConfigInvalid), [b"11" * 32, b"0a" * 32 + b"\n"])
    made = ruled_block(GENESIS)
    submitted = [join_block(made.header.header_rlp, made.body_rlp)]
    calls = (
        PREFACE + frame(SETTINGS, 0, 0, bytes(6)) + frame(HEADERS, 0x4, 1, bytes(20)) + frame(DATA, 0x1, 1, bytes(5))
    )
    yield Target("refused-http2", _refused_http2, (NotHttp2,), [calls])
    yield Target("submitted-block", _submitted_block, (BlockRefused, PeerFault), submitted)
    for kind, read, sample in _CONTRACTS:
        yield Target(
            f"proto-{kind.__name__}",
            partial(_contract, kind, read),
            (InvalidRequest, DecodeError),
            [sample.SerializeToString()],
        )


def _submitted_block(block_rlp: bytes) -> None:
    block = read_submitted(block_rlp)
    assert join_block(block.header.header_rlp, block.body_rlp) == block_rlp
    check_body(block.header, body_roots(block.body_rlp))


def _feed_cursor(text: bytes) -> None:
    cursor = decode_cursor(text.decode(errors="replace"), GENESIS.hash)
    assert encode_cursor(cursor, GENESIS.hash).encode() == text


def _enode(url: bytes) -> None:
    node = parse_enode(url.decode(errors="replace"))
    assert parse_enode(str(node)) == node


def _netrestrict(text: bytes) -> None:
    NetRestrict.parse(text.decode(errors="replace")).allows("10.1.2.3")


def _genesis(content: bytes) -> None:
    parse_genesis("genesis.json", content)


def _node_key(directory: tempfile.TemporaryDirectory[str], content: bytes) -> None:
    path = Path(directory.name) / "nodekey"
    path.write_bytes(content)
    load_node_key(None, Path(directory.name))


def _contract(kind: type[Message], read: Callable[[Any], object], encoded: bytes) -> None:
    read(kind.FromString(encoded))


def _read_control(message: gateway_link_pb2.ControlResponse) -> None:
    """What `CoordinatorOrders` does with it, short of doing it."""
    match message.WhichOneof("content"):
        case "local_status":
            big_from_bytes(message.local_status.total_difficulty)
            block_hash_from_proto(message.local_status.genesis_hash)
        case "peer_request":
            peer_id_from_proto(message.peer_request.node_id)
            _request_from_proto(message.peer_request)
        case "drop_peer":
            peer_id_from_proto(message.drop_peer.node_id)
            offence_from_proto(message.drop_peer.offence)
        case "dial_plan":
            [peer_id_from_proto(node_id) for node_id in message.dial_plan.gateway_node_ids]
        case _:
            pass


def _read_send(message: broadcast_pb2.AttachResponse) -> None:
    match message.WhichOneof("content"):
        case "send_block":
            block_hash_from_proto(message.send_block.block_hash)
        case "send_announces":
            announces_from_proto(message.send_announces.announces)
        case "send_transactions":
            transaction_hashes_from_proto(message.send_transactions)
        case _:
            pass


def _read_attach(message: broadcast_pb2.AttachRequest) -> None:
    """What `GatewayServicer` does with it, short of doing it."""
    match message.WhichOneof("content"):
        case "hello":
            [joined_peer_from_proto(peer) for peer in message.hello.peers]
        case "known_blocks":
            peer_id_from_proto(message.known_blocks.node_id)
            split_hashes(message.known_blocks.hashes)
        case "send_refused":
            block_hash_from_proto(message.send_refused.block_hash)
            peer_ids_from_proto(message.send_refused.node_ids)
        case _:
            pass


def _read_known(message: broadcast_pb2.KnownTransactions) -> None:
    row, known = known_transactions_from_proto(message)
    again = known_transactions_to_proto(row, known)
    assert known_transactions_from_proto(again)[0] == row


def _read_propagate(message: broadcast_pb2.PropagateRequest) -> None:
    relay_block_from_proto(message)
    source_from_proto(message.source)
    place = place_from_proto(message)
    assert place is None or 0 <= share_of(FanOut.SEED, 25, place) <= 25


def _read_hashes(message: gateway_link_pb2.HashList) -> None:
    hashes = split_hashes(message.hashes)
    assert b"".join(hashes) == message.hashes


_NODE_ID, _HASH = bytes(64), bytes(32)
_QUERY = common_pb2.HeadersQuery(block_hash=_HASH, amount=3, skip=1, reverse=True)
_REQUEST = gateway_link_pb2.PeerRequest(request_id=7, node_id=_NODE_ID, headers=_QUERY)
_ANNOUNCE = common_pb2.Announce(block_hash=_HASH, number=5)
_SEND = broadcast_pb2.SendAnnounces(node_ids=[_NODE_ID], announces=[_ANNOUNCE])
_REFUSED = broadcast_pb2.SendRefused(block_hash=_HASH, node_ids=[_NODE_ID])
_PROPAGATE = broadcast_pb2.PropagateRequest(
    header_rlp=b"header",
    body_rlp=b"body",
    block_hash=_HASH,
    number=5,
    total_difficulty=b"\x01",
    lacking_before=3,
    lacking_everywhere=40,
)
_CONTRACTS: list[tuple[type[Message], Callable[[Any], object], Message]] = [
    (gateway_link_pb2.ControlResponse, _read_control, gateway_link_pb2.ControlResponse(peer_request=_REQUEST)),
    (broadcast_pb2.AttachResponse, _read_send, broadcast_pb2.AttachResponse(send_announces=_SEND)),
    (broadcast_pb2.AttachRequest, _read_attach, broadcast_pb2.AttachRequest(send_refused=_REFUSED)),
    (broadcast_pb2.KnownTransactions, _read_known, known_transactions_to_proto([PeerId(_NODE_ID), None], [(_HASH, 1)])),
    (broadcast_pb2.PropagateRequest, _read_propagate, _PROPAGATE),
    (common_pb2.HeadersQuery, headers_query_from_proto, _QUERY),
    (gateway_link_pb2.HashList, _read_hashes, gateway_link_pb2.HashList(hashes=bytes(96))),
]
