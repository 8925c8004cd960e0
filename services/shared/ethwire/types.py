"""The values that cross the wire and live in the chain store."""

from __future__ import annotations

from typing import NamedTuple, NewType

BlockHash = NewType("BlockHash", bytes)
"""32 bytes: Keccak-256 of a header's RLP."""

PeerId = NewType("PeerId", bytes)
"""64 bytes: the node id of an enode URL, an uncompressed secp256k1 public key without its 0x04."""

TransactionHash = NewType("TransactionHash", bytes)
"""32 bytes: Keccak-256 of a transaction in the form that was signed and broadcast (EIP-2718)."""


class Header(NamedTuple):
    """One block header. `header_rlp` is the exact bytes that were hashed into `hash`.

    A named tuple, because hundreds of thousands of them are made per minute of a sync.
    """

    hash: BlockHash
    parent_hash: BlockHash
    uncles_hash: bytes
    coinbase: bytes
    state_root: bytes
    transactions_root: bytes
    receipts_root: bytes
    bloom: bytes
    difficulty: int
    number: int
    gas_limit: int
    gas_used: int
    timestamp: int
    extra_data: bytes
    mix_hash: bytes
    nonce: bytes
    base_fee: int | None
    header_rlp: bytes


class Body(NamedTuple):
    """A block body: the exact RLP of [transactions, uncles] and the two roots computed from it."""

    body_rlp: bytes
    transactions_root: bytes
    uncles_hash: bytes


class BlockReceipts(NamedTuple):
    """One block's receipts: the exact RLP of their list, and what a header says of them, recomputed."""

    receipts_rlp: bytes
    receipts_root: bytes
    bloom: bytes
    """All their blooms joined."""
    gas_used: int
    """The cumulative gas of the last one."""


class StateEntry(NamedTuple):
    """A node of the account trie or of a storage trie, or the code of a contract; `hash` is its Keccak-256."""

    value: bytes
    hash: bytes


class Block(NamedTuple):
    """A whole block. Caller's duty: the body's roots are checked against the header where it enters."""

    header: Header
    body_rlp: bytes


class Announce(NamedTuple):
    """A claim that block `number` with `block_hash` exists (one entry of NewBlockHashes)."""

    block_hash: BlockHash
    number: int
