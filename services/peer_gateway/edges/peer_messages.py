"""What a joined peer says, and who is told of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from blocksync.v1 import common_pb2
from blocksync.v1 import gateway_link_pb2 as wire

from services.peer_gateway.core.eth_session import EthSession
from services.peer_gateway.core.known_blocks import KnownBlocks
from services.peer_gateway.core.reply_decoding import UNASKED_BYTES
from services.peer_gateway.edges.noted_offences import NotedOffences
from services.peer_gateway.edges.parts import Parts
from services.peer_gateway.edges.questions import Questions
from services.peer_gateway.edges.replies import Replies
from services.shared.ethwire.headers import decode_header
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
    Status,
    Transactions,
)
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import Announce, PeerId
from services.shared.rpc.convert import announces_to_proto, big_from_bytes, big_to_bytes


class PeerMessages:
    """Handed one message at a time, in order. `details` is kept up to date with the peer's head."""

    def __init__(
        self,
        parts: Parts,
        eth: EthSession,
        details: common_pb2.PeerDetails,
        replies: Replies,
        questions: Questions,
        unread_s: Callable[[], float],
    ) -> None:
        self._parts, self._eth, self._details = parts, eth, details
        self._replies, self._questions, self._unread_s = replies, questions, unread_s
        self._node_id = PeerId(details.node_id)
        self._noted = NotedOffences(self._node_id, parts.metrics)
        self.known_blocks = KnownBlocks()

    async def on_arrival(self, code: int, payload: bytes) -> None:
        """Work on one message. Raises PeerFault for one that breaks a rule."""
        if not self._replies.drop_unasked(code):
            await self._on_message(self._eth.receive(code, payload))

    async def _on_message(self, message: EthMessage) -> None:
        match message:
            case BlockHeaders() | BlockBodies() | Receipts() | NodeData():
                await self._replies.on_reply(message, self._unread_s)
            case GetBlockHeaders() | GetBlockBodies() | GetReceipts() | GetNodeData():
                if self._questions.is_full:
                    self._noted.add(Offence.QUESTIONS_BEYOND_LIMIT, "questions over the limit, not read for a while")
                await self._questions.put(message)
            case NewBlockHashes(announces):
                await self._on_announces(announces)
            case NewBlock():
                await self._on_block(message)
            case Transactions(transactions_rlp):
                if sum(map(len, transactions_rlp)) > UNASKED_BYTES:
                    self._parts.metrics.drop("transactions", "oversized", len(transactions_rlp))
                else:
                    await self._parts.known_transactions.received(self._node_id, transactions_rlp)
                    self._parts.broadcaster.transactions(self._node_id, transactions_rlp)
            case Status():
                raise AssertionError("the eth session lets no second Status through")
            case _:
                assert_never(message)

    async def _on_announces(self, announces: list[Announce]) -> None:
        if not announces:
            return
        hashes = [announce.block_hash for announce in announces]
        hearing = self._parts.traces.hearing(self._node_id, self.known_blocks, hashes)
        self.known_blocks.add(hashes)
        self._parts.broadcaster.known_blocks(self._node_id, hashes, whole=False)
        told = wire.Announces(node_id=self._node_id, announces=announces_to_proto(announces))
        if not await self._parts.coordinator.deliver(wire.BulkRequest(announces=told), unread_s=self._unread_s()):
            self._parts.metrics.drop("announces", "bulk-full-or-down")
        if hearing is not None:
            hearing.handed_on(whole=False)

    async def _on_block(self, message: NewBlock) -> None:
        header = decode_header(message.header_rlp)
        hearing = self._parts.traces.hearing(self._node_id, self.known_blocks, [header.hash])
        self.known_blocks.add([header.hash])
        self._parts.broadcaster.known_blocks(self._node_id, [header.hash], whole=True)
        # Whoever sends a block surely has its parent, and that one's total difficulty.
        before = max(0, message.total_difficulty - header.difficulty)
        if before > big_from_bytes(self._details.total_difficulty):
            self._details.total_difficulty = big_to_bytes(before)
            self._details.head_hash = header.parent_hash
        if len(message.header_rlp) + len(message.body_rlp) > UNASKED_BYTES:
            self._parts.metrics.drop("block", "oversized")
            return
        block = wire.PropagatedBlock(
            node_id=self._node_id,
            header_rlp=message.header_rlp,
            body_rlp=message.body_rlp,
            block_hash=header.hash,
            roots=await self._parts.digests.of(BlockBodies([message.body_rlp])),
            total_difficulty=big_to_bytes(message.total_difficulty),
        )
        if not await self._parts.coordinator.deliver(wire.BulkRequest(block=block), unread_s=self._unread_s()):
            self._parts.metrics.drop("block", "bulk-full-or-down")
        if hearing is not None:
            hearing.handed_on(whole=True)
