"""A typed client of the coordinator's operator API.

async with OperatorClient("127.0.0.1:7450") as node:
    status = await node.status()
    print(status.full_block_head.number, status.peer_count)
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final, Self, TypedDict

import grpc
import grpc.aio
from blocksync.v1 import coordinator_pb2, coordinator_pb2_grpc

from trisync.block_feed import Step, step_from_proto
from trisync.blocks import BlockCalls
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
from trisync.transactions import TransactionCalls

CALL_TIMEOUT_S: Final = 5.0
"""How long an answer may take; every call is answered from memory or by one read of the store."""

MAX_MESSAGE_BYTES: Final = 32 * 1024 * 1024
"""Largest answer taken; the same number as at the server."""

CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # In gRPC this is how long an attempt to connect may take: on a loaded machine a handshake needs its time too.
    ("grpc.min_reconnect_backoff_ms", int(CALL_TIMEOUT_S * 1000)),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_http_proxy", 0),
)


class CoordinatorError(Exception):
    """A call failed. `retryable` says whether the same call may succeed later."""

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable


class OperatorClient:
    """Calls one coordinator at `host:port` or `unix:/path`. Failed calls raise CoordinatorError."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        self._stub = coordinator_pb2_grpc.CoordinatorServiceStub(self._channel)
        self.transactions = TransactionCalls(self._channel, self._failed)
        self.blocks = BlockCalls(self._channel, self._failed)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._channel.close()

    async def status(self) -> NodeStatus:
        try:
            answer = await self._stub.GetStatus(coordinator_pb2.GetStatusRequest(), timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise self._failed(error) from error
        return status_from_proto(answer.status)

    async def watch_status(self) -> AsyncIterator[NodeStatus]:
        """The status at once and whenever it changed; ends with CoordinatorError when the coordinator goes."""
        call = self._stub.WatchStatus(coordinator_pb2.WatchStatusRequest())
        try:
            async for answer in call:
                yield status_from_proto(answer.status)
        except grpc.aio.AioRpcError as error:
            raise self._failed(error) from error
        finally:
            call.cancel()
        raise CoordinatorError(f"the coordinator at {self._address} ended the stream", retryable=True)

    async def peers(self) -> list[Peer]:
        try:
            answer = await self._stub.ListPeers(coordinator_pb2.ListPeersRequest(), timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise self._failed(error) from error
        return [peer_from_proto(entry) for entry in answer.peers]

    async def disconnects(
        self, *, limit: int = 0, node_id: bytes | None = None, side: Side | None = None, offence: str | None = None
    ) -> DisconnectList:
        """The connections that ended, newest first. `limit` 0 is all that are kept; what is None does not filter.

        Raises ValueError for an offence that is not in `trisync.disconnects.OFFENCES`.
        """
        request = coordinator_pb2.ListDisconnectsRequest(limit=limit, node_id=node_id or b"", side=side_number(side))
        if offence is not None:
            request.offence = offence_number(offence)
        try:
            answer = await self._stub.ListDisconnects(request, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise self._failed(error) from error
        return list_from_proto(answer)

    async def block(self, block: int | bytes) -> StoredBlock | None:
        """A block by number or hash; None when it is not stored."""
        request = coordinator_pb2.GetBlockRequest(**_named(block))
        try:
            answer = await self._stub.GetBlock(request, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            self._raise_unless_unknown(error)
            return None
        return StoredBlock(head_from_proto(answer.head), answer.header_rlp, answer.body_rlp, answer.canonical)

    async def header(self, block: int | bytes) -> StoredHeader | None:
        """A header by number or hash; None when it is not stored."""
        request = coordinator_pb2.GetHeaderRequest(**_named(block))
        try:
            answer = await self._stub.GetHeader(request, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            self._raise_unless_unknown(error)
            return None
        return StoredHeader(head_from_proto(answer.head), answer.header_rlp, answer.canonical)

    async def receipts(self, block: int | bytes) -> StoredReceipts | None:
        """A block's receipts by number or hash; None when the block is not stored."""
        request = coordinator_pb2.GetReceiptsRequest(**_named(block))
        try:
            answer = await self._stub.GetReceipts(request, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            self._raise_unless_unknown(error)
            return None
        receipts_rlp = answer.receipts_rlp if answer.HasField("receipts_rlp") else None
        return StoredReceipts(head_from_proto(answer.head), receipts_rlp, answer.canonical)

    async def canonical_hash(self, block: int | bytes) -> bytes | None:
        """The hash of the canonical block at this number, or at the number of the block with this hash.

        None when there is none, or no such block.
        """
        request = coordinator_pb2.GetCanonicalHashRequest(**_named(block))
        try:
            answer = await self._stub.GetCanonicalHash(request, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            self._raise_unless_unknown(error)
            return None
        return answer.block_hash or None

    async def stream_blocks(
        self, start: int | str, *, follow: bool = False, include_bodies: bool = False, include_receipts: bool = False
    ) -> AsyncGenerator[Step, None]:
        """The canonical chain from a number, or on from a cursor, as steps to take in their order.

        Ends at the end of the chain; with `follow` it waits there, and ends with CoordinatorError when the
        coordinator goes: call again with the cursor of the last step taken.
        """
        request = coordinator_pb2.StreamBlocksRequest(
            follow=follow, include_bodies=include_bodies, include_receipts=include_receipts
        )
        if isinstance(start, int):
            request.number = start
        else:
            request.cursor = start
        call = self._stub.StreamBlocks(request)
        try:
            async for answer in call:
                for step in answer.steps:
                    yield step_from_proto(step)
        except grpc.aio.AioRpcError as error:
            raise self._failed(error) from error
        finally:
            call.cancel()
        if follow:
            raise CoordinatorError(f"the coordinator at {self._address} ended the stream", retryable=True)

    async def start_sync(self) -> tuple[SyncAnswer, str]:
        """Ask for a sync now; the text explains the answer."""
        try:
            answer = await self._stub.StartSync(coordinator_pb2.StartSyncRequest(), timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise self._failed(error) from error
        return answer_from_proto(answer.result), answer.explanation

    async def best_peer(self, limit: int = 0) -> BestPeer:
        """Whom the next sync would follow, and why not the others; at most `limit` are listed, 0 is 100."""
        request = coordinator_pb2.BestPeerRequest(limit=limit)
        try:
            answer = await self._stub.BestPeer(request, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise self._failed(error) from error
        return best_peer_from_proto(answer)

    async def explain_sync(self) -> SyncExplanation:
        """Why no sync runs, or which one does; when the next is due; what the last ones did."""
        try:
            answer = await self._stub.ExplainSync(coordinator_pb2.ExplainSyncRequest(), timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise self._failed(error) from error
        return explanation_from_proto(answer)

    async def add_peer(self, enode: str) -> AddedPeer:
        """Keep a node connected, as geth's `admin.addPeer`."""
        request = coordinator_pb2.AddPeerRequest(enode=enode)
        try:
            answer = await self._stub.AddPeer(request, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise self._failed(error) from error
        return AddedPeer(answer.gateway_id, answer.connected)

    async def remove_peer(self, enode: str) -> RemovedPeer:
        """Let a static node go and disconnect it, as geth's `admin.removePeer`."""
        request = coordinator_pb2.RemovePeerRequest(enode=enode)
        try:
            answer = await self._stub.RemovePeer(request, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise self._failed(error) from error
        return RemovedPeer(answer.was_static, answer.was_connected)

    async def add_trusted_peer(self, enode: str) -> bool:
        """Let a node connect when all places are taken; whether it is connected already."""
        request = coordinator_pb2.AddTrustedPeerRequest(enode=enode)
        try:
            answer = await self._stub.AddTrustedPeer(request, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise self._failed(error) from error
        return answer.connected

    async def remove_trusted_peer(self, enode: str) -> bool:
        """Trust a node no more, and leave its connection alone; whether it was trusted."""
        request = coordinator_pb2.RemoveTrustedPeerRequest(enode=enode)
        try:
            answer = await self._stub.RemoveTrustedPeer(request, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise self._failed(error) from error
        return answer.was_trusted

    def _raise_unless_unknown(self, error: grpc.aio.AioRpcError) -> None:
        """A block that is not stored is an answer."""
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise self._failed(error) from error

    def _failed(self, error: grpc.aio.AioRpcError) -> CoordinatorError:
        code = error.code()
        if code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION):
            # The text names the value, the rule and what to do; the code would add nothing for a person.
            return CoordinatorError(str(error.details()), retryable=False)
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return CoordinatorError(str(error.details()), retryable=True)
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED):
            remedy = "see that it runs there, or ask another one"
            return CoordinatorError(f"the coordinator at {self._address} does not answer; {remedy}", retryable=True)
        return CoordinatorError(f"{code.name}: {error.details()}", retryable=False)


class _Named(TypedDict, total=False):
    """How requests name a block."""

    number: int
    block_hash: bytes


def _named(block: int | bytes) -> _Named:
    return {"number": block} if isinstance(block, int) else {"block_hash": block}
