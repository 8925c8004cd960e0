"""Builds states for tests: secure tries of accounts and of storage, and code (Yellow Paper, appendix D).

Everything is encoded by the `rlp` package, node by node as it is defined, so that it may judge our reader.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import rlp

from services.shared.ethwire.hashing import EMPTY_CODE_HASH, EMPTY_TRIE_ROOT, keccak256


class Account(NamedTuple):
    """What one account holds; storage by slot."""

    nonce: int = 0
    balance: int = 0
    storage: Mapping[bytes, int] = {}
    code: bytes = b""


@dataclass
class MadeState:
    """A root and every entry below it, by hash."""

    root: bytes = EMPTY_TRIE_ROOT
    entries: dict[bytes, bytes] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.entries)


def made_state(accounts: Mapping[bytes, Account]) -> MadeState:
    """The state of these accounts, by address."""
    state = MadeState()
    leaves = {}
    for address, account in accounts.items():
        slots = {slot: rlp.encode(rlp.sedes.big_endian_int.serialize(value)) for slot, value in account.storage.items()}
        storage_root = add_secure_trie(slots, state.entries)
        code_hash = keccak256(account.code)
        if code_hash != EMPTY_CODE_HASH:
            state.entries[code_hash] = account.code
        fields = (*(rlp.sedes.big_endian_int.serialize(n) for n in account[:2]), storage_root, code_hash)
        leaves[address] = rlp.encode(fields)
    state.root = add_secure_trie(leaves, state.entries)
    return state


def seeded_accounts(seed: int, count: int) -> dict[bytes, Account]:
    """Accounts as a chain has them: most hold a balance alone, some code that others have too, some storage."""
    rng = random.Random(seed)
    codes = [rng.randbytes(rng.randint(1, 600)) for _ in range(max(1, count // 40))]
    storages = [_seeded_storage(rng) for _ in range(max(1, count // 40))]
    accounts = {}
    for _ in range(count):
        is_contract = rng.random() < 0.2
        storage = rng.choice([rng.choice(storages), _seeded_storage(rng), {}]) if is_contract else {}
        code = rng.choice(codes) if is_contract else b""
        accounts[rng.randbytes(20)] = Account(rng.randrange(100), rng.getrandbits(70), storage, code)
    return accounts


def seeded_state(seed: int, count: int) -> MadeState:
    return made_state(seeded_accounts(seed, count))


def add_secure_trie(items: Mapping[bytes, bytes], entries: dict[bytes, bytes]) -> bytes:
    """Add a trie whose keys are the hashes of those given; returns its root."""
    return add_trie({keccak256(key): value for key, value in items.items()}, entries)


def add_trie(items: Mapping[bytes, bytes], entries: dict[bytes, bytes]) -> bytes:
    """Add the nodes of a trie to `entries`; returns its root."""
    if not items:
        return EMPTY_TRIE_ROOT
    encoded = rlp.encode(_node({key.hex(): value for key, value in items.items()}, entries))
    root = keccak256(encoded)
    entries[root] = encoded
    return root


_Node = list["_Node | bytes"]


def _node(items: Mapping[str, bytes], entries: dict[bytes, bytes]) -> _Node:
    """The node of all `items`, whose keys are the hex digits that are left of them."""
    if len(items) == 1:
        [(digits, value)] = items.items()
        return [_path(digits, is_leaf=True), value]
    shared = _shared_digits(list(items))
    if shared:
        below = {digits[len(shared) :]: value for digits, value in items.items()}
        return [_path(shared, is_leaf=False), _named(_node(below, entries), entries)]
    branch: _Node = []
    for digit in "0123456789abcdef":
        below = {digits[1:]: value for digits, value in items.items() if digits[:1] == digit}
        branch.append(_named(_node(below, entries), entries) if below else b"")
    return [*branch, items.get("", b"")]


def _named(node: _Node, entries: dict[bytes, bytes]) -> _Node | bytes:
    """How a parent names a node: the node itself if it is short, else its hash."""
    encoded = rlp.encode(node)
    if len(encoded) < 32:
        return node
    entries[keccak256(encoded)] = encoded
    return keccak256(encoded)


def _path(digits: str, *, is_leaf: bool) -> bytes:
    flag = 2 if is_leaf else 0
    return bytes.fromhex(f"{flag + 1:x}{digits}" if len(digits) % 2 else f"{flag:x}0{digits}")


def _shared_digits(keys: list[str]) -> str:
    first, last = min(keys), max(keys)
    length = 0
    while length < len(first) and first[length] == last[length]:
        length += 1
    return first[:length]


def _seeded_storage(rng: random.Random) -> dict[bytes, int]:
    count = rng.choice([1, 2, 5, 30])
    words = [rng.choice([1, rng.getrandbits(8) + 1, rng.getrandbits(256) + 1]) for _ in range(count)]
    return {at.to_bytes(32): word for at, word in enumerate(words)}
