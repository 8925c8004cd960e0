"""The Block service: what operators hand in, and ask about how blocks spread."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
from blocksync.v1 import blocks_pb2, blocks_pb2_grpc

from services.shared.ethwire.types import PeerId
from services.shared.rpc.convert import block_hash_from_proto
from services.shared.rpc.errors import InvalidRequest, NotAllowedNow, UnknownBlock
from services.sync_coordinator.core.block_submission import BlockRefused
from services.sync_coordinator.core.peer_set import PeerSet
from services.sync_coordinator.edges.block_submissions import BlockSubmissions, SubmissionFailed
from services.sync_coordinator.edges.propagations import Propagations
from services.sync_coordinator.edges.status_board import chain_head
from services.sync_coordinator.store.chain_store import ChainStore

RANKED_PEERS: Final = 100
"""Peers of an answer that asks for no number."""

MOST_NEWEST: Final = 2_000
"""As many blocks as a ledger remembers."""

Context = grpc.aio.ServicerContext[Any, Any]


class BlockServicer(blocks_pb2_grpc.BlockServiceServicer):
    """Translates; the parts answer."""

    def __init__(
        self, submissions: BlockSubmissions, propagations: Propagations, store: ChainStore, peers: PeerSet
    ) -> None:
        self._submissions, self._propagations = submissions, propagations
        self._store, self._peers = store, peers

    async def SubmitBlock(
        self, request: blocks_pb2.SubmitBlockRequest, context: Context
    ) -> blocks_pb2.SubmitBlockResponse:
        try:
            submission = await self._submissions.submit(request.block_rlp)
        except BlockRefused as refusal:
            kind = InvalidRequest if refusal.cause.is_in_the_block else NotAllowedNow
            field = "block_rlp" if kind is InvalidRequest else ""
            raise kind(str(refusal), field=field, reason=f"BLOCK_{refusal.cause.name}") from refusal
        except SubmissionFailed as failed:
            raise NotAllowedNow(str(failed)) from failed
        header = submission.header
        is_new = submission.is_new
        return blocks_pb2.SubmitBlockResponse(
            result=blocks_pb2.SUBMIT_BLOCK_RESULT_IMPORTED if is_new else blocks_pb2.SUBMIT_BLOCK_RESULT_KNOWN,
            block=chain_head(header, self._store.total_difficulty(header.hash) or 0),
            canonical=self._store.canonical_hash(header.number) == header.hash,
            propagated=submission.propagated,
            announced=submission.announced,
        )

    async def GetPropagation(
        self, request: blocks_pb2.GetPropagationRequest, context: Context
    ) -> blocks_pb2.GetPropagationResponse:
        if request.block_hash:
            found = await self._propagations.get(block_hash_from_proto(request.block_hash))
        else:
            newest = await self._propagations.newest(1)
            if not newest:
                raise UnknownBlock("no block was relayed since the broadcaster's start")
            found = newest[0]
        return blocks_pb2.GetPropagationResponse(propagation=found)

    async def WatchPropagations(
        self, request: blocks_pb2.WatchPropagationsRequest, context: Context
    ) -> AsyncIterator[blocks_pb2.WatchPropagationsResponse]:
        newest = min(request.newest, MOST_NEWEST)
        async for propagation in self._propagations.watch(newest, follow=request.follow):
            yield blocks_pb2.WatchPropagationsResponse(propagation=propagation)

    async def RankPeers(self, request: blocks_pb2.RankPeersRequest, context: Context) -> blocks_pb2.RankPeersResponse:
        ranked = await self._propagations.first_peers()
        answer = blocks_pb2.RankPeersResponse(blocks=sum([one.first for one in ranked]))
        for one in ranked[: request.limit or RANKED_PEERS]:
            peer = self._peers.get(PeerId(one.node_id))
            answer.peers.add(
                node_id=one.node_id,
                first=one.first,
                first_whole=one.first_whole,
                last_first_us=one.last_first_us,
                connected=peer is not None,
                client_name=peer.client_name if peer is not None else "",
            )
        return answer
