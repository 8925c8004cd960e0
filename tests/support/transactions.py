"""Signed transactions of made-up accounts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import coincurve
import rlp

from services.broadcaster.core.transaction import Address, decode_transaction, wire_of
from services.broadcaster.core.transaction_check import CheckedTransaction, PoolRules
from services.shared.ethwire.hashing import keccak256

CHAIN_ID: Final = 1337
RULES: Final = PoolRules(chain_id=CHAIN_ID, gas_limit=8_000_000)
RECIPIENT: Final = b"\x22" * 20


@lru_cache(maxsize=1024)
def key_of(account: int) -> coincurve.PrivateKey:
    return coincurve.PrivateKey.from_int(account + 1)


@lru_cache(maxsize=1024)
def address_of(account: int) -> Address:
    return Address(keccak256(key_of(account).public_key.format(compressed=False)[1:])[12:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What is signed; the defaults are a plain transfer."""

    account: int = 0
    nonce: int = 0
    price: int = 10**9
    tip: int | None = None
    """None: as much as the price."""
    gas_limit: int = 21_000
    recipient: bytes = RECIPIENT
    value: int = 1
    data: bytes = b""
    chain_id: int | None = CHAIN_ID
    kind: int = 0
    access_list: tuple[tuple[bytes, tuple[bytes, ...]], ...] = ()

    def raw(self) -> bytes:
        """As a signer hands it out."""
        if self.kind:
            return self._typed()
        fields = [self.nonce, self.price, self.gas_limit, self.recipient, self.value, self.data]
        protected = [] if self.chain_id is None else [self.chain_id, 0, 0]
        r, s, parity = self._sign(rlp.encode([*fields, *protected]))
        v = 27 + parity if self.chain_id is None else 35 + 2 * self.chain_id + parity
        return bytes(rlp.encode([*fields, v, r, s]))

    def wire(self) -> bytes:
        return wire_of(self.raw())

    def checked(self) -> CheckedTransaction:
        return CheckedTransaction(decode_transaction(self.wire()), address_of(self.account))

    def _typed(self) -> bytes:
        fees = [self.price] if self.kind == 1 else [self.price if self.tip is None else self.tip, self.price]
        fields = [self.chain_id or 0, self.nonce, *fees, self.gas_limit, self.recipient, self.value, self.data]
        fields.append([[address, list(keys)] for address, keys in self.access_list])
        prefix = bytes((self.kind,))
        r, s, parity = self._sign(prefix + rlp.encode(fields))
        return prefix + bytes(rlp.encode([*fields, parity, r, s]))

    def _sign(self, content: bytes) -> tuple[int, int, int]:
        signature = key_of(self.account).sign_recoverable(keccak256(content), hasher=None)
        return int.from_bytes(signature[:32]), int.from_bytes(signature[32:64]), signature[64]
