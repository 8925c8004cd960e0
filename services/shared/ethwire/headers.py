"""Header RLP to `Header` and back (Yellow Paper section 4.3; EIP-1559 adds `base_fee`)."""

from __future__ import annotations

import re
from typing import Final

from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.rlp_slices import encode_string, encode_uint, item_span, join_list, whole_list
from services.shared.ethwire.types import BlockHash, Header

_FIXED_FIELDS_SIZE: Final = 33 + 33 + 21 + 33 * 3 + 259
"""Parent hash to bloom: seven fields whose sizes never vary."""

_PARENT: Final = rb"\xf9..\xa0(.{32})"
_OTHER_FIXED: Final = rb"\xa0(.{32})\x94(.{20})\xa0(.{32})\xa0(.{32})\xa0(.{32})\xb9\x01\x00(.{256})"
_UINT: Final = b"([\\x01-\\x80]|\\x81[\\x80-\\xff]%b)" % b"".join(
    b"|\\x%x[^\\0].{%d}" % (0x80 + n, n - 1) for n in range(2, 9)
)
_EXTRA: Final = b"([\\0-\\x80]|\\x81[\\x80-\\xff]%b)" % b"".join(b"|\\x%x.{%d}" % (0x80 + n, n) for n in range(2, 33))

_USUAL_HEADER: Final = re.compile(
    _PARENT + _OTHER_FIXED + 5 * _UINT + _EXTRA + rb"\xa0(.{32})\x88(.{8})" + _UINT + b"?", re.DOTALL
)
"""A header whose integers fit 64 bits and whose extra data fits 32 bytes. One look at it in C costs half of
what the same takes field by field."""

_PLACE: Final = re.compile(_PARENT + b".{%d}" % (_FIXED_FIELDS_SIZE - 33) + 2 * _UINT, re.DOTALL)

_UINT_MASKS: Final = (0, 0x7F, *((1 << 8 * size) - 1 for size in range(1, 9)))
"""By the length of an encoded integer of at most 64 bits: the bits of it that are not its prefix."""


def decode_header(header_rlp: bytes, block_hash: BlockHash | None = None) -> Header:
    """Parse one header. `block_hash` saves the hashing when a trusted service already did it.

    Raises MalformedRlp when a field is missing, has a wrong size or is not canonical; headers with
    more fields than EIP-1559 defines (withdrawals and later) are refused the same way.
    """
    usual = _USUAL_HEADER.fullmatch(header_rlp)
    if usual is None or int.from_bytes(header_rlp[1:3]) != len(header_rlp) - 3:
        return _decode_unusual(header_rlp, block_hash)
    fields = usual.groups()
    parent_hash, uncles_hash, coinbase, state_root, transactions_root, receipts_root, bloom = fields[:7]
    difficulty, number, gas_limit, gas_used, timestamp, extra_data, mix_hash, nonce, base_fee = fields[7:]
    return Header(
        block_hash if block_hash is not None else BlockHash(keccak256(header_rlp)),
        BlockHash(parent_hash),
        uncles_hash,
        coinbase,
        state_root,
        transactions_root,
        receipts_root,
        bloom,
        int.from_bytes(difficulty) & _UINT_MASKS[len(difficulty)],
        int.from_bytes(number) & _UINT_MASKS[len(number)],
        int.from_bytes(gas_limit) & _UINT_MASKS[len(gas_limit)],
        int.from_bytes(gas_used) & _UINT_MASKS[len(gas_used)],
        int.from_bytes(timestamp) & _UINT_MASKS[len(timestamp)],
        extra_data if extra_data[0] < 0x80 else extra_data[1:],
        mix_hash,
        nonce,
        None if base_fee is None else int.from_bytes(base_fee) & _UINT_MASKS[len(base_fee)],
        header_rlp,
    )


def place_of(header_rlp: bytes) -> tuple[bytes, int]:
    """The parent hash and the number of a header whose other fields do not matter now."""
    found = _PLACE.match(header_rlp)
    if found is None or int.from_bytes(header_rlp[1:3]) != len(header_rlp) - 3:
        header = decode_header(header_rlp, BlockHash(b""))
        return header.parent_hash, header.number
    parent_hash, _, number = found.groups()
    return parent_hash, int.from_bytes(number) & _UINT_MASKS[len(number)]


