"""The state of a chain whose transactions only move ether: worked out by adding up, without a virtual machine.

So a measurement can serve a state that is the chain's own. Nothing is taken on trust: receipts and state
are compared with the roots in the headers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from coincurve import PublicKey

from services.shared.chainspec.spec import ChainSpec
from services.shared.ethwire.bodies import receipt_totals, transaction_items, uncle_headers
from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.rlp_slices import (
    encode_string,
    encode_uint,
    join_list,
    split_list,
    string_payload,
    uint_payload,
)
from services.shared.ethwire.types import Block, Header
from tests.support.state_trie import Account, MadeState, made_state

ETHER: Final = 10**18

TRANSFER_GAS: Final = 21_000
ZERO_BYTE_GAS: Final = 4
OTHER_BYTE_GAS: Final = 68
"""Intrinsic gas before Istanbul (Yellow Paper, appendix G)."""

NEPHEW_SHARE: Final = 32
"""A block earns this part of the reward for each uncle it names."""


class NotOnlyTransfers(Exception):
    """The chain does something that cannot be worked out without a virtual machine."""


class _Transfer(NamedTuple):
    sender: bytes
    recipient: bytes
    value: int
    gas_price: int
    gas: int


class Ledger:
    """Balance and nonce of every account. Blocks are applied in order, from the child of genesis on."""

    def __init__(self, spec: ChainSpec, balances: Mapping[bytes, int]) -> None:
        """`balances` are those of the genesis block; its accounts have neither code nor storage."""
        self._spec = spec
        self._balances = dict(balances)
        self._nonces: dict[bytes, int] = {}

    def apply(self, block: Block) -> bytes:
        """Move the block's ether; returns the RLP of its receipts. Raises NotOnlyTransfers."""
        header = block.header
        receipts, gas_used = [], 0
        for transaction in transaction_items(block.body_rlp):
            transfer = self._transfer(transaction, header)
            gas_used += transfer.gas
            fee = transfer.gas * transfer.gas_price
            self._add(transfer.sender, -transfer.value - fee)
            self._add(transfer.recipient, transfer.value)
            self._add(header.coinbase, fee)
            self._nonces[transfer.sender] = self._nonces.get(transfer.sender, 0) + 1
            receipts.append(join_list([b"\x01", encode_uint(gas_used), encode_string(bytes(256)), b"\xc0"]))
        self._reward(block)
        receipts_rlp = join_list(receipts)
        if receipt_totals(receipts_rlp) != (header.receipts_root, header.bloom, header.gas_used):
            raise NotOnlyTransfers(f"block {header.number}: its receipts are not those of plain transfers")
        return receipts_rlp

    def state_after(self, header: Header) -> MadeState:
        """The state now, which `header`, the last block applied, names. Raises NotOnlyTransfers when it does not."""
        state = made_state(
            {address: Account(self._nonces.get(address, 0), balance) for address, balance in self._balances.items()}
        )
        if state.root != header.state_root:
            raise NotOnlyTransfers(f"block {header.number}: its state is not that of plain transfers")
        return state

    def _transfer(self, transaction: bytes, header: Header) -> _Transfer:
        if not _is_active(self._spec.byzantium_block, header.number):
            raise NotOnlyTransfers(f"block {header.number}: receipts before Byzantium name a state root each")
        if transaction[0] < 0xC0:
            raise NotOnlyTransfers(f"block {header.number}: typed transactions")
        fields = split_list(transaction)
        recipient, data = string_payload(fields[3]), string_payload(fields[5])
        if not recipient:
            raise NotOnlyTransfers(f"block {header.number}: it creates a contract")
        zeros = data.count(0)
        return _Transfer(
            sender=_sender(fields, header),
            recipient=recipient,
            value=uint_payload(fields[4]),
            gas_price=uint_payload(fields[1]),
            gas=TRANSFER_GAS + zeros * ZERO_BYTE_GAS + (len(data) - zeros) * OTHER_BYTE_GAS,
        )

    def _reward(self, block: Block) -> None:
        """Static block reward, and what uncles and the blocks that name them earn (Yellow Paper, section 11.3)."""
        header = block.header
        reward = self._block_reward(header.number)
        for uncle in uncle_headers(block.body_rlp):
            self._add(uncle.coinbase, (8 + uncle.number - header.number) * reward // 8)
            self._add(header.coinbase, reward // NEPHEW_SHARE)
        self._add(header.coinbase, reward)

    def _block_reward(self, number: int) -> int:
        if _is_active(self._spec.constantinople_block, number):
            return 2 * ETHER
        return 3 * ETHER if _is_active(self._spec.byzantium_block, number) else 5 * ETHER

    def _add(self, address: bytes, amount: int) -> None:
        self._balances[address] = self._balances.get(address, 0) + amount


def _is_active(fork_block: int | None, number: int) -> bool:
    return fork_block is not None and number >= fork_block


def _sender(fields: list[bytes], header: Header) -> bytes:
    """Who signed a transaction (EIP-155, and before)."""
    v, r, s = (uint_payload(field) for field in fields[6:9])
    signed = fields[:6]
    if v >= 35:
        signed = [*signed, encode_uint((v - 35) // 2), b"\x80", b"\x80"]
    recovery = (v - 35) % 2 if v >= 35 else v - 27
    signature = r.to_bytes(32) + s.to_bytes(32) + bytes([recovery])
    try:
        key = PublicKey.from_signature_and_message(signature, keccak256(join_list(signed)), hasher=None)
    except Exception as problem:
        raise NotOnlyTransfers(f"block {header.number}: a transaction that nobody signed") from problem
    return keccak256(key.format(compressed=False)[1:])[12:]
