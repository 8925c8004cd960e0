"""A private ethash network whose blocks are made by `ruled_chain`: its genesis file, and peers' chains on it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

from services.shared.ethwire.bodies import EMPTY_BODY_RLP
from services.shared.ethwire.types import Block
from tests.support.ruled_chain import GENESIS, ruled_block, ruled_chain
from tests.support.scripted_chain import ScriptedChain

NETWORK_ID: Final = 1337


def write_genesis(path: Path, config: Mapping[str, object] = {}) -> Path:
    """The network's genesis file in geth's format; `config` adds forks that do not touch the first blocks."""
    content = {
        "config": {"chainId": NETWORK_ID, "homesteadBlock": 0, "byzantiumBlock": 0, **config},
        "difficulty": hex(GENESIS.difficulty),
        "gasLimit": hex(GENESIS.gas_limit),
        "timestamp": hex(GENESIS.timestamp),
        "nonce": "0x" + GENESIS.nonce.hex(),
        "extraData": "0x",
        "alloc": {},
    }
    path.write_text(json.dumps(content))
    return path


@lru_cache(maxsize=8)
def chain_blocks(head_number: int, *, fork_at: int | None = None) -> tuple[Block, ...]:
    """Blocks 1 to `head_number`; from `fork_at` on another branch of the same weight."""
    if fork_at is None:
        return tuple(ruled_chain(GENESIS, head_number))
    below = chain_blocks(fork_at - 1)
    parent = below[-1].header if below else GENESIS
    return (*below, *ruled_chain(parent, head_number - fork_at + 1, branch=1))


def peer_chain(blocks: Iterable[Block]) -> ScriptedChain:
    """What a peer that has these blocks serves, genesis included."""
    pairs = [(GENESIS.header_rlp, EMPTY_BODY_RLP), *((block.header.header_rlp, block.body_rlp) for block in blocks)]
    return ScriptedChain(pairs)


def next_block(blocks: Iterable[Block], *, branch: int = 0) -> Block:
    """A child of the last of `blocks`."""
    return ruled_block(list(blocks)[-1].header, branch=branch)
