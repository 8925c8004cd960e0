"""The eth messages as values (devp2p `caps/eth.md`, versions 62 and 63).

Chain contents stay encoded: a header, body, transaction or receipt list is the exact bytes the peer
sent, so that hashes can be checked and nothing is built that is not needed.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from services.shared.ethwire.types import Announce, BlockHash


class MessageCode(enum.IntEnum):
    """Offsets of the eth messages from the first code of the capability."""

    STATUS = 0x00
    NEW_BLOCK_HASHES = 0x01
    TRANSACTIONS = 0x02
    GET_BLOCK_HEADERS = 0x03
    BLOCK_HEADERS = 0x04
    GET_BLOCK_BODIES = 0x05
    BLOCK_BODIES = 0x06
    NEW_BLOCK = 0x07
    GET_NODE_DATA = 0x0D
    NODE_DATA = 0x0E
    GET_RECEIPTS = 0x0F
    RECEIPTS = 0x10


class Status(NamedTuple):
    """What both sides say first: which chain they are on and how far."""

    protocol_version: int
    network_id: int
    total_difficulty: int
    head_hash: BlockHash
    genesis_hash: BlockHash


class NewBlockHashes(NamedTuple):
    announces: list[Announce]


class Transactions(NamedTuple):
    """Each item is one encoded transaction: a list, or the string of a typed one (EIP-2718)."""

    transactions_rlp: list[bytes]


class GetBlockHeaders(NamedTuple):
    """Headers from `origin` on, `skip` left out between two, towards genesis when `reverse`."""

    origin: BlockHash | int
    amount: int
    skip: int
    reverse: bool


class BlockHeaders(NamedTuple):
    headers_rlp: list[bytes]


class GetBlockBodies(NamedTuple):
    hashes: list[BlockHash]


class BlockBodies(NamedTuple):
    """Each item is the RLP of one [transactions, uncles]."""

    bodies_rlp: list[bytes]


class NewBlock(NamedTuple):
    """`total_difficulty` includes the block's own difficulty."""

    header_rlp: bytes
    body_rlp: bytes
    total_difficulty: int


class GetNodeData(NamedTuple):
    hashes: list[bytes]


class NodeData(NamedTuple):
    values: list[bytes]


class GetReceipts(NamedTuple):
    hashes: list[BlockHash]


class Receipts(NamedTuple):
    """Each item is the RLP of one block's list of receipts."""

    receipts_rlp: list[bytes]


EthMessage = (
    Status
    | NewBlockHashes
    | Transactions
    | GetBlockHeaders
    | BlockHeaders
    | GetBlockBodies
    | BlockBodies
    | NewBlock
    | GetNodeData
    | NodeData
    | GetReceipts
    | Receipts
)
