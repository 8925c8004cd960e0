"""Blocks made for measurements: 100 transactions each, every root right, the same in every run."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from services.shared.chainspec.genesis import load_genesis
from services.shared.ethwire.bodies import body_roots, join_block
from services.shared.ethwire.hashing import EMPTY_TRIE_ROOT
from services.shared.ethwire.headers import with_hash
from services.shared.ethwire.rlp_slices import encode_string, encode_uint, join_list
from services.shared.ethwire.types import Block, BlockHash, Header
from services.sync_coordinator.core.chain_rules import ChainRules

NETWORK_ID: Final = 1337

TRANSACTIONS_PER_BLOCK: Final = 100

BLOCK_TIME_S: Final = 9

_GENESIS: Final = {
    "config": {"chainId": NETWORK_ID, "homesteadBlock": 0, "byzantiumBlock": 0},
    "difficulty": "0x20000",
    "gasLimit": "0x7a1200",
    "timestamp": "0x5c000000",
    "nonce": "0x0000000000000042",
    "extraData": "0x",
    "alloc": {},
}


def write_genesis(path: Path) -> Path:
    """The genesis file of the made chain, in geth's format."""
    path.write_text(json.dumps(_GENESIS))
    return path


@cache
def body(number: int) -> bytes:
    """The body of one block: plain transfers, of which every fourth has 68 bytes of data."""
    rng = random.Random(number)
    transactions = [_transaction(number, at, rng) for at in range(TRANSACTIONS_PER_BLOCK)]
    return join_list([join_list(transactions), b"\xc0"])


def _transaction(number: int, at: int, rng: random.Random) -> bytes:
    fields = [encode_uint(number), encode_uint(1 + rng.getrandbits(32)), encode_uint(21_000)]
    fields += [encode_string(rng.randbytes(20)), encode_uint(rng.getrandbits(60))]
    fields += [encode_string(rng.randbytes(68) if at % 4 == 0 else b""), encode_uint(2 * NETWORK_ID + 35 + at % 2)]
    fields += [encode_string(b"\x01" + rng.randbytes(31)), encode_string(b"\x01" + rng.randbytes(31))]
    return join_list(fields)


def chain(genesis: Path, length: int) -> Iterator[Block]:
    """Blocks 1 to `length` on that genesis, valid by its rules but for the seals."""
    loaded = load_genesis(genesis)
    rules, parent = ChainRules(loaded.spec), loaded.header
    for number in range(1, length + 1):
        body_rlp = body(number)
        header = _child(parent, body_rlp, rules)
        yield Block(header, body_rlp)
        parent = header


def write_dump(path: Path, genesis: Path, length: int) -> list[BlockHash]:
    """The chain as geth dumps one; the result is its hashes."""
    hashes = []
    with path.open("wb") as dump:
        for block in chain(genesis, length):
            dump.write(join_block(block.header.header_rlp, block.body_rlp))
            hashes.append(block.header.hash)
    return hashes


def _child(parent: Header, body_rlp: bytes, rules: ChainRules) -> Header:
    roots = body_roots(body_rlp)
    timestamp = parent.timestamp + BLOCK_TIME_S
    rng = random.Random(parent.number)
    unsealed = Header(
        hash=BlockHash(b""),
        parent_hash=parent.hash,
        uncles_hash=roots.uncles_hash,
        coinbase=rng.randbytes(20),
        state_root=rng.randbytes(32),
        transactions_root=roots.transactions_root,
        receipts_root=EMPTY_TRIE_ROOT,
        bloom=bytes(256),
        difficulty=rules.expected_difficulty(parent, timestamp),
        number=parent.number + 1,
        gas_limit=parent.gas_limit,
        gas_used=TRANSACTIONS_PER_BLOCK * 21_000,
        timestamp=timestamp,
        extra_data=b"made for a measurement",
        mix_hash=rng.randbytes(32),
        nonce=rng.randbytes(8),
        base_fee=None,
        header_rlp=b"",
    )
    return with_hash(unsealed)
