"""Ethereum mainnet's first 8,192 blocks, from the archive that comes with the project, as a peer serves them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from services.sync_coordinator.store.dumps import read_chain_file
from tests.support.scripted_chain import ScriptedChain

ERA1: Final = Path(__file__).parents[2] / "data" / "mainnet-00000-5ec1ffb8.era1"
NETWORK_ID: Final = 1
HEAD_NUMBER: Final = 8191
HEAD_HASH: Final = "0xa6860fefa339c963e1bb622526cc8dd4344eedd2a9b969e74de5cccc445fbed4"


@cache
def mainnet_chain() -> ScriptedChain:
    return ScriptedChain((block.header_rlp, block.body_rlp) for block in read_chain_file(ERA1))
