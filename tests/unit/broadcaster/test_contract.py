import pytest
from blocksync.v1 import broadcast_pb2, common_pb2, coordinator_pb2

from services.broadcaster.core.attached_peers import GatewayId
from services.broadcaster.core.block_relay import JoinedPeer, RelayBlock, SendAnnounce, SendBlock
from services.broadcaster.core.followed_chain import ChainSnapshot, Head
from services.broadcaster.edges.contract import (
    joined_peer_from_proto,
    peer_ids_from_proto,
    relay_block_from_proto,
    send_announce_to_proto,
    send_block_to_proto,
    snapshot_from_proto,
)
from services.shared.ethwire.types import Announce, BlockHash, PeerId
from services.shared.rpc.errors import InvalidRequest

ALICE, BOB = PeerId(b"A" * 64), PeerId(b"B" * 64)
HASH = BlockHash(b"\x01" * 32)
BLOCK = RelayBlock(HASH, 9, b"header", b"body", 2**70)


def propagate_request(**changes: object) -> broadcast_pb2.PropagateRequest:
    request = broadcast_pb2.PropagateRequest(
        header_rlp=b"header",
        body_rlp=b"body",
        block_hash=HASH,
        number=9,
        total_difficulty=(2**70).to_bytes(9, "big"),
    )
    for name, value in changes.items():
        setattr(request, name, value)
    return request


def test_a_block_is_read_when_its_request_is_complete():
    assert relay_block_from_proto(propagate_request()) == BLOCK


@pytest.mark.parametrize(
    "changes",
    [{"header_rlp": b""}, {"body_rlp": b""}, {"block_hash": b"\x01" * 31}, {"total_difficulty": b""}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_block_is_refused_when_something_is_missing(changes):
    with pytest.raises(InvalidRequest):
        relay_block_from_proto(propagate_request(**changes))


def test_a_send_of_a_block_keeps_its_bytes_and_names_its_peers():
    message = send_block_to_proto(SendBlock(GatewayId("east"), [ALICE, BOB], BLOCK)).send_block
    assert list(message.node_ids) == [ALICE, BOB]
    assert (message.header_rlp, message.body_rlp, message.block_hash) == (b"header", b"body", HASH)
    assert int.from_bytes(message.total_difficulty, "big") == 2**70


def test_a_send_of_an_announce_names_the_block_and_its_peers():
    message = send_announce_to_proto(SendAnnounce(GatewayId("east"), [ALICE], Announce(HASH, 9))).send_announces
    assert list(message.node_ids) == [ALICE]
    assert list(message.announces) == [common_pb2.Announce(block_hash=HASH, number=9)]


def test_a_peer_is_read_with_the_blocks_it_knows():
    message = broadcast_pb2.BroadcastPeer(node_id=ALICE, eth_version=63, known_blocks=b"\x01" * 32 + b"\x02" * 32)
    assert joined_peer_from_proto(message) == JoinedPeer(ALICE, [HASH, BlockHash(b"\x02" * 32)])


@pytest.mark.parametrize(
    "message",
    [
        broadcast_pb2.BroadcastPeer(node_id=b"A" * 63),
        broadcast_pb2.BroadcastPeer(node_id=ALICE, known_blocks=b"\x01" * 33),
    ],
)
def test_a_peer_is_refused_when_its_lengths_are_wrong(message):
    with pytest.raises(InvalidRequest):
        joined_peer_from_proto(message)


def test_origins_are_refused_when_one_is_no_node_id():
    with pytest.raises(InvalidRequest):
        peer_ids_from_proto([ALICE, b""])


def test_a_chain_snapshot_is_read_whole():
    message = coordinator_pb2.ChainSnapshot(
        network_id=61,
        genesis_hash=HASH,
        head=common_pb2.ChainHead(block_hash=HASH, number=7, total_difficulty=b"\x01\x00"),
        accepts_transactions=True,
    )
    assert snapshot_from_proto(message) == ChainSnapshot(61, HASH, Head(HASH, 7, 256), accepts_transactions=True)


def test_a_chain_snapshot_without_a_head_is_refused():
    with pytest.raises(InvalidRequest):
        snapshot_from_proto(coordinator_pb2.ChainSnapshot(network_id=61, genesis_hash=HASH))
