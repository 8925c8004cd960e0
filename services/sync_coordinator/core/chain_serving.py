"""Answers to what peers ask of our chain (devp2p `caps/eth.md`; limits of geth `eth/handler.go`).

Every answer is the RLP payload of the whole reply. Whatever is asked, an answer costs a bounded number
of reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar

from services.shared.ethwire.hashing import EMPTY_TRIE_ROOT
from services.shared.ethwire.limits import (
    ESTIMATED_HEADER_BYTES,
    MAX_BODIES_PER_REPLY,
    MAX_HEADERS_PER_REPLY,
    MAX_NODE_DATA_PER_REPLY,
    MAX_NON_CANONICAL_STEPS,
    MAX_RECEIPTS_PER_REPLY,
    SOFT_REPLY_BYTES,
)
from services.shared.ethwire.messages import GetBlockHeaders
from services.shared.ethwire.rlp_slices import encode_string, join_list
from services.shared.ethwire.types import BlockHash, Header

MAX_NUMBER: Final = 2**64 - 1
_MAX_HEADERS: Final = min(MAX_HEADERS_PER_REPLY, SOFT_REPLY_BYTES // ESTIMATED_HEADER_BYTES)
_EMPTY_LIST: Final = b"\xc0"

READ_AT_ONCE: Final = 16
"""Values read before the size of the reply is looked at: one question must not read 256 blocks' worth of receipts
for the few that fit."""

_Hash = TypeVar("_Hash", bound=bytes)


class ServedChain(Protocol):
    """The reads that serving needs; a chain store has them."""

    def header(self, block_hash: BlockHash) -> Header | None: ...

    def header_rlp(self, block_hash: BlockHash) -> bytes | None: ...

    def canonical_hash(self, number: int) -> BlockHash | None: ...

    def canonical_headers(self, start: int, amount: int, step: int = 1) -> list[bytes]: ...

    def bodies(self, hashes: Sequence[BlockHash]) -> list[bytes | None]: ...

    def receipts(self, hashes: Sequence[BlockHash]) -> list[bytes | None]: ...

    def state_entries(self, hashes: Sequence[bytes]) -> list[bytes | None]: ...


def answer_headers(chain: ServedChain, query: GetBlockHeaders) -> bytes:
    """Payload of BlockHeaders. By number: the canonical chain; by hash: that hash's own branch."""
    amount = min(query.amount, _MAX_HEADERS)
    if isinstance(query.origin, int):
        return join_list(_canonical(chain, query.origin, amount, query))
    origin = chain.header(query.origin)
    if origin is None or amount == 0:
        return _EMPTY_LIST
    if chain.canonical_hash(origin.number) == origin.hash:
        # Ancestors of a canonical block are canonical, and only canonical blocks are followed forwards.
        return join_list(_canonical(chain, origin.number, amount, query))
    return join_list(_off_canonical(chain, origin, amount, query))


def answer_bodies(chain: ServedChain, hashes: Sequence[BlockHash]) -> bytes:
    """Payload of BlockBodies: the known ones among `hashes`, in order."""
    return join_list(_up_to_soft_limit(chain.bodies, hashes[:MAX_BODIES_PER_REPLY]))


def answer_receipts(chain: ServedChain, hashes: Sequence[BlockHash]) -> bytes:
    """Payload of Receipts; a block whose receipts root is the empty root gives an empty list."""

    def read(hashes: Sequence[BlockHash]) -> list[bytes | None]:
        found = chain.receipts(hashes)
        for at, block_hash in enumerate(hashes):
            if found[at] is None:
                header = chain.header(block_hash)
                if header is not None and header.receipts_root == EMPTY_TRIE_ROOT:
                    found[at] = _EMPTY_LIST
        return found

    return join_list(_up_to_soft_limit(read, hashes[:MAX_RECEIPTS_PER_REPLY]))


def answer_node_data(chain: ServedChain, hashes: Sequence[bytes]) -> bytes:
    """Payload of NodeData: the state entries we hold among `hashes`, in order; full and light sync bring none."""
    entries = _up_to_soft_limit(chain.state_entries, hashes[:MAX_NODE_DATA_PER_REPLY])
    return join_list([encode_string(entry) for entry in entries])


def _up_to_soft_limit(read: Callable[[Sequence[_Hash]], list[bytes | None]], hashes: Sequence[_Hash]) -> list[bytes]:
    """The values that are there, up to the first with which the reply reaches the soft limit."""
    reply: list[bytes] = []
    size_bytes = 0
    for start in range(0, len(hashes), READ_AT_ONCE):
        for value in read(hashes[start : start + READ_AT_ONCE]):
            if value is not None:
                reply.append(value)
                size_bytes += len(value)
                if size_bytes >= SOFT_REPLY_BYTES:
                    return reply
    return reply


def _canonical(chain: ServedChain, first: int, amount: int, query: GetBlockHeaders) -> list[bytes]:
    step = query.skip + 1
    if not query.reverse:
        # A skip that overflows 64 bits ends the reply after the first header.
        amount = min(amount, 1 + (MAX_NUMBER - first) // step)
        return chain.canonical_headers(first, amount, step)
    headers: list[bytes] = []
    for number in range(first, max(-1, first - step * amount), -step):
        block_hash = chain.canonical_hash(number)
        header_rlp = chain.header_rlp(block_hash) if block_hash is not None else None
        if header_rlp is None:
            break
        headers.append(header_rlp)
    return headers


def _off_canonical(chain: ServedChain, origin: Header, amount: int, query: GetBlockHeaders) -> list[bytes]:
    """The side branch that ends in `origin`, backwards; forwards nothing follows it that we would vouch for."""
    headers = [origin.header_rlp]
    if not query.reverse:
        return headers
    steps_left = MAX_NON_CANONICAL_STEPS
    at = origin
    while len(headers) < amount:
        for walked in range(query.skip + 1):
            parent = chain.header(at.parent_hash) if at.number else None
            if parent is None or steps_left == 0:
                return headers
            at, steps_left = parent, steps_left - 1
            if chain.canonical_hash(at.number) == at.hash:
                number = at.number - (query.skip - walked)
                return headers + _canonical(chain, number, amount - len(headers), query) if number >= 0 else headers
        headers.append(at.header_rlp)
    return headers
