"""A transaction as its signer made it: legacy (Yellow Paper, section 4.3), EIP-2930 and EIP-1559.

Read from the exact bytes, of which hash and signing hash are made; nothing is encoded again.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple, NewType

from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.rlp_slices import (
    encode_length,
    encode_string,
    encode_uint,
    list_span,
    split_items,
    string_payload,
    uint_payload,
    whole_list,
)
from services.shared.ethwire.types import TransactionHash

Address = NewType("Address", bytes)
"""20 bytes: of an account."""

ADDRESS_BYTES: Final = 20
ACCESS_KEY_BYTES: Final = 32
NO_PARITY: Final = 2
"""In place of the parity of y where a legacy signature's v means nothing."""

MAX_ACCESS_LIST_ITEMS: Final = 4096
"""More do not fit into a transaction of legal size."""


class Kind(enum.IntEnum):
    """By EIP-2718 type; legacy ones have none."""

    LEGACY = 0
    ACCESS_LIST = 1
    """EIP-2930."""
    DYNAMIC_FEE = 2
    """EIP-1559."""


class Signature(NamedTuple):
    """What the sender is recovered from. `y_odd` is anything but 0 or 1 where the signer wrote nonsense."""

    signed_hash: bytes
    r: int
    s: int
    y_odd: int


class Transaction(NamedTuple):
    """What the pool needs to know of one. `wire` is how it stands in a Transactions message or a body."""

    hash: TransactionHash
    wire: bytes
    kind: Kind
    nonce: int
    fee_cap: int
    """Wei per gas that it pays at most; the gas price of legacy ones."""
    tip_cap: int
    """Of that, what a miner gets at most."""
    gas_limit: int
    is_creation: bool
    data: bytes
    access_addresses: int
    access_keys: int
    chain_id: int | None
    """None: valid on every chain (before EIP-155)."""
    signature: Signature

    @property
    def size_bytes(self) -> int:
        return len(self.wire)


def wire_of(raw: bytes) -> bytes:
    """From the form that RPCs and signers use (EIP-2718) to the one of messages and bodies."""
    return raw if raw[:1] >= b"\xc0" else encode_string(raw)


def raw_of(wire: bytes) -> bytes:
    """The way back of `wire_of`."""
    return wire if wire[:1] >= b"\xc0" else string_payload(wire)


def decode_transaction(wire: bytes) -> Transaction:
    """Raises MalformedRlp for what is no transaction, or of a type that is not known."""
    if wire[:1] >= b"\xc0":
        return _decode_legacy(wire)
    raw = string_payload(wire)
    match raw[:1]:
        case b"\x01":
            return _decode_typed(wire, raw, Kind.ACCESS_LIST)
        case b"\x02":
            return _decode_typed(wire, raw, Kind.DYNAMIC_FEE)
        case b"":
            raise MalformedRlp("a transaction is nil")
        case other:
            raise MalformedRlp(f"transaction type {other[0]} is not known, legacy, 1 and 2 are")


def _decode_legacy(wire: bytes) -> Transaction:
    start, end = whole_list(wire)
    fields = split_items(wire, start, end, most=9)
    if len(fields) != 9:
        raise MalformedRlp(f"a transaction has {len(fields)} fields, 9 are needed")
    price = uint_payload(fields[1])
    v, r, s = uint_payload(fields[6]), uint_payload(fields[7]), uint_payload(fields[8])
    content = wire[start : end - sum(map(len, fields[6:]))]
    chain_id, y_odd = None, NO_PARITY
    if v in (27, 28):
        y_odd = v - 27
    elif v >= 35:
        # EIP-155: the chain id is signed too.
        chain_id, y_odd = (v - 35) // 2, (v - 35) % 2
        content += encode_uint(chain_id) + b"\x80\x80"
    signed_hash = keccak256(encode_length(len(content), 0xC0) + content)
    return Transaction(
        hash=TransactionHash(keccak256(wire)),
        wire=wire,
        kind=Kind.LEGACY,
        nonce=uint_payload(fields[0], max_bytes=8),
        fee_cap=price,
        tip_cap=price,
        gas_limit=uint_payload(fields[2], max_bytes=8),
        is_creation=_is_creation(fields[3]),
        data=_value_and_data(fields[4], fields[5]),
        access_addresses=0,
        access_keys=0,
        chain_id=chain_id,
        signature=Signature(signed_hash, r, s, y_odd),
    )


def _decode_typed(wire: bytes, raw: bytes, kind: Kind) -> Transaction:
    """[chainId, nonce, (tip cap,) fee cap, gas limit, to, value, data, access list, y parity, r, s]."""
    start, end = list_span(raw, 1, len(raw))
    if end != len(raw):
        raise MalformedRlp(f"{len(raw) - end} bytes follow the transaction")
    fields = split_items(raw, start, end, most=12)
    wanted = 12 if kind is Kind.DYNAMIC_FEE else 11
    if len(fields) != wanted:
        raise MalformedRlp(f"a transaction of type {kind} has {len(fields)} fields, {wanted} are needed")
    tip_cap, fee_cap = uint_payload(fields[2]), uint_payload(fields[wanted - 9])
    gas_limit, recipient, value, call_data, access_list, y_odd, r, s = fields[wanted - 8 :]
    content = raw[start : end - len(y_odd) - len(r) - len(s)]
    addresses, keys = _access_list_size(access_list)
    return Transaction(
        hash=TransactionHash(keccak256(raw)),
        wire=wire,
        kind=kind,
        nonce=uint_payload(fields[1], max_bytes=8),
        fee_cap=fee_cap,
        tip_cap=tip_cap,
        gas_limit=uint_payload(gas_limit, max_bytes=8),
        is_creation=_is_creation(recipient),
        data=_value_and_data(value, call_data),
        access_addresses=addresses,
        access_keys=keys,
        chain_id=uint_payload(fields[0]),
        signature=Signature(
            keccak256(raw[:1] + encode_length(len(content), 0xC0) + content),
            uint_payload(r),
            uint_payload(s),
            uint_payload(y_odd),
        ),
    )


def _is_creation(field: bytes) -> bool:
    recipient = string_payload(field)
    if len(recipient) not in (0, ADDRESS_BYTES):
        raise MalformedRlp(f"a recipient has {len(recipient)} bytes, not {ADDRESS_BYTES} or none")
    return not recipient


def _value_and_data(value: bytes, data: bytes) -> bytes:
    """The data; the value is looked at only for its form."""
    uint_payload(value)
    return string_payload(data)


def _access_list_size(access_list: bytes) -> tuple[int, int]:
    """How many addresses and storage keys (EIP-2930)."""
    start, end = whole_list(access_list)
    entries = split_items(access_list, start, end, most=MAX_ACCESS_LIST_ITEMS)
    key_count = 0
    for entry in entries:
        entry_start, entry_end = whole_list(entry)
        parts = split_items(entry, entry_start, entry_end, most=2)
        if len(parts) != 2 or len(string_payload(parts[0])) != ADDRESS_BYTES:
            raise MalformedRlp("an entry of an access list is not an address and its keys")
        keys_start, keys_end = whole_list(parts[1])
        keys = split_items(parts[1], keys_start, keys_end, most=MAX_ACCESS_LIST_ITEMS)
        if any(len(string_payload(key)) != ACCESS_KEY_BYTES for key in keys):
            raise MalformedRlp(f"a storage key of an access list has not {ACCESS_KEY_BYTES} bytes")
        key_count += len(keys)
    return len(entries), key_count
