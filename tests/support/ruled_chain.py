"""Makes blocks that are valid by the rules of a small ethash network, seals aside."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from services.shared.chainspec.spec import ChainSpec
from services.shared.ethwire.bodies import body_roots
from services.shared.ethwire.hashing import EMPTY_LIST_HASH, EMPTY_TRIE_ROOT
from services.shared.ethwire.headers import with_hash
from services.shared.ethwire.rlp_slices import encode_string, encode_uint, join_list
from services.shared.ethwire.types import Block, BlockHash, Header
from services.sync_coordinator.core.chain_rules import ChainRules
from services.sync_coordinator.core.fork_choice import SealState
from services.sync_coordinator.core.rule_broken import broken
from services.sync_coordinator.edges.clique_seals import SealHistory

SPEC = ChainSpec(chain_id=1337, homestead_block=0, byzantium_block=0)
RULES = ChainRules(SPEC)

GENESIS = with_hash(
    Header(
        hash=BlockHash(bytes(32)),
        parent_hash=BlockHash(bytes(32)),
        uncles_hash=EMPTY_LIST_HASH,
        coinbase=bytes(20),
        state_root=EMPTY_TRIE_ROOT,
        transactions_root=EMPTY_TRIE_ROOT,
        receipts_root=EMPTY_TRIE_ROOT,
        bloom=bytes(256),
        difficulty=131072,
        number=0,
        gas_limit=8_000_000,
        gas_used=0,
        timestamp=0,
        extra_data=b"",
        mix_hash=bytes(32),
        nonce=bytes(8),
        base_fee=None,
        header_rlp=b"",
    )
)


def ruled_block(parent: Header, *, seconds: int = 13, branch: int = 0, uncles: Sequence[Header] = ()) -> Block:
    """A child of `parent`. More `seconds` make it lighter; another `branch` makes it another block."""
    number = parent.number + 1
    transaction = join_list([encode_uint(number), encode_uint(branch), encode_string(b"a transaction")])
    uncles_rlp = join_list([uncle.header_rlp for uncle in uncles])
    body = body_roots(join_list([join_list([transaction] * (number % 3)), uncles_rlp]))
    timestamp = parent.timestamp + seconds
    header = parent._replace(
        parent_hash=parent.hash,
        uncles_hash=body.uncles_hash,
        transactions_root=body.transactions_root,
        coinbase=branch.to_bytes(20),
        difficulty=RULES.expected_difficulty(parent, timestamp),
        number=number,
        timestamp=timestamp,
    )
    return Block(with_hash(header), body.body_rlp)


def ruled_chain(parent: Header, count: int, *, seconds: int = 13, branch: int = 0) -> list[Block]:
    """`count` blocks on top of `parent`."""
    blocks: list[Block] = []
    for _ in range(count):
        blocks.append(ruled_block(blocks[-1].header if blocks else parent, seconds=seconds, branch=branch))
    return blocks


class ListedSeals:
    """Refuses listed headers like the real check: the lowest number first, one at a time."""

    def __init__(self, bad: Collection[BlockHash] = ()) -> None:
        self.bad = bad
        self.stands_alone = True
        self.checked: list[list[Header]] = []
        self.prepared: list[int] = []

    def read_from(self, history: SealHistory) -> None:
        """Each seal stands for itself."""

    def prepare(self, number: int) -> None:
        self.prepared.append(number)

    def to_store(self, headers: Sequence[Header]) -> Sequence[SealState]:
        return ()

    async def check(self, headers: Sequence[Header]) -> None:
        self.checked.append(list(headers))
        await asyncio.sleep(0)
        for header in sorted(headers, key=lambda header: header.number):
            if header.hash in self.bad:
                raise broken(header, "seal", "is listed as bad")
