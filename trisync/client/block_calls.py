"""The calls of the Block service: requests made, answers read."""

from __future__ import annotations

from typing import Final, NamedTuple

from blocksync.v1 import blocks_pb2 as pb

from trisync.blocks import Propagation, RankedPeer, SubmittedBlock, propagation_from_proto, ranked_peer_from_proto
from trisync.client.calls import Call, Lasting, Service, StreamCall
from trisync.node_status import head_from_proto

SERVICE: Final = Service(pb.DESCRIPTOR.services_by_name["BlockService"].full_name)

SUBMIT_TIMEOUT_S: Final = 60.0
"""How long a block may take: its seal may need an epoch's cache, which is made for minutes on a slow machine."""


class Ranking(NamedTuple):
    """Peers by how often they were first, most first; and how many blocks a peer was first with, over all peers."""

    peers: list[RankedPeer]
    blocks: int


def submit(block_rlp: bytes) -> Call[SubmittedBlock]:
    def read(answer: pb.SubmitBlockResponse) -> SubmittedBlock:
        is_new = answer.result == pb.SUBMIT_BLOCK_RESULT_IMPORTED
        head = head_from_proto(answer.block)
        return SubmittedBlock(head, is_new, answer.canonical, answer.propagated, answer.announced)

    request = pb.SubmitBlockRequest(block_rlp=block_rlp)
    return SERVICE.call("SubmitBlock", request, pb.SubmitBlockResponse, read, timeout_s=SUBMIT_TIMEOUT_S)


def propagation(block_hash: bytes | None) -> Call[Propagation | None]:
    def read(answer: pb.GetPropagationResponse) -> Propagation:
        return propagation_from_proto(answer.propagation)

    request = pb.GetPropagationRequest(block_hash=block_hash or b"")
    return SERVICE.lookup("GetPropagation", request, pb.GetPropagationResponse, read)


def watch_propagations(newest: int, lasting: Lasting) -> StreamCall[Propagation]:
    def read(answer: pb.WatchPropagationsResponse) -> tuple[Propagation]:
        return (propagation_from_proto(answer.propagation),)

    request = pb.WatchPropagationsRequest(newest=newest, follow=lasting.endless)
    return SERVICE.stream("WatchPropagations", request, pb.WatchPropagationsResponse, read, lasting)


def rank_peers(limit: int) -> Call[Ranking]:
    def read(answer: pb.RankPeersResponse) -> Ranking:
        return Ranking([ranked_peer_from_proto(each) for each in answer.peers], answer.blocks)

    return SERVICE.call("RankPeers", pb.RankPeersRequest(limit=limit), pb.RankPeersResponse, read)
