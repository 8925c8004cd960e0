"""Ethereum mainnet's first blocks, which both sides of the interop tests hold."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from services.shared.ethwire.headers import decode_header
from services.shared.ethwire.messages import BlockBodies, BlockHeaders, GetBlockBodies, GetBlockHeaders
from services.shared.ethwire.rlp_slices import join_list, split_items, split_list
from services.shared.ethwire.types import Header

CHAIN_FILE: Final = Path(__file__).parents[1] / "vectors" / "interop" / "mainnet-0-256.rlp.gz"


@dataclass(frozen=True)
class RealChain:
    """Blocks by number, genesis first."""

    headers: tuple[Header, ...]
    bodies_rlp: tuple[bytes, ...]

    @property
    def head(self) -> Header:
        return self.headers[-1]

    @property
    def total_difficulty(self) -> int:
        return sum(header.difficulty for header in self.headers)

    def answer_headers(self, request: GetBlockHeaders) -> BlockHeaders:
        """A forward request by number, as an honest peer answers it."""
        assert isinstance(request.origin, int)
        assert not request.reverse
        wanted = self.headers[request.origin :: request.skip + 1][: request.amount]
        return BlockHeaders([header.header_rlp for header in wanted])

    def answer_bodies(self, request: GetBlockBodies) -> BlockBodies:
        numbers = {header.hash: header.number for header in self.headers}
        return BlockBodies([self.bodies_rlp[numbers[block_hash]] for block_hash in request.hashes])


@cache
def real_chain() -> RealChain:
    dump = gzip.decompress(CHAIN_FILE.read_bytes())
    blocks = [split_list(block) for block in split_items(dump, 0, len(dump))]
    return RealChain(
        tuple(decode_header(header_rlp) for header_rlp, _, _ in blocks),
        tuple(join_list([transactions, uncles]) for _, transactions, uncles in blocks),
    )