def _decode_unusual(header_rlp: bytes, block_hash: BlockHash | None) -> Header:
    """Any header, field by field; says what is wrong with one that is none."""
    start, end = whole_list(header_rlp)
    after_bloom = start + _FIXED_FIELDS_SIZE
    if (
        after_bloom > end
        or header_rlp[start] != 0xA0
        or header_rlp[start + 33] != 0xA0
        or header_rlp[start + 66] != 0x94
        or header_rlp[start + 87] != 0xA0
        or header_rlp[start + 120] != 0xA0
        or header_rlp[start + 153] != 0xA0
        or header_rlp[start + 186 : start + 189] != b"\xb9\x01\x00"
    ):
        raise MalformedRlp("a header's hashes, coinbase or bloom do not have their fixed sizes")
    values = _values(header_rlp, after_bloom, end)
    if len(values) not in (8, 9):
        raise MalformedRlp(f"a header has {len(values) + 7} fields, 15 or 16 are known")
    extra_data, mix_hash, nonce = values[5:8]
    if len(mix_hash) != 32 or len(nonce) != 8:
        raise MalformedRlp("a header's mix hash or nonce has a wrong size")
    for value in values[:5] if len(values) == 8 else values[:5] + values[8:]:
        if value and (not value[0] or len(value) > 32):
            raise MalformedRlp("a header's integer has leading zeros or more than 32 bytes")
    difficulty, number, gas_limit, gas_used, timestamp = map(int.from_bytes, values[:5])
    if number >> 64 or gas_limit >> 64 or gas_used >> 64:
        raise MalformedRlp("a header's number or gas does not fit 64 bits")
    return Header(
        block_hash if block_hash is not None else BlockHash(keccak256(header_rlp)),
        BlockHash(header_rlp[start + 1 : start + 33]),
        header_rlp[start + 34 : start + 66],
        header_rlp[start + 67 : start + 87],
        header_rlp[start + 88 : start + 120],
        header_rlp[start + 121 : start + 153],
        header_rlp[start + 154 : start + 186],
        header_rlp[start + 189 : start + 445],
        difficulty,
        number,
        gas_limit,
        gas_used,
        timestamp,
        extra_data,
        mix_hash,
        nonce,
        int.from_bytes(values[8]) if len(values) == 9 else None,
        header_rlp,
    )


def _values(header_rlp: bytes, offset: int, end: int) -> list[bytes]:
    """The strings from `offset` to `end`; short ones, which they nearly all are, are read in place."""
    values: list[bytes] = []
    while offset < end:
        prefix = header_rlp[offset]
        if prefix < 0x80:
            values.append(header_rlp[offset : offset + 1])
            offset += 1
        elif prefix < 0xB8 and prefix != 0x81 and offset + prefix - 0x7F <= end:
            start = offset + 1
            offset += prefix - 0x7F
            values.append(header_rlp[start:offset])
        else:
            start, offset, is_list = item_span(header_rlp, offset, end)
            if is_list:
                raise MalformedRlp("a header has a list where a value belongs")
            values.append(header_rlp[start:offset])
    return values


def encode_header(header: Header) -> bytes:
    """The RLP of the header's fields, `hash` and `header_rlp` aside."""
    return join_list(_encoded_fields(header, sealed=True))


def seal_hash(header: Header) -> bytes:
    """What a miner's nonce is searched for: Keccak-256 of the header without mix hash and nonce."""
    return keccak256(join_list(_encoded_fields(header, sealed=False)))


def _encoded_fields(header: Header, *, sealed: bool) -> list[bytes]:
    fields = [encode_string(value) for value in header[1:8]]
    fields += [encode_uint(value) for value in header[8:13]]
    fields.append(encode_string(header.extra_data))
    if sealed:
        fields += [encode_string(header.mix_hash), encode_string(header.nonce)]
    if header.base_fee is not None:
        fields.append(encode_uint(header.base_fee))
    return fields


def with_hash(header: Header) -> Header:
    """`header` with `header_rlp` and `hash` recomputed from its other fields."""
    header_rlp = encode_header(header)
    return header._replace(hash=BlockHash(keccak256(header_rlp)), header_rlp=header_rlp)
