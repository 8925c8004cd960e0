"""A chain of the small network with all that a fast sync fetches: bodies, receipts, and a state that every block names.

Nobody runs the transactions, so the state may be any; what a fast sync checks of it is that it is whole.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from typing import Final

from services.shared.ethwire.bodies import EMPTY_BODY_RLP, body_roots, receipt_totals
from services.shared.ethwire.headers import with_hash
from services.shared.ethwire.rlp_slices import encode_string, encode_uint, join_list
from services.shared.ethwire.types import Block, BlockHash, Header
from tests.support.ruled_chain import GENESIS, RULES
from tests.support.scripted_chain import ScriptedChain
from tests.support.state_trie import MadeState, seeded_state

GAS_PER_TRANSACTION: Final = 30_000


@dataclass(frozen=True)
class FastChain:
    """Blocks 1 to the head, the receipts of each, and the state after each."""

    blocks: tuple[Block, ...]
    receipts: dict[BlockHash, bytes]
    state: MadeState

    @property
    def head(self) -> Header:
        return self.blocks[-1].header

    def scripted(self) -> ScriptedChain:
        """As a peer serves it that went through a fast sync of its own."""
        pairs = [(GENESIS.header_rlp, EMPTY_BODY_RLP), *((b.header.header_rlp, b.body_rlp) for b in self.blocks)]
        return ScriptedChain(pairs, receipts=self.receipts, state_entries=self.state.entries)


@cache
def fast_chain(head_number: int, *, accounts: int = 500, seed: int = 1) -> FastChain:
    """Every third block is empty, the others have one or two transactions."""
    rng = random.Random(seed)
    state = seeded_state(seed, accounts)
    blocks: list[Block] = []
    receipts: dict[BlockHash, bytes] = {}
    parent = GENESIS
    for number in range(1, head_number + 1):
        block, receipts_rlp = _child(parent, number % 3, state.root, rng)
        blocks.append(block)
        receipts[block.header.hash] = receipts_rlp
        parent = block.header
    return FastChain(tuple(blocks), receipts, state)


def _child(parent: Header, transactions: int, state_root: bytes, rng: random.Random) -> tuple[Block, bytes]:
    fields = [join_list([encode_uint(parent.number), encode_string(rng.randbytes(80))]) for _ in range(transactions)]
    body = body_roots(join_list([join_list(fields), b"\xc0"]))
    receipts_rlp = join_list([_receipt(at + 1, rng) for at in range(transactions)])
    totals = receipt_totals(receipts_rlp)
    timestamp = parent.timestamp + 13
    header = parent._replace(
        parent_hash=parent.hash,
        state_root=state_root,
        transactions_root=body.transactions_root,
        receipts_root=totals.root,
        bloom=totals.bloom,
        gas_used=totals.gas_used,
        difficulty=RULES.expected_difficulty(parent, timestamp),
        number=parent.number + 1,
        timestamp=timestamp,
    )
    return Block(with_hash(header), body.body_rlp), receipts_rlp


def _receipt(index: int, rng: random.Random) -> bytes:
    """Status, cumulative gas, bloom, and one log with one topic."""
    bloom = bytearray(256)
    for _ in range(6):
        bloom[rng.randrange(256)] |= 1 << rng.randrange(8)
    log = join_list([encode_string(rng.randbytes(20)), join_list([encode_string(rng.randbytes(32))]), b"\x80"])
    gas = encode_uint(index * GAS_PER_TRANSACTION)
    return join_list([b"\x01", gas, encode_string(bytes(bloom)), join_list([log])])
