"""Ethereum mainnet's first 8,192 blocks, from the archive that comes with the project, as a peer serves them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from services.shared.chainspec.networks import network
from services.shared.ethwire.types import Block, BlockHash
from services.sync_coordinator.store.dumps import read_chain_file
from tests.support.scripted_chain import ScriptedChain
from tests.support.state_source import PIVOT_DISTANCE, genesis_balances
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
    """The same, with receipts, which are all empty, and the real state at the pivot of its head."""
    chain = mainnet_chain()
    ledger = Ledger(network("mainnet").genesis.spec, genesis_balances(ALLOC))
    receipts: dict[BlockHash, bytes] = {}
    for header, body_rlp in zip(chain.headers[1:], chain.bodies_rlp[1:], strict=True):
        receipts[header.hash] = ledger.apply(Block(header, body_rlp))
        if header.number == HEAD_NUMBER - PIVOT_DISTANCE:
            entries = ledger.state_after(header).entries
    pairs = zip((header.header_rlp for header in chain.headers), chain.bodies_rlp, strict=True)
    return ScriptedChain(pairs, receipts=receipts, state_entries=entries)
