"""Makes chains with valid links, hashes, roots and bodies. They are not valid by the rules of any network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from itertools import accumulate
from typing import Any

from services.shared.ethwire.hashing import EMPTY_LIST_HASH, EMPTY_TRIE_ROOT
from services.shared.ethwire.headers import with_hash
from services.shared.ethwire.rlp_slices import encode_string, encode_uint, join_list
from services.shared.ethwire.roots import ordered_trie_root
from services.shared.ethwire.types import Block, BlockHash, BlockReceipts, Body, Header
from tests.support.state_trie import Account, MadeState, made_state, seeded_accounts

EMPTY_BODY = Body(b"\xc2\xc0\xc0", EMPTY_TRIE_ROOT, EMPTY_LIST_HASH)
EMPTY_RECEIPTS = BlockReceipts(b"\xc0", EMPTY_TRIE_ROOT, bytes(256), 0)
GAS_PER_TRANSACTION = 21_000
BLOCKS_PER_STATE = 8
"""Only every so many blocks there is another state: building one takes a millisecond."""

BROKEN_RULE = b"breaks a rule"
"""Extra-data of headers that the simulated importer refuses."""

_ZERO_HASH = bytes(32)


@dataclass(frozen=True)
class MadeChain:
    """A chain from genesis on; index and number are the same."""

    headers: Sequence[Header]
    bodies: Sequence[Body]
    receipts: Sequence[BlockReceipts]
    numbers: dict[BlockHash, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "numbers", {header.hash: header.number for header in self.headers})

    @property
    def head(self) -> Header:
        return self.headers[-1]

    @cached_property
    def total_difficulties(self) -> list[int]:
        return list(accumulate(header.difficulty for header in self.headers))

    @property
    def total_difficulty(self) -> int:
        return self.total_difficulties[-1]

    def block(self, number: int) -> Block:
        return Block(self.headers[number], self.bodies[number].body_rlp)

    def shortened(self, head_number: int) -> MadeChain:
        """The same chain up to `head_number`."""
        end = head_number + 1
        return MadeChain(self.headers[:end], self.bodies[:end], self.receipts[:end])

    def extended(self, count: int, *, branch: int = 0, difficulty: int = 1000, empty_every: int = 5) -> MadeChain:
        """`count` more blocks. Chains that differ in `branch` share no block from here on.

        Every `empty_every`th block has no transactions; 1 leaves all of them empty.
        """
        headers, bodies, receipts = list(self.headers), list(self.bodies), list(self.receipts)
        for number in range(len(headers), len(headers) + count):
            body = EMPTY_BODY if number % empty_every == 0 else make_body(number, branch)
            receipts.append(EMPTY_RECEIPTS if body is EMPTY_BODY else make_receipts(number, branch))
            headers.append(make_header(headers[-1], body, receipts[-1], branch=branch, difficulty=difficulty))
            bodies.append(body)
        return MadeChain(headers, bodies, receipts)

    def broken_at(self, number: int) -> MadeChain:
        """The same length and links, but block `number` breaks a rule, and so differs from there on."""
        return self.changed_at(number, extra_data=BROKEN_RULE)

    def changed_at(self, number: int, **fields: Any) -> MadeChain:
        """The same length and contents, but the header of block `number` says something else."""
        headers = list(self.headers[:number])
        for old in self.headers[number:]:
            changed = old._replace(parent_hash=headers[-1].hash, **(fields if old.number == number else {}))
            headers.append(with_hash(changed))
        return MadeChain(headers, self.bodies, self.receipts)


def make_body(number: int, branch: int) -> Body:
    """A body of one to three small transactions."""
    transactions = [
        join_list([encode_uint(number), encode_uint(branch), encode_uint(index), encode_string(b"transaction")])
        for index in range(1 + number % 3)
    ]
    return Body(join_list([join_list(transactions), b"\xc0"]), ordered_trie_root(transactions), EMPTY_LIST_HASH)


def make_receipts(number: int, branch: int) -> BlockReceipts:
    """A receipt for each transaction of `make_body`."""
    receipts = []
    joined_bloom = 0
    for index in range(1 + number % 3):
        bloom = 1 << (number * 7 + branch * 3 + index) % 2048
        joined_bloom |= bloom
        fields = [encode_uint(1), encode_uint(GAS_PER_TRANSACTION * (index + 1)), encode_string(bloom.to_bytes(256))]
        receipts.append(join_list([*fields, b"\xc0"]))
    gas_used = GAS_PER_TRANSACTION * len(receipts)
    return BlockReceipts(join_list(receipts), ordered_trie_root(receipts), joined_bloom.to_bytes(256), gas_used)


@cache
def state_at(number: int) -> MadeState:
    """The state after a block, the same on every branch: one account changes every few blocks."""
    period = number // BLOCKS_PER_STATE
    accounts = dict(_accounts())
    for changed in range(max(0, period - len(accounts)) + 1, period + 1):
        address = list(accounts)[changed % len(accounts)]
        accounts[address] = accounts[address]._replace(balance=changed)
    return made_state(accounts) if number % BLOCKS_PER_STATE == 0 else state_at(period * BLOCKS_PER_STATE)


@lru_cache(maxsize=1)
def _accounts() -> dict[bytes, Account]:
    return seeded_accounts(7, 24)


def make_header(
    parent: Header | None,
    body: Body,
    receipts: BlockReceipts = EMPTY_RECEIPTS,
    *,
    branch: int = 0,
    difficulty: int = 1000,
    extra_data: bytes = b"",
) -> Header:
    """The child of `parent`, or a genesis header, for `body`."""
    number = 0 if parent is None else parent.number + 1
    return with_hash(
        Header(
            hash=BlockHash(_ZERO_HASH),
            parent_hash=BlockHash(_ZERO_HASH) if parent is None else parent.hash,
            uncles_hash=body.uncles_hash,
            coinbase=branch.to_bytes(20),
            state_root=state_at(number).root,
            transactions_root=body.transactions_root,
            receipts_root=receipts.receipts_root,
            bloom=receipts.bloom,
            difficulty=difficulty,
            number=number,
            gas_limit=5000,
            gas_used=receipts.gas_used,
            timestamp=number * 13,
            extra_data=extra_data,
            mix_hash=_ZERO_HASH,
            nonce=bytes(8),
            base_fee=None,
            header_rlp=b"",
        )
    )


@lru_cache(maxsize=1)
def made_genesis() -> MadeChain:
    """The chain all others begin with."""
    return MadeChain([make_header(None, EMPTY_BODY)], [EMPTY_BODY], [EMPTY_RECEIPTS])


@lru_cache(maxsize=8)
def made_chain(head_number: int, *, branch: int = 0, difficulty: int = 1000, empty_every: int = 5) -> MadeChain:
    """A chain from genesis to `head_number`; made once per test run."""
    return made_genesis().extended(head_number, branch=branch, difficulty=difficulty, empty_every=empty_every)
