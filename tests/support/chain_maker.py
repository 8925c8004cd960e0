"""Makes chains with valid links, hashes, roots and bodies. They are not valid by the rules of any network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import accumulate

from services.shared.ethwire.hashing import EMPTY_LIST_HASH, EMPTY_TRIE_ROOT, keccak256
from services.shared.ethwire.headers import with_hash
from services.shared.ethwire.rlp_slices import encode_string, encode_uint, join_list
from services.shared.ethwire.roots import ordered_trie_root
from services.shared.ethwire.types import Block, BlockHash, Body, Header

EMPTY_BODY = Body(b"\xc2\xc0\xc0", EMPTY_TRIE_ROOT, EMPTY_LIST_HASH)
BROKEN_RULE = b"breaks a rule"
"""Extra-data of headers that the simulated importer refuses."""

_NO_BLOOM = bytes(256)
_ZERO_HASH = bytes(32)


@dataclass(frozen=True)
class MadeChain:
    """A chain from genesis on; index and number are the same."""

    headers: Sequence[Header]
    bodies: Sequence[Body]
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
        return MadeChain(self.headers[: head_number + 1], self.bodies[: head_number + 1])

    def extended(self, count: int, *, branch: int = 0, difficulty: int = 1000, empty_every: int = 5) -> MadeChain:
        """`count` more blocks. Chains that differ in `branch` share no block from here on.

        Every `empty_every`th block has no transactions; 1 leaves all of them empty.
        """
        headers, bodies = list(self.headers), list(self.bodies)
        for number in range(len(headers), len(headers) + count):
            body = EMPTY_BODY if number % empty_every == 0 else make_body(number, branch)
            headers.append(make_header(headers[-1], body, branch=branch, difficulty=difficulty))
            bodies.append(body)
        return MadeChain(headers, bodies)

    def broken_at(self, number: int) -> MadeChain:
        """The same length and links, but block `number` breaks a rule, and so differs from there on."""
        headers = list(self.headers[:number])
        for old, body in zip(self.headers[number:], self.bodies[number:], strict=True):
            extra_data = BROKEN_RULE if old.number == number else old.extra_data
            headers.append(make_header(headers[-1], body, extra_data=extra_data, difficulty=old.difficulty))
        return MadeChain(headers, self.bodies)


def make_body(number: int, branch: int) -> Body:
    """A body of one to three small transactions."""
    transactions = [
        join_list([encode_uint(number), encode_uint(branch), encode_uint(index), encode_string(b"transaction")])
        for index in range(1 + number % 3)
    ]
    return Body(join_list([join_list(transactions), b"\xc0"]), ordered_trie_root(transactions), EMPTY_LIST_HASH)


def make_header(
    parent: Header | None, body: Body, *, branch: int = 0, difficulty: int = 1000, extra_data: bytes = b""
) -> Header:
    """The child of `parent`, or a genesis header, for `body`."""
    number = 0 if parent is None else parent.number + 1
    return with_hash(
        Header(
            hash=BlockHash(_ZERO_HASH),
            parent_hash=BlockHash(_ZERO_HASH) if parent is None else parent.hash,
            uncles_hash=body.uncles_hash,
            coinbase=branch.to_bytes(20),
            state_root=keccak256(number.to_bytes(8)),
            transactions_root=body.transactions_root,
            receipts_root=EMPTY_TRIE_ROOT,
            bloom=_NO_BLOOM,
            difficulty=difficulty,
            number=number,
            gas_limit=5000,
            gas_used=0,
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
    return MadeChain([make_header(None, EMPTY_BODY)], [EMPTY_BODY])


@lru_cache(maxsize=8)
def made_chain(head_number: int, *, branch: int = 0, difficulty: int = 1000, empty_every: int = 5) -> MadeChain:
    """A chain from genesis to `head_number`; made once per test run."""
    return made_genesis().extended(head_number, branch=branch, difficulty=difficulty, empty_every=empty_every)
