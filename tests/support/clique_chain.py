"""Makes clique chains that are sealed with real keys, named A, B, C, …"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from coincurve import PrivateKey

from services.shared.chainspec.genesis import Genesis, genesis_from_json
from services.shared.ethwire.bodies import EMPTY_BODY_RLP
from services.shared.ethwire.hashing import EMPTY_LIST_HASH, EMPTY_TRIE_ROOT, keccak256
from services.shared.ethwire.headers import with_hash
from services.shared.ethwire.types import Block, BlockHash, Header
from services.sync_coordinator.core.clique_seal import clique_seal_hash
from services.sync_coordinator.core.clique_shape import (
    ADD_VOTE,
    DROP_VOTE,
    NO_ADDRESS,
    NO_MIX_HASH,
    SIGNATURE_BYTES,
    VANITY_BYTES,
)
from services.sync_coordinator.core.clique_snapshot import SignerSnapshot, genesis_snapshot

NETWORK_ID: Final = 1338
GAS_LIMIT: Final = 8_000_000
START: Final = 1_500_000_000


@cache
def key_of(name: str) -> PrivateKey:
    return PrivateKey(keccak256(name.encode()))


@cache
def address_of(name: str) -> bytes:
    """Of the key with this name; the empty name stands for no address."""
    return keccak256(key_of(name).public_key.format(compressed=False)[1:])[-20:] if name else NO_ADDRESS


def genesis_content(signers: Iterable[str], *, epoch: int = 30_000, period: int = 1) -> Mapping[str, object]:
    """A genesis file in geth's format."""
    listed = b"".join(sorted(map(address_of, signers)))
    return {
        "config": {
            "chainId": NETWORK_ID,
            "homesteadBlock": 0,
            "eip150Block": 0,
            "eip155Block": 0,
            "eip158Block": 0,
            "byzantiumBlock": 0,
            "clique": {"period": period, "epoch": epoch},
        },
        "difficulty": "0x1",
        "gasLimit": hex(GAS_LIMIT),
        "timestamp": hex(START),
        "extraData": "0x" + (bytes(VANITY_BYTES) + listed + bytes(SIGNATURE_BYTES)).hex(),
        "alloc": {},
    }


def clique_genesis(signers: Iterable[str], *, epoch: int = 30_000) -> Genesis:
    return genesis_from_json("genesis.json", genesis_content(signers, epoch=epoch))


def write_clique_genesis(path: Path, signers: Iterable[str], *, epoch: int = 30_000) -> Path:
    path.write_text(json.dumps(genesis_content(signers, epoch=epoch)))
    return path


def sealed(header: Header, name: str) -> Header:
    """`header` with the signature of this key in place of the one it has."""
    signature = key_of(name).sign_recoverable(clique_seal_hash(header), hasher=None)
    return with_hash(header._replace(extra_data=header.extra_data[:-SIGNATURE_BYTES] + signature))


def child_of(
    parent: Header,
    signer: str,
    *,
    about: str = "",
    add: bool = False,
    difficulty: int = 1,
    listed: Sequence[bytes] = (),
    seconds: int = 1,
    branch: int = 0,
) -> Header:
    """A sealed empty header on top of `parent`. Branches differ in their vanity."""
    header = Header(
        hash=BlockHash(bytes(32)),
        parent_hash=parent.hash,
        uncles_hash=EMPTY_LIST_HASH,
        coinbase=address_of(about),
        state_root=EMPTY_TRIE_ROOT,
        transactions_root=EMPTY_TRIE_ROOT,
        receipts_root=EMPTY_TRIE_ROOT,
        bloom=bytes(256),
        difficulty=difficulty,
        number=parent.number + 1,
        gas_limit=GAS_LIMIT,
        gas_used=0,
        timestamp=parent.timestamp + seconds,
        extra_data=branch.to_bytes(VANITY_BYTES) + b"".join(listed) + bytes(SIGNATURE_BYTES),
        mix_hash=NO_MIX_HASH,
        nonce=ADD_VOTE if add else DROP_VOTE,
        base_fee=None,
        header_rlp=b"",
    )
    return sealed(header, signer)


class CliqueMaker:
    """Grows one branch by the rules, and knows the snapshot at its end."""

    def __init__(self, genesis: Genesis) -> None:
        self.epoch = genesis.spec.clique_epoch_blocks
        self.headers = [genesis.header]
        self.snapshot: SignerSnapshot = genesis_snapshot(genesis.header)

    def forked(self, number: int, snapshot: SignerSnapshot) -> CliqueMaker:
        """Another branch from block `number` on, whose snapshot is given."""
        other = object.__new__(CliqueMaker)
        other.epoch, other.headers, other.snapshot = self.epoch, self.headers[: number + 1], snapshot
        return other

    def grow(self, signer: str, about: str = "", *, add: bool = False, branch: int = 0) -> Header:
        """The next block, right in all but perhaps its signer. Raises RuleBroken."""
        parent, snapshot = self.headers[-1], self.snapshot
        is_checkpoint = (parent.number + 1) % self.epoch == 0
        header = child_of(
            parent,
            signer,
            about="" if is_checkpoint else about,
            add=add and not is_checkpoint,
            difficulty=snapshot.difficulty_of(address_of(signer)) if snapshot.signers else 1,
            listed=snapshot.signers if is_checkpoint else (),
            branch=branch,
        )
        self.snapshot = snapshot.apply(header, address_of(signer), self.epoch)
        self.headers.append(header)
        return header

    def may_sign(self, names: Iterable[str]) -> list[str]:
        """Who of these may seal the next block."""
        barred = self.snapshot.may_not_sign()
        return [name for name in names if address_of(name) in self.snapshot.signers and address_of(name) not in barred]

    def blocks(self) -> list[Block]:
        """All but the genesis, with empty bodies."""
        return [Block(header, EMPTY_BODY_RLP) for header in self.headers[1:]]


def taking_turns(genesis: Genesis, names: Sequence[str], count: int, *, branch: int = 0) -> CliqueMaker:
    """`count` blocks, each by the first of `names` that may, counted from the one before."""
    maker = CliqueMaker(genesis)
    extend_in_turns(maker, names, count, branch=branch)
    return maker


def extend_in_turns(maker: CliqueMaker, names: Sequence[str], count: int, *, branch: int = 0) -> None:
    for number in range(maker.headers[-1].number, maker.headers[-1].number + count):
        start = number % len(names)
        maker.grow(maker.may_sign([*names[start:], *names[:start]])[0], branch=branch)
