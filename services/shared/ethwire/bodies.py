"""Block bodies and receipts as slices: their parts, and the roots a header promises for them.

Nothing inside a transaction or receipt is decoded. A typed transaction or receipt (EIP-2718) travels
as a string whose content is the trie's value; an old one is a list and is that value itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.hashing import EMPTY_LIST_HASH, EMPTY_TRIE_ROOT, keccak256
from services.shared.ethwire.headers import decode_header
from services.shared.ethwire.limits import MAX_TRANSACTIONS_PER_BODY
from services.shared.ethwire.rlp_slices import (
    encode_length,
    item_span,
    list_span,
    split_items,
    split_list,
    string_payload,
    uint_payload,
    whole_list,
)
from services.shared.ethwire.roots import (
    Steps,
    WorkMeter,
    finish,
    keccak_steps,
    ordered_trie_root_steps,
)
from services.shared.ethwire.types import Body, Header, TransactionHash

EMPTY_BODY_RLP: Final = b"\xc2\xc0\xc0"
"""[[], []]: no transactions, no uncles."""

EMPTY_RECEIPTS_RLP: Final = b"\xc0"
"""The receipts of a block without transactions."""

BLOOM_BYTES: Final = 256
"""Size of the bloom in a header and in a receipt (Yellow Paper, section 4.3.1)."""

GAS_BYTES: Final = 8
"""Width of an amount of gas."""

RECEIPT_COST: Final = 640
"""What reading a receipt costs beside its place in the trie, in bytes hashed."""

_BLOOM_PREFIX: Final = encode_length(BLOOM_BYTES, 0x80)


class ReceiptTotals(NamedTuple):
    """What a header says of its receipts, recomputed from them."""

    root: bytes
    bloom: bytes
    gas_used: int


def transaction_hash(wire: bytes) -> TransactionHash:
    """By how a transaction stands in a message or a body. Raises MalformedRlp for what cannot be one."""
    return TransactionHash(keccak256(wire if wire[:1] >= b"\xc0" else string_payload(wire)))


def body_roots(body_rlp: bytes) -> Body:
    """The body with its transactions root and uncles hash. Raises MalformedRlp on any other shape."""
    return finish(body_roots_steps(body_rlp, WorkMeter()))


def body_roots_steps(body_rlp: bytes, meter: WorkMeter) -> Steps[Body]:
    """`body_roots`, which the result is, in steps."""
    start, transactions_end, end = _body_spans(body_rlp)
    values = _trie_values(body_rlp, start, transactions_end)
    root = (yield from ordered_trie_root_steps(values, meter)) if values else EMPTY_TRIE_ROOT
    if end - transactions_end == 1:
        return Body(body_rlp, root, EMPTY_LIST_HASH)
    return Body(body_rlp, root, (yield from keccak_steps(body_rlp[transactions_end:end], meter)))


def transaction_items(body_rlp: bytes) -> list[bytes]:
    """The transactions as they stand in the body, each with its prefix."""
    start, transactions_end, _ = _body_spans(body_rlp)
    return split_items(body_rlp, start, transactions_end)


def uncle_headers(body_rlp: bytes) -> list[Header]:
    """The uncles of the body, decoded and hashed."""
    _, transactions_end, end = _body_spans(body_rlp)
    if end - transactions_end == 1:
        return []
    start, _ = list_span(body_rlp, transactions_end, end)
    return [decode_header(item) for item in split_items(body_rlp, start, end)]


def split_block(block_rlp: bytes) -> tuple[bytes, bytes]:
    """A block [header, transactions, uncles] as (header RLP, body RLP)."""
    start, end = whole_list(block_rlp)
    _, header_end = list_span(block_rlp, start, end)
    _, transactions_end = list_span(block_rlp, header_end, end)
    _, uncles_end = list_span(block_rlp, transactions_end, end)
    if uncles_end != end:
        raise MalformedRlp("a block has more than header, transactions and uncles (withdrawals are not supported)")
    body = block_rlp[header_end:end]
    return block_rlp[start:header_end], encode_length(len(body), 0xC0) + body


def join_block(header_rlp: bytes, body_rlp: bytes) -> bytes:
    """The inverse of `split_block`."""
    start, _ = whole_list(body_rlp)
    block = header_rlp + body_rlp[start:]
    return encode_length(len(block), 0xC0) + block


def receipt_totals(receipts_rlp: bytes) -> ReceiptTotals:
    """Root, joined bloom and gas used of one block's list of receipts. Raises MalformedRlp on any other shape."""
    return finish(receipt_totals_steps(receipts_rlp, WorkMeter()))


def receipt_totals_steps(receipts_rlp: bytes, meter: WorkMeter) -> Steps[ReceiptTotals]:
    """`receipt_totals`, which the result is, in steps."""
    start, end = whole_list(receipts_rlp)
    values = _trie_values(receipts_rlp, start, end)
    bloom, gas_used = 0, 0
    for value in values:
        if meter.is_due(RECEIPT_COST):
            yield
        receipt = value if value[0] >= 0xC0 else value[1:]
        fields = split_list(receipt, most=4)
        if len(fields) != 4 or fields[2][:3] != _BLOOM_PREFIX:
            raise MalformedRlp("a receipt is not a status, gas, a bloom and logs")
        gas_used = uint_payload(fields[1], max_bytes=GAS_BYTES)
        bloom |= int.from_bytes(fields[2][3:])
    root = yield from ordered_trie_root_steps(values, meter)
    return ReceiptTotals(root, bloom.to_bytes(BLOOM_BYTES), gas_used)


def _body_spans(body_rlp: bytes) -> tuple[int, int, int]:
    """(start of the first transaction, end of the transactions, end of the uncles)."""
    start, end = whole_list(body_rlp)
    transactions_start, transactions_end = list_span(body_rlp, start, end)
    _, uncles_end = list_span(body_rlp, transactions_end, end)
    if uncles_end != end:
        raise MalformedRlp("a body has more than transactions and uncles")
    return transactions_start, transactions_end, end


def _trie_values(buffer: bytes, offset: int, end: int) -> Sequence[bytes]:
    """The trie values of the items between `offset` and `end`; the usual sizes of a list are read in place."""
    values: list[bytes] = []
    while offset < end:
        if len(values) == MAX_TRANSACTIONS_PER_BODY:
            raise MalformedRlp(f"a block has more than {MAX_TRANSACTIONS_PER_BODY} transactions")
        prefix = buffer[offset]
        item_end = 0
        if prefix == 0xF8 and offset + 1 < end and buffer[offset + 1] >= 56:
            item_end = offset + 2 + buffer[offset + 1]
        elif prefix == 0xF9 and offset + 2 < end and buffer[offset + 1]:
            item_end = offset + 3 + (buffer[offset + 1] << 8 | buffer[offset + 2])
        if 0 < item_end <= end:
            values.append(buffer[offset:item_end])
            offset = item_end
            continue
        start, item_end, is_list = item_span(buffer, offset, end)
        if not is_list and item_end - start < 2:
            raise MalformedRlp("a typed transaction or receipt is empty")
        values.append(buffer[offset if is_list else start : item_end])
        offset = item_end
    return values
