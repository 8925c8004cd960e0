from __future__ import annotations

import pytest
import rlp
from hypothesis import given
from hypothesis import strategies as st

from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.rlp_slices import (
    encode_string,
    encode_uint,
    hash_payloads,
    item_span,
    join_list,
    split_list,
    string_payload,
    uint_payload,
    whole_list,
)
from tests.support.vectors import from_hex, load_vectors

VALID = load_vectors("ethwire/rlptest.json")
INVALID = load_vectors("ethwire/invalidRLPTest.json")

ITEMS = st.recursive(st.binary(max_size=80), lambda inner: st.lists(inner, max_size=6), max_leaves=30)


def read(buffer: bytes) -> object:
    """Everything in `buffer`, read with nothing but slices."""
    start, end, is_list = item_span(buffer, 0, len(buffer))
    if end != len(buffer):
        raise MalformedRlp("trailing bytes")
    return [read(item) for item in split_list(buffer)] if is_list else buffer[start:end]


def plain(value: object) -> object:
    """A vector's `in` as bytes and lists: numbers are minimal big-endian, "#..." is a big decimal number."""
    match value:
        case list():
            return [plain(item) for item in value]
        case int():
            return value.to_bytes((value.bit_length() + 7) // 8)
        case str() if value.startswith("#"):
            return plain(int(value[1:]))
        case str():
            return value.encode()
        case _:
            raise TypeError(value)


@pytest.mark.parametrize("name", VALID)
def test_published_encoding_reads_back(name):
    assert read(from_hex(VALID[name]["out"])) == plain(VALID[name]["in"])


@pytest.mark.parametrize("name", INVALID)
def test_published_malformed_encoding_is_refused(name):
    with pytest.raises(MalformedRlp):
        read(from_hex(INVALID[name]["out"]))


@given(ITEMS)
def test_whatever_the_rlp_package_writes_is_read(value):
    assert read(rlp.encode(value)) == value


@given(st.binary(max_size=60))
def test_any_bytes_are_read_like_the_rlp_package_does_or_refused(buffer):
    try:
        expected = rlp.decode(buffer, strict=True)
    except rlp.DecodingError:
        with pytest.raises(MalformedRlp):
            read(buffer)
    else:
        assert read(buffer) == expected


@given(st.lists(st.binary(max_size=70), max_size=12))
def test_writers_agree_with_the_rlp_package(values):
    assert join_list([encode_string(value) for value in values]) == rlp.encode(values)


@given(st.integers(min_value=0, max_value=2**256 - 1))
def test_integers_survive_the_round_trip(value):
    assert uint_payload(encode_uint(value)) == value


@pytest.mark.parametrize("item", ["820001", "00", "c0", "8405060708", "8180ff"])
def test_integer_is_refused_when_padded_too_wide_or_not_a_string(item):
    with pytest.raises(MalformedRlp):
        uint_payload(from_hex(item), max_bytes=3)


def test_list_is_refused_when_it_has_more_items_than_allowed():
    assert split_list(from_hex("c20102"), most=2) == [b"\x01", b"\x02"]
    with pytest.raises(MalformedRlp, match="more than 2"):
        split_list(from_hex("c3010203"), most=2)


def test_hash_list_is_refused_when_one_item_is_no_hash():
    good = b"\xa0" + b"h" * 32
    buffer = join_list([good, good])
    assert hash_payloads(buffer, *whole_list(buffer), most=9) == [b"h" * 32] * 2
    assert hash_payloads(buffer, *whole_list(buffer), most=1) == [b"h" * 32]
    for bad in (good[:-1], b"\x9f" + b"h" * 32):
        buffer = join_list([good, bad])
        with pytest.raises(MalformedRlp):
            hash_payloads(buffer, *whole_list(buffer), most=9)


def test_list_is_refused_where_a_string_belongs():
    with pytest.raises(MalformedRlp, match="a list is there"):
        string_payload(b"\xc0")
