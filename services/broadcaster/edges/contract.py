"""Between the broadcaster's contract messages and its types. A broken contract raises InvalidRequest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from blocksync.v1 import blocks_pb2, broadcast_pb2, common_pb2, coordinator_pb2

from services.broadcaster.core.block_relay import JoinedPeer, RelayBlock, SendAnnounce, SendBlock
from services.broadcaster.core.fan_out import PlaceInRow
from services.broadcaster.core.followed_chain import BlockBody, BlockChange, ChainSnapshot, Head
from services.broadcaster.core.fork_blocks import ForkBlocks
from services.broadcaster.core.ledger import BlockRecord, BlockSource, FirstPeer
from services.broadcaster.core.transaction_relay import SendTransactions
from services.shared.ethwire.types import PeerId
from services.shared.rpc.convert import (
    announces_to_proto,
    big_from_bytes,
    big_to_bytes,
    block_hash_from_proto,
    peer_id_from_proto,
    split_hashes,
)
from services.shared.rpc.errors import InvalidRequest

_SOURCES: Final[Mapping[BlockSource, blocks_pb2.BlockSource.ValueType]] = {
    BlockSource.PEER: blocks_pb2.BLOCK_SOURCE_PEER,
    BlockSource.SUBMITTED: blocks_pb2.BLOCK_SOURCE_SUBMITTED,
    BlockSource.SYNCED: blocks_pb2.BLOCK_SOURCE_SYNCED,
}


def joined_peer_from_proto(message: broadcast_pb2.BroadcastPeer) -> JoinedPeer:
    return JoinedPeer(peer_id_from_proto(message.node_id), split_hashes(message.known_blocks))


def peer_ids_from_proto(node_ids: Iterable[bytes]) -> list[PeerId]:
    return [peer_id_from_proto(node_id) for node_id in node_ids]


def relay_block_from_proto(message: broadcast_pb2.PropagateRequest) -> RelayBlock:
    """Without total difficulty (its parent is unknown) a block is not for peers."""
    if not message.header_rlp or not message.body_rlp:
        raise InvalidRequest("a block to propagate needs its header and its body")
    total_difficulty = big_from_bytes(message.total_difficulty)
    if not total_difficulty:
        raise InvalidRequest("a block to propagate needs its total difficulty")
    return RelayBlock(
        block_hash_from_proto(message.block_hash),
        message.number,
        message.header_rlp,
        message.body_rlp,
        total_difficulty,
    )


def place_from_proto(message: broadcast_pb2.PropagateRequest) -> PlaceInRow | None:
    """None where there is no other broadcaster."""
    if not message.lacking_everywhere:
        return None
    return PlaceInRow(message.lacking_before, message.lacking_everywhere)


def source_from_proto(value: blocks_pb2.BlockSource.ValueType) -> BlockSource:
    """A caller that does not say relays what a peer gave it."""
    return next((source for source, number in _SOURCES.items() if number == value), BlockSource.PEER)


def propagation_to_proto(record: BlockRecord) -> blocks_pb2.Propagation:
    return blocks_pb2.Propagation(
        block_hash=record.block_hash,
        number=record.number,
        source=blocks_pb2.BLOCK_SOURCE_UNSPECIFIED if record.source is None else _SOURCES[record.source],
        first_seen_us=record.first_seen_us,
        first_seen_from=record.first_seen_from or b"",
        first_seen_whole=record.first_seen_whole,
        whole_arrivals=record.whole_arrivals,
        hash_arrivals=record.hash_arrivals,
        duplicates=record.duplicates,
        header_valid_us=record.header_valid_us,
        imported_us=record.imported_us,
        propagated_us=record.propagated_us,
        propagated_to=record.propagated_to,
        lacked_by=record.lacked_by,
        announced_us=record.announced_us,
        announced_to=record.announced_to,
        refused_by=record.refused_by,
    )


def first_peer_to_proto(one: FirstPeer) -> broadcast_pb2.FirstPeer:
    return broadcast_pb2.FirstPeer(
        node_id=one.peer, first=one.first, first_whole=one.first_whole, last_first_us=one.last_first_us
    )


def send_block_to_proto(send: SendBlock, decision: bytes = b"") -> broadcast_pb2.AttachResponse:
    block = send.block
    return broadcast_pb2.AttachResponse(
        send_block=broadcast_pb2.SendBlock(
            node_ids=send.peers,
            header_rlp=block.header_rlp,
            body_rlp=block.body_rlp,
            block_hash=block.block_hash,
            total_difficulty=big_to_bytes(block.total_difficulty),
            decision_span_id=decision,
        )
    )


def send_announce_to_proto(send: SendAnnounce, decision: bytes = b"") -> broadcast_pb2.AttachResponse:
    return broadcast_pb2.AttachResponse(
        send_announces=broadcast_pb2.SendAnnounces(
            node_ids=send.peers, announces=announces_to_proto([send.announce]), decision_span_id=decision
        )
    )


def head_from_proto(message: common_pb2.ChainHead) -> Head:
    return Head(block_hash_from_proto(message.block_hash), message.number, big_from_bytes(message.total_difficulty))


def snapshot_from_proto(message: coordinator_pb2.ChainSnapshot) -> ChainSnapshot:
    return ChainSnapshot(
        message.network_id,
        block_hash_from_proto(message.genesis_hash),
        head_from_proto(message.head),
        message.accepts_transactions,
        message.gas_limit,
        forks_from_proto(message.forks),
    )


def forks_from_proto(message: coordinator_pb2.TransactionForks) -> ForkBlocks:
    return ForkBlocks(
        chain_id=big_from_bytes(message.chain_id),
        homestead=message.homestead_block if message.HasField("homestead_block") else None,
        eip155=message.eip155_block if message.HasField("eip155_block") else None,
        istanbul=message.istanbul_block if message.HasField("istanbul_block") else None,
        berlin=message.berlin_block if message.HasField("berlin_block") else None,
        london=message.london_block if message.HasField("london_block") else None,
        spiral=message.spiral_block if message.HasField("spiral_block") else None,
    )


def block_change_from_proto(message: coordinator_pb2.ChainMoved) -> BlockChange:
    return BlockChange(
        [_block_from_proto(block) for block in message.undone],
        [_block_from_proto(block) for block in message.applied],
        message.blocks_skipped,
    )


def _block_from_proto(message: coordinator_pb2.BlockContents) -> BlockBody:
    return BlockBody(message.number, block_hash_from_proto(message.block_hash), message.body_rlp)


def send_transactions_to_proto(send: SendTransactions) -> broadcast_pb2.AttachResponse:
    wires = [transaction.wire for transaction in send.transactions]
    hashes = b"".join([transaction.hash for transaction in send.transactions])
    return broadcast_pb2.AttachResponse(
        send_transactions=broadcast_pb2.SendTransactions(node_ids=send.peers, transactions_rlp=wires, hashes=hashes)
    )
