"""A chain that a scripted peer answers questions from, within the limits that known clients keep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import TypeVar

from services.shared.ethwire.headers import decode_header
from services.shared.ethwire.limits import (
    MAX_BODIES_PER_REPLY,
    MAX_HEADERS_PER_REPLY,
    MAX_NODE_DATA_PER_REPLY,
    MAX_RECEIPTS_PER_REPLY,
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
from services.shared.ethwire.types import Block, BlockHash

Key = TypeVar("Key", bound=bytes)


class ScriptedChain:
    """Blocks from genesis on. `answer` fits `ScriptedPeer.answer`; a test that lies wraps it."""

    def __init__(
        self,
        blocks: Iterable[tuple[bytes, bytes]],
        *,
        receipts: Mapping[BlockHash, bytes] = {},
        state_entries: Mapping[bytes, bytes] = {},
    ) -> None:
        """`blocks` are (header RLP, body RLP) in order; the first is the genesis block."""
        blocks = list(blocks)
        self.headers = [decode_header(header_rlp) for header_rlp, _ in blocks]
        self.bodies_rlp = [body_rlp for _, body_rlp in blocks]
        self.receipts, self.state_entries = receipts, state_entries
        self.numbers: dict[BlockHash, int] = {header.hash: header.number for header in self.headers}
        self.total_difficulties = list(accumulate(header.difficulty for header in self.headers))

    def append(self, block: Block) -> None:
        """Grow by a child of the head."""
        self.headers.append(block.header)
        self.bodies_rlp.append(block.body_rlp)
        self.numbers[block.header.hash] = block.header.number
        self.total_difficulties.append(self.total_difficulties[-1] + block.header.difficulty)

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
            case GetReceipts(hashes):
                return Receipts(_found(self.receipts, hashes, MAX_RECEIPTS_PER_REPLY))
            case GetNodeData(hashes):
                return NodeData(_found(self.state_entries, hashes, MAX_NODE_DATA_PER_REPLY))
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
        known = {
            block_hash: self.bodies_rlp[self.numbers[block_hash]] for block_hash in hashes if block_hash in self.numbers
        }
        return BlockBodies(_found(known, known, MAX_BODIES_PER_REPLY))


def _found(known: Mapping[Key, bytes], keys: Iterable[Key], most: int) -> list[bytes]:
    """What is known of `keys`, within the limits of one reply."""
    found: list[bytes] = []
    size = 0
    for key in keys:
        value = known.get(key)
        if value is None:
            continue
        if len(found) == most or size >= SOFT_REPLY_BYTES:
            break
        found.append(value)
        size += len(value)
    return found
