"""Chains of the small network with receipts and states, as a peer that executes blocks has them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from services.shared.ethwire.bodies import EMPTY_BODY_RLP
from services.shared.ethwire.headers import with_hash
from services.shared.ethwire.types import Block, BlockReceipts, Header
from tests.support.chain_maker import BLOCKS_PER_STATE, EMPTY_RECEIPTS, make_receipts, state_at
from tests.support.ruled_chain import GENESIS, ruled_block
from tests.support.scripted_chain import ScriptedChain


class ExecutedBlock(NamedTuple):
    """A block and its receipts; its state is that of `state_at`."""

    block: Block
    receipts: BlockReceipts


@lru_cache(maxsize=4)
def executed_blocks(head_number: int) -> tuple[ExecutedBlock, ...]:
    """Blocks 1 to `head_number`, valid by the rules."""
    blocks: list[ExecutedBlock] = []
    parent = GENESIS
    for number in range(1, head_number + 1):
        made = ruled_block(parent)
        has_transactions = number % 3 > 0
        receipts = make_receipts(number, 0) if has_transactions else EMPTY_RECEIPTS
        parent = with_hash(_executed(made.header, receipts))
        blocks.append(ExecutedBlock(Block(parent, made.body_rlp), receipts))
    return tuple(blocks)


class StatefulChain(ScriptedChain):
    """What a peer with these blocks serves: their receipts, and the states of all of them."""

    def __init__(self, blocks: Sequence[ExecutedBlock]) -> None:
        pairs = [(each.block.header.header_rlp, each.block.body_rlp) for each in blocks]
        states = [state_at(number).entries for number in range(0, len(blocks) + 1, BLOCKS_PER_STATE)]
        super().__init__(
            [(GENESIS.header_rlp, EMPTY_BODY_RLP), *pairs],
            receipts={each.block.header.hash: each.receipts.receipts_rlp for each in blocks},
            state_entries={entry_hash: value for state in states for entry_hash, value in state.items()},
        )


def _executed(header: Header, receipts: BlockReceipts) -> Header:
    return header._replace(
        state_root=state_at(header.number).root,
        receipts_root=receipts.receipts_root,
        bloom=receipts.bloom,
        gas_used=receipts.gas_used,
    )
