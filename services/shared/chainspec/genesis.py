"""Block 0 and the fork schedule from a genesis file in geth's JSON format.

The state root is computed from the allocation (Yellow Paper, appendix D and section 4.1), so a file
defines its genesis hash by content alone.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.shared.chainspec.genesis_config import spec_from_config
from services.shared.chainspec.json_fields import GenesisInvalid, JsonFields, from_hex
from services.shared.chainspec.spec import INITIAL_BASE_FEE, ChainSpec
from services.shared.ethwire.hashing import EMPTY_LIST_HASH, EMPTY_TRIE_ROOT, keccak256
from services.shared.ethwire.headers import with_hash
from services.shared.ethwire.rlp_slices import encode_string, encode_uint, join_list
from services.shared.ethwire.roots import trie_root
from services.shared.ethwire.types import BlockHash, Header

__all__ = ["Genesis", "GenesisInvalid", "genesis_from_json", "load_genesis", "parse_genesis", "read_json"]

DEFAULT_GAS_LIMIT: Final = 4_712_388
"""What a gas limit of 0 in the file stands for (geth `GenesisGasLimit`)."""


@dataclass(frozen=True, slots=True)
class Genesis:
    """Block 0 of a network and its fork schedule. The allocation itself is not kept."""

    header: Header
    spec: ChainSpec


OnAccount = Callable[[int, int], None]
"""Told of the accounts that are done, and of all: a big allocation takes its time."""


def load_genesis(path: Path, on_account: OnAccount | None = None) -> Genesis:
    """Read a genesis file, plain or gzipped. Raises GenesisInvalid."""
    return genesis_from_json(str(path), read_json(str(path), _content(path)), on_account)


def load_spec(path: Path) -> ChainSpec:
    """The fork schedule of a genesis file. Raises GenesisInvalid, but leaves the accounts alone, which take time."""
    return _genesis(str(path), read_json(str(path), _content(path)), lambda _: EMPTY_TRIE_ROOT).spec


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise GenesisInvalid(str(path), "", None, f"cannot be read: {error.strerror}") from error


def parse_genesis(file: str, content: bytes) -> Genesis:
    """Like `load_genesis`, from bytes; `file` is what errors call it."""
    return genesis_from_json(file, read_json(file, content))


def read_json(file: str, content: bytes) -> object:
    """Parse JSON, plain or gzipped. Raises GenesisInvalid."""
    try:
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        parsed: object = json.loads(content)
    except (OSError, EOFError, zlib.error) as error:
        raise GenesisInvalid(file, "", None, f"is not a whole gzip file: {error}") from error
    except (ValueError, RecursionError) as error:
        raise GenesisInvalid(file, "", None, f"is not JSON: {error}") from error
    return parsed


def genesis_from_json(file: str, content: object, on_account: OnAccount | None = None) -> Genesis:
    """Build the genesis from parsed JSON; `file` is what errors call it."""
    return _genesis(file, content, lambda alloc: _state_root(alloc, on_account))


def _genesis(file: str, content: object, root_of: Callable[[JsonFields], bytes]) -> Genesis:
    fields = JsonFields(file, "", content)
    fields.require("gasLimit", "difficulty", "alloc")
    if fields.uint("number"):
        raise fields.fault("number", "must be 0: a chain starts at block 0")
    spec = spec_from_config(fields.section("config"))
    timestamp = fields.uint("timestamp")
    shanghai = fields.section("config").optional_uint("shanghaiTime")
    if spec.london_block == 0 and shanghai is not None and shanghai <= timestamp:
        raise fields.section("config").fault(
            "shanghaiTime", "must be later than the genesis: a chain that starts as proof-of-stake is not supported"
        )
    mix_key = "mixHash" if "mixHash" in fields else "mixDigest"
    header = Header(
        hash=BlockHash(b""),
        parent_hash=BlockHash(fields.fixed("parentHash", 32)),
        uncles_hash=EMPTY_LIST_HASH,
        coinbase=fields.fixed("coinbase", 20),
        state_root=root_of(fields.section("alloc")),
        transactions_root=EMPTY_TRIE_ROOT,
        receipts_root=EMPTY_TRIE_ROOT,
        bloom=bytes(256),
        difficulty=fields.uint("difficulty", bits=256),
        number=0,
        gas_limit=fields.uint("gasLimit") or DEFAULT_GAS_LIMIT,
        gas_used=fields.uint("gasUsed"),
        timestamp=timestamp,
        extra_data=fields.blob("extraData"),
        mix_hash=fields.fixed(mix_key, 32),
        nonce=fields.uint("nonce").to_bytes(8),
        base_fee=fields.uint("baseFeePerGas", bits=256, default=INITIAL_BASE_FEE) if spec.london_block == 0 else None,
        header_rlp=b"",
    )
    return Genesis(with_hash(header), spec)


def _state_root(alloc: JsonFields, on_account: OnAccount | None) -> bytes:
    """Root of the secure trie of all accounts: keys are the hashes of the addresses."""
    accounts: dict[bytes, bytes] = {}
    total = sum(1 for _ in alloc)
    for key in alloc:
        address = from_hex(key)
        if address is None or len(address) != 20:
            raise alloc.fault(key, "its key must be an address of 40 hex digits")
        address_hash = keccak256(address)
        if address_hash in accounts:
            raise alloc.fault(key, "its address is given twice")
        accounts[address_hash] = _account_rlp(alloc.section(key))
        if on_account is not None:
            on_account(len(accounts), total)
    return trie_root(accounts)


def _account_rlp(account: JsonFields) -> bytes:
    """An account that only has code needs no balance: besu's files leave it out."""
    code = account.blob("code")
    return join_list(
        [
            encode_uint(account.uint("nonce")),
            encode_uint(account.uint("balance", bits=256)),
            encode_string(_storage_root(account.section("storage"))),
            encode_string(keccak256(code)),
        ]
    )


def _storage_root(storage: JsonFields) -> bytes:
    """Root of the secure trie of an account's storage. A slot that holds zero does not exist."""
    slots: dict[bytes, bytes] = {}
    for key, value in storage.items():
        slot, content = from_hex(key), from_hex(value)
        if slot is None or len(slot) > 32:
            raise storage.fault(key, "its key must be at most 64 hex digits")
        if content is None or len(content) > 32:
            raise storage.fault(key, "must be at most 64 hex digits")
        number = int.from_bytes(content)
        slot_hash = keccak256(slot.rjust(32, b"\0"))
        if slot_hash in slots:
            raise storage.fault(key, "its slot is given twice")
        if number:
            slots[slot_hash] = encode_uint(number)
    return trie_root(slots)
