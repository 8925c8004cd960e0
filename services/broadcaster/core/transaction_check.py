"""Whether a transaction may be pooled, as far as its bytes and the rules of the next block tell.

There is no state: whether the sender can pay, and whether the nonce is the next one, is not known here.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final, NamedTuple

import coincurve

from services.broadcaster.core.transaction import Address, Kind, Transaction, decode_transaction
from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.limits import MAX_TRANSACTION_BYTES

TRANSACTION_GAS: Final = 21_000
CREATION_GAS: Final = 32_000
ZERO_BYTE_GAS: Final = 4
BYTE_GAS: Final = 68
CHEAP_BYTE_GAS: Final = 16
"""Since EIP-2028 (Istanbul)."""
ACCESS_ADDRESS_GAS: Final = 2_400
ACCESS_KEY_GAS: Final = 1_900
INIT_CODE_WORD_GAS: Final = 2
"""For each 32 bytes of a creation's code, since EIP-3860."""

MAX_NONCE: Final = 2**64 - 2
"""An account that has used this one can send no more (EIP-2681)."""

MAX_COST: Final = 2**256 - 1
"""Wei: what gas limit and fee cap may come to."""

GROUP_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of secp256k1."""


class Refusal(enum.Enum):
    """Why a transaction is not pooled; the label in metrics."""

    UNDECODABLE = "undecodable"
    OVERSIZED = "oversized"
    SIGNATURE = "signature"
    CHAIN_ID = "chain-id"
    TYPE = "type"
    FEE_CAP = "fee-cap"
    INTRINSIC_GAS = "intrinsic-gas"
    GAS_LIMIT = "gas-limit"
    PRICE_FLOOR = "price-floor"
    NONCE_LIMIT = "nonce-limit"
    NONCE_USED = "nonce-used"
    REPLACEMENT = "replacement"
    SENDER_LIMIT = "sender-limit"
    PEER_LIMIT = "peer-limit"
    PEER_RATE = "peer-rate"
    PEER_LEFT = "peer-left"
    POOL_FULL = "pool-full"
    NOT_ACCEPTED = "not-accepted"
    QUEUE_FULL = "queue-full"


class Refused(Exception):
    """A transaction that is not pooled. The text names the value, the rule, and what to do."""

    def __init__(self, refusal: Refusal, text: str) -> None:
        super().__init__(text)
        self.refusal = refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRules:
    """What holds for a transaction of the next block."""

    chain_id: int
    """0: the network names none."""
    gas_limit: int
    """Of the head: no transaction may want more than a block has."""
    has_homestead: bool = True
    has_eip155: bool = True
    has_istanbul: bool = True
    has_berlin: bool = True
    has_london: bool = False
    has_init_code_gas: bool = False
    price_floor: int = 1
    """Wei per gas that a remote transaction offers the miner at least."""


class CheckedTransaction(NamedTuple):
    """One that keeps every rule that its bytes can tell of."""

    transaction: Transaction
    sender: Address


def check_transaction(wire: bytes, rules: PoolRules, *, is_local: bool = False) -> CheckedTransaction:
    """Read and check one, and recover its sender (30 us). Raises Refused."""
    if len(wire) > MAX_TRANSACTION_BYTES:
        raise Refused(
            Refusal.OVERSIZED,
            f"the transaction has {len(wire)} bytes, {MAX_TRANSACTION_BYTES} may be; send less data",
        )
    try:
        transaction = decode_transaction(wire)
    except MalformedRlp as fault:
        raise Refused(
            Refusal.UNDECODABLE,
            f"this is no transaction: {fault}; give the signed transaction's bytes as a signer made them",
        ) from fault
    _check_kind(transaction, rules)
    _check_gas(transaction, rules)
    if not is_local:
        _check_price(transaction, rules)
    return CheckedTransaction(transaction, recover_sender(transaction, low_s=rules.has_homestead))


def recover_sender(transaction: Transaction, *, low_s: bool = True) -> Address:
    """Who signed it. `low_s`: of two signatures that say the same only one counts (EIP-2). Raises Refused."""
    signed_hash, r, s, y_odd = transaction.signature
    most_s = GROUP_ORDER // 2 if low_s else GROUP_ORDER - 1
    if y_odd not in (0, 1) or not 0 < r < GROUP_ORDER or not 0 < s <= most_s:
        raise Refused(Refusal.SIGNATURE, "the signature's values are out of range; sign the transaction again")
    try:
        key = coincurve.PublicKey.from_signature_and_message(
            r.to_bytes(32) + s.to_bytes(32) + bytes((y_odd,)), signed_hash, hasher=None
        )
    except Exception as fault:
        # coincurve raises bare Exceptions and ValueErrors alike for what has no key.
        raise Refused(Refusal.SIGNATURE, "no key made this signature; sign the transaction again") from fault
    return Address(keccak256(key.format(compressed=False)[1:])[12:])


def intrinsic_gas(transaction: Transaction, rules: PoolRules) -> int:
    """What a transaction costs before it runs (Yellow Paper, section 6.2)."""
    data = transaction.data
    zeros = data.count(0)
    gas = TRANSACTION_GAS + zeros * ZERO_BYTE_GAS
    gas += (len(data) - zeros) * (CHEAP_BYTE_GAS if rules.has_istanbul else BYTE_GAS)
    gas += transaction.access_addresses * ACCESS_ADDRESS_GAS + transaction.access_keys * ACCESS_KEY_GAS
    if transaction.is_creation:
        gas += CREATION_GAS if rules.has_homestead else 0
        gas += INIT_CODE_WORD_GAS * -(-len(data) // 32) if rules.has_init_code_gas else 0
    return gas


def _check_kind(transaction: Transaction, rules: PoolRules) -> None:
    kind, chain_id = transaction.kind, transaction.chain_id
    known = {Kind.LEGACY: True, Kind.ACCESS_LIST: rules.has_berlin, Kind.DYNAMIC_FEE: rules.has_london}
    if not known[kind]:
        raise Refused(
            Refusal.TYPE,
            f"transactions of type {kind} are not valid in this network's next block; sign it as a legacy transaction",
        )
    if chain_id is None or (chain_id == rules.chain_id and rules.has_eip155):
        return
    if not rules.has_eip155:
        raise Refused(
            Refusal.CHAIN_ID,
            f"it is signed for chain id {chain_id}, and this network's next block has no chain ids yet (EIP-155); "
            "sign it without one",
        )
    raise Refused(
        Refusal.CHAIN_ID,
        f"it is signed for chain id {chain_id}, this network's is {rules.chain_id}; sign it for this network",
    )


def _check_gas(transaction: Transaction, rules: PoolRules) -> None:
    if transaction.tip_cap > transaction.fee_cap:
        raise Refused(
            Refusal.FEE_CAP,
            f"its tip of {transaction.tip_cap} wei per gas is more than its fee cap of {transaction.fee_cap}; "
            "raise the cap or lower the tip",
        )
    if transaction.nonce > MAX_NONCE:
        raise Refused(
            Refusal.NONCE_LIMIT, f"its nonce is {transaction.nonce}, {MAX_NONCE} is the last; use another account"
        )
    if transaction.gas_limit * transaction.fee_cap > MAX_COST:
        raise Refused(
            Refusal.FEE_CAP,
            f"{transaction.gas_limit} gas at {transaction.fee_cap} wei is more than there can be; lower the fee cap",
        )
    needed = intrinsic_gas(transaction, rules)
    if transaction.gas_limit < needed:
        raise Refused(
            Refusal.INTRINSIC_GAS,
            f"its gas limit is {transaction.gas_limit}, and it costs {needed} before it runs; "
            f"give a gas limit of {needed} or more",
        )
    if transaction.gas_limit > rules.gas_limit:
        raise Refused(
            Refusal.GAS_LIMIT,
            f"its gas limit is {transaction.gas_limit}, and a block has {rules.gas_limit}; give a lower gas limit",
        )


def _check_price(transaction: Transaction, rules: PoolRules) -> None:
    if transaction.tip_cap < rules.price_floor:
        raise Refused(
            Refusal.PRICE_FLOOR,
            f"it offers {transaction.tip_cap} wei per gas, {rules.price_floor} is the least; offer more",
        )
