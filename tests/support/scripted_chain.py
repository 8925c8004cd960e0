"""A chain that a scripted peer answers questions from, within the limits that known clients keep."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate

from services.shared.ethwire.headers import decode_header
from services.shared.ethwire.limits import (
    MAX_BODIES_PER_REPLY,
    MAX_HEADERS_PER_REPLY,
    SOFT_REPLY_BYTES,
)
from services.shared.ethwire.messages import (
    BlockBodies,
    BlockHeaders,
    EthMessage,
    GetBlockBodies,
    GetBlockHeaders,
    GetNodeData,
    GetReceipts,
    NodeData,
    Receipts,
    Status,
)
from services.shared.ethwire.types import BlockHash


class ScriptedChain:
    """Blocks from genesis on. `answer` fits `ScriptedPeer.answer`; a test that lies wraps it."""

    def __init__(self, blocks: Iterable[tuple[bytes, bytes]]) -> None:
        """`blocks` are (header RLP, body RLP) in order; the first is the genesis block."""
        blocks = list(blocks)
        self.headers = [decode_header(header_rlp) for header_rlp, _ in blocks]
        self.bodies_rlp = [body_rlp for _, body_rlp in blocks]
        self.numbers: dict[BlockHash, int] = {header.hash: header.number for header in self.headers}
        self.total_difficulties = list(accumulate(header.difficulty for header in self.headers))

    def status(self, network_id: int) -> Status:
        """What a peer at the head of this chain says."""
        return Status(0, network_id, self.total_difficulties[-1], self.headers[-1].hash, self.headers[0].hash)

    def answer(self, message: EthMessage) -> EthMessage | None:
        """The reply to a question, None for what is none."""
        match message:
            case GetBlockHeaders():
                return self._headers(message)
            case GetBlockBodies(hashes):
                return self._bodies(hashes)
            case GetReceipts():
                return Receipts([])
            case GetNodeData():
                return NodeData([])
            case _:
                return None

    def _headers(self, query: GetBlockHeaders) -> BlockHeaders:
        origin = query.origin
        number = origin if isinstance(origin, int) else self.numbers.get(origin, -1)
        step = -(query.skip + 1) if query.reverse else query.skip + 1
        found: list[bytes] = []
        while 0 <= number < len(self.headers) and len(found) < min(query.amount, MAX_HEADERS_PER_REPLY):
            found.append(self.headers[number].header_rlp)
            number += step
        return BlockHeaders(found)

    def _bodies(self, hashes: Iterable[BlockHash]) -> BlockBodies:
        found: list[bytes] = []
        size = 0
        for block_hash in hashes:
            number = self.numbers.get(block_hash)
            if number is None:
                continue
            if len(found) == MAX_BODIES_PER_REPLY or size >= SOFT_REPLY_BYTES:
                break
            found.append(self.bodies_rlp[number])
            size += len(self.bodies_rlp[number])
        return BlockBodies(found)
