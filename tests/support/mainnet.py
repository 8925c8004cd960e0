"""Ethereum mainnet's first 8,192 blocks, from the archive that comes with the project, as a peer serves them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

from services.shared.chainspec.networks import network
from services.shared.ethwire.types import Block, BlockHash, Header
from services.sync_coordinator.store.dumps import read_chain_file
from tests.support.scripted_chain import ScriptedChain
from tests.support.state_source import PIVOT_DISTANCE, genesis_balances
from tests.support.state_trie import MadeState
from tests.support.transfer_ledger import Ledger

PROJECT: Final = Path(__file__).parents[2]
ERA1: Final = PROJECT / "data" / "mainnet-00000-5ec1ffb8.era1"
ALLOC: Final = PROJECT / "services" / "shared" / "chainspec" / "builtin" / "mainnet.alloc.json.gz"
NETWORK_ID: Final = 1
HEAD_NUMBER: Final = 8191
HEAD_HASH: Final = "0xa6860fefa339c963e1bb622526cc8dd4344eedd2a9b969e74de5cccc445fbed4"


@cache
def mainnet_chain() -> ScriptedChain:
    return ScriptedChain((block.header_rlp, block.body_rlp) for block in read_chain_file(ERA1))


@cache
def mainnet_with_state() -> ScriptedChain:
    """The same, with all that a fast sync asks for."""
    chain = mainnet_chain()
    return with_state(chain.headers, chain.bodies_rlp)


def with_state(headers: Sequence[Header], bodies_rlp: Sequence[bytes]) -> ScriptedChain:
    """Mainnet's first blocks with their receipts, all empty, and the real state at the pivot of their head."""
    ledger = Ledger(network("mainnet").genesis.spec, genesis_balances(ALLOC))
    receipts: dict[BlockHash, bytes] = {}
    state = MadeState()
    for header, body_rlp in zip(headers[1:], bodies_rlp[1:], strict=True):
        receipts[header.hash] = ledger.apply(Block(header, body_rlp))
        if header.number == headers[-1].number - PIVOT_DISTANCE:
            state = ledger.state_after(header)
    pairs = zip((header.header_rlp for header in headers), bodies_rlp, strict=True)
    return ScriptedChain(pairs, receipts=receipts, state_entries=state.entries)
