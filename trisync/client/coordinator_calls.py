"""The calls of the Coordinator service: requests made, answers read."""

from __future__ import annotations

from typing import Final, NamedTuple, TypedDict

from blocksync.v1 import coordinator_pb2 as pb

from trisync.block_feed import Step, step_from_proto
from trisync.client.calls import Call, Lasting, Service, StreamCall
from trisync.disconnects import DisconnectList, Side, list_from_proto, offence_number, side_number
from trisync.node_status import (
    AddedPeer,
    NodeStatus,
    Peer,
    RemovedPeer,
    StoredBlock,
    StoredHeader,
    StoredReceipts,
    SyncAnswer,
    answer_from_proto,
    head_from_proto,
    peer_from_proto,
    status_from_proto,
)
from trisync.sync_explained import BestPeer, SyncExplanation, best_peer_from_proto, explanation_from_proto

SERVICE: Final = Service(pb.DESCRIPTOR.services_by_name["CoordinatorService"].full_name)


class SyncAnswered(NamedTuple):
    """What came of asking for a sync at once, and that in words."""

    answer: SyncAnswer
    explanation: str


class _Named(TypedDict, total=False):
    """How requests name a block."""

    number: int
    block_hash: bytes


def _named(block: int | bytes) -> _Named:
    return {"number": block} if isinstance(block, int) else {"block_hash": block}


def status() -> Call[NodeStatus]:
    return SERVICE.call(
        "GetStatus", pb.GetStatusRequest(), pb.GetStatusResponse, lambda answer: status_from_proto(answer.status)
    )


def watch_status(timeout_s: float | None) -> StreamCall[NodeStatus]:
    def read(answer: pb.WatchStatusResponse) -> tuple[NodeStatus]:
        return (status_from_proto(answer.status),)

    return SERVICE.stream("WatchStatus", pb.WatchStatusRequest(), pb.WatchStatusResponse, read, Lasting(timeout_s))


def peers() -> Call[list[Peer]]:
    def read(answer: pb.ListPeersResponse) -> list[Peer]:
        return [peer_from_proto(entry) for entry in answer.peers]

    return SERVICE.call("ListPeers", pb.ListPeersRequest(), pb.ListPeersResponse, read)


def disconnects(limit: int, node_id: bytes | None, side: Side | None, offence: str | None) -> Call[DisconnectList]:
    request = pb.ListDisconnectsRequest(limit=limit, node_id=node_id or b"", side=side_number(side))
    if offence is not None:
        request.offence = offence_number(offence)
    return SERVICE.call("ListDisconnects", request, pb.ListDisconnectsResponse, list_from_proto)


def block(wanted: int | bytes) -> Call[StoredBlock | None]:
    def read(answer: pb.GetBlockResponse) -> StoredBlock:
        return StoredBlock(head_from_proto(answer.head), answer.header_rlp, answer.body_rlp, answer.canonical)

    return SERVICE.lookup("GetBlock", pb.GetBlockRequest(**_named(wanted)), pb.GetBlockResponse, read)


def header(wanted: int | bytes) -> Call[StoredHeader | None]:
    def read(answer: pb.GetHeaderResponse) -> StoredHeader:
        return StoredHeader(head_from_proto(answer.head), answer.header_rlp, answer.canonical)

    return SERVICE.lookup("GetHeader", pb.GetHeaderRequest(**_named(wanted)), pb.GetHeaderResponse, read)


def receipts(wanted: int | bytes) -> Call[StoredReceipts | None]:
    def read(answer: pb.GetReceiptsResponse) -> StoredReceipts:
        receipts_rlp = answer.receipts_rlp if answer.HasField("receipts_rlp") else None
        return StoredReceipts(head_from_proto(answer.head), receipts_rlp, answer.canonical)

    return SERVICE.lookup("GetReceipts", pb.GetReceiptsRequest(**_named(wanted)), pb.GetReceiptsResponse, read)


def canonical_hash(wanted: int | bytes) -> Call[bytes | None]:
    def read(answer: pb.GetCanonicalHashResponse) -> bytes | None:
        return answer.block_hash or None

    request = pb.GetCanonicalHashRequest(**_named(wanted))
    return SERVICE.lookup("GetCanonicalHash", request, pb.GetCanonicalHashResponse, read)


class FeedContents(NamedTuple):
    """What the steps of the feed bring along beside headers."""

    bodies: bool
    receipts: bool


def stream_blocks(start: int | str, contents: FeedContents, lasting: Lasting) -> StreamCall[Step]:
    request = pb.StreamBlocksRequest(
        follow=lasting.endless, include_bodies=contents.bodies, include_receipts=contents.receipts
    )
    if isinstance(start, int):
        request.number = start
    else:
        request.cursor = start

    def read(answer: pb.StreamBlocksResponse) -> list[Step]:
        return [step_from_proto(step) for step in answer.steps]

    return SERVICE.stream("StreamBlocks", request, pb.StreamBlocksResponse, read, lasting)


def start_sync() -> Call[SyncAnswered]:
    def read(answer: pb.StartSyncResponse) -> SyncAnswered:
        return SyncAnswered(answer_from_proto(answer.result), answer.explanation)

    return SERVICE.call("StartSync", pb.StartSyncRequest(), pb.StartSyncResponse, read)


def best_peer(limit: int) -> Call[BestPeer]:
    return SERVICE.call("BestPeer", pb.BestPeerRequest(limit=limit), pb.BestPeerResponse, best_peer_from_proto)


def explain_sync() -> Call[SyncExplanation]:
    return SERVICE.call("ExplainSync", pb.ExplainSyncRequest(), pb.ExplainSyncResponse, explanation_from_proto)


def add_peer(enode: str) -> Call[AddedPeer]:
    def read(answer: pb.AddPeerResponse) -> AddedPeer:
        return AddedPeer(answer.gateway_id, answer.connected)

    return SERVICE.call("AddPeer", pb.AddPeerRequest(enode=enode), pb.AddPeerResponse, read)


def remove_peer(enode: str) -> Call[RemovedPeer]:
    def read(answer: pb.RemovePeerResponse) -> RemovedPeer:
        return RemovedPeer(answer.was_static, answer.was_connected)

    return SERVICE.call("RemovePeer", pb.RemovePeerRequest(enode=enode), pb.RemovePeerResponse, read)


def add_trusted_peer(enode: str) -> Call[bool]:
    request = pb.AddTrustedPeerRequest(enode=enode)
    return SERVICE.call("AddTrustedPeer", request, pb.AddTrustedPeerResponse, lambda answer: answer.connected)


def remove_trusted_peer(enode: str) -> Call[bool]:
    request = pb.RemoveTrustedPeerRequest(enode=enode)
    return SERVICE.call("RemoveTrustedPeer", request, pb.RemoveTrustedPeerResponse, lambda answer: answer.was_trusted)
