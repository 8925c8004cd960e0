"""Blocks of the small network with given transactions."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from services.shared.ethwire.bodies import EMPTY_BODY_RLP, body_roots
from services.shared.ethwire.headers import with_hash
from services.shared.ethwire.rlp_slices import join_list
from services.shared.ethwire.types import Block, Header
from tests.support.ruled_chain import GENESIS, RULES

FORKS: Final = {"eip155Block": 0}
"""Of the genesis file: transactions are signed for the network."""


def block_with(parent: Header, transactions: Sequence[bytes] = (), *, seconds: int = 13, branch: int = 0) -> Block:
    """A child of `parent`. More `seconds` make it lighter; another `branch` makes it another block."""
    body = body_roots(join_list([join_list(list(transactions)), join_list([])]))
    timestamp = parent.timestamp + seconds
    header = parent._replace(
        parent_hash=parent.hash,
        uncles_hash=body.uncles_hash,
        transactions_root=body.transactions_root,
        coinbase=branch.to_bytes(20),
        difficulty=RULES.expected_difficulty(parent, timestamp),
        number=parent.number + 1,
        timestamp=timestamp,
    )
    return Block(with_hash(header), body.body_rlp)


def write_dump(path: Path, blocks: Iterable[Block]) -> Path:
    """A compressed dump of the chain, genesis included."""
    pairs = [(GENESIS.header_rlp, EMPTY_BODY_RLP), *((block.header.header_rlp, block.body_rlp) for block in blocks)]
    path.write_bytes(gzip.compress(b"".join(join_list([header, body[1:]]) for header, body in pairs)))
    return path
