"""The quick look at a header finds the same as the careful one, or leaves the header to it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.shared.ethwire import headers as subject
from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.headers import decode_header, place_of, with_hash
from tests.support.vectors import from_hex, load_vectors

HEADERS = [decode_header(from_hex(block["headerRLP"])) for block in load_vectors("ethwire/mainnet_blocks.json")]
LAST = len(HEADERS[0].header_rlp) - 1
AFTER_BLOOM = 448

small = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 127, 128, 255, 256, 2**56, 2**64 - 1])


def read(reader, header_rlp):
    """The header, or nothing where it is refused."""
    try:
        return reader(header_rlp)
    except MalformedRlp:
        return None


def careful(header_rlp):
    return subject._decode_unusual(header_rlp, None)


@given(
    difficulty=small | st.integers(0, 2**256 - 1),
    number=small,
    gas_limit=small,
    gas_used=small,
    timestamp=small | st.integers(0, 2**256 - 1),
    extra_data=st.binary(max_size=100),
    base_fee=st.none() | small | st.integers(0, 2**256 - 1),
)
def test_header_of_any_numbers_is_read_back(**fields):
    header = with_hash(HEADERS[0]._replace(**fields))
    assert decode_header(header.header_rlp) == header
    assert careful(header.header_rlp) == header
    assert place_of(header.header_rlp) == (header.parent_hash, header.number)


@given(at=st.integers(0, LAST) | st.integers(AFTER_BLOOM, LAST), patch=st.binary(min_size=1, max_size=3))
@example(at=AFTER_BLOOM, patch=b"\0")
@example(at=AFTER_BLOOM, patch=b"\x81\x7f")
@example(at=AFTER_BLOOM, patch=b"\x82\0\x01")
def test_damaged_header_is_judged_alike_by_both(at, patch):
    header_rlp = HEADERS[0].header_rlp
    damaged = header_rlp[:at] + patch + header_rlp[at + len(patch) :]
    assert read(decode_header, damaged) == read(careful, damaged)


@pytest.mark.parametrize("cut", [slice(0, -1), slice(1, None), slice(0, 3), slice(0, 0)])
def test_place_of_a_cut_header_is_refused(cut):
    with pytest.raises(MalformedRlp):
        place_of(HEADERS[0].header_rlp[cut])
