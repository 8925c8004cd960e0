from __future__ import annotations

import pytest
import rlp
from hypothesis import given
from hypothesis import strategies as st

from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.hashing import EMPTY_LIST_HASH, EMPTY_TRIE_ROOT, keccak256
from services.shared.ethwire.headers import decode_header, encode_header, seal_hash, with_hash
from services.shared.ethwire.roots import (
    CACHED_PLANS,
    NODE_COST,
    STEP_COST,
    WorkMeter,
    finish,
    keccak_steps,
    ordered_trie_root,
    ordered_trie_root_steps,
    trie_root,
)
from tests.support.vectors import from_hex, load_vectors

BLOCKS = load_vectors("ethwire/mainnet_blocks.json")
TRIES = {
    **load_vectors("ethwire/trieanyorder.json"),
    **{f"secure {name}": case for name, case in load_vectors("ethwire/trieanyorder_secureTrie.json").items()},
    **{f"changed {name}": case for name, case in load_vectors("ethwire/trietest.json").items()},
    **{f"secure changed {name}": case for name, case in load_vectors("ethwire/trietest_secureTrie.json").items()},
    **{f"secure {name}": case for name, case in load_vectors("ethwire/hex_encoded_securetrie_test.json").items()},
}
HEADER_RLP = from_hex(BLOCKS[0]["headerRLP"])


def number_of(block: dict[str, int]) -> str:
    return f"block-{block['number']}"


@pytest.mark.parametrize("block", BLOCKS, ids=number_of)
def test_mainnet_header_has_its_hash_and_is_written_back_unchanged(block):
    header = decode_header(from_hex(block["headerRLP"]))
    assert header.number == block["number"]
    assert header.hash == from_hex(block["hash"])
    assert encode_header(header) == header.header_rlp
    assert with_hash(header) == header


@pytest.mark.parametrize("block", BLOCKS, ids=number_of)
def test_mainnet_transactions_root_and_uncles_hash_are_the_headers(block):
    header = decode_header(from_hex(block["headerRLP"]))
    assert ordered_trie_root([from_hex(item) for item in block["transactions"]]) == header.transactions_root
    assert keccak256(from_hex(block["unclesRLP"])) == header.uncles_hash


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.get("receipts")], ids=number_of)
def test_mainnet_receipts_root_is_the_headers(block):
    header = decode_header(from_hex(block["headerRLP"]))
    assert ordered_trie_root([from_hex(item) for item in block["receipts"]]) == header.receipts_root


@pytest.mark.parametrize("name", TRIES)
def test_published_trie_has_its_root(name):
    def value_of(text: str) -> bytes:
        return from_hex(text) if text.startswith("0x") else text.encode()

    steps = TRIES[name]["in"]
    last = dict(steps.items() if isinstance(steps, dict) else steps)
    entries = {value_of(key): value_of(value) for key, value in last.items() if value is not None}
    if name.startswith("secure"):
        entries = {keccak256(key): value for key, value in entries.items()}
    assert trie_root(entries) == from_hex(TRIES[name]["root"])


@given(st.lists(st.binary(min_size=1, max_size=90), max_size=300))
def test_ordered_root_is_the_root_of_the_trie_with_encoded_indexes(values):
    assert ordered_trie_root(values) == trie_root({rlp.encode(at): value for at, value in enumerate(values)})


SIZES = st.one_of(st.integers(1, 90), st.integers(STEP_COST - 5, STEP_COST + 5), st.just(3 * STEP_COST))


@given(st.lists(SIZES, min_size=1, max_size=6), st.integers(0, 300))
def test_root_in_steps_is_the_root_whatever_the_sizes(sizes, more):
    values = [bytes((size % 251,)) * size for size in sizes] + [b"\x7f"] * more
    assert finish(ordered_trie_root_steps(values, WorkMeter())) == ordered_trie_root(values)


@pytest.mark.parametrize("count", [1, 127, 128, 129, 256, CACHED_PLANS, CACHED_PLANS + 1, 1000])
def test_root_in_steps_is_the_root_whatever_the_count(count):
    values = [bytes(at % 40 + 1) for at in range(count)]
    assert finish(ordered_trie_root_steps(values, WorkMeter())) == ordered_trie_root(values)


def test_root_of_a_huge_list_takes_many_steps():
    values = [b"\xc1\x01"] * 20_000
    steps = sum(1 for _ in ordered_trie_root_steps(values, WorkMeter()))
    assert steps >= 20_000 * NODE_COST // STEP_COST


def test_hash_of_a_huge_string_takes_many_steps():
    content = bytes(20 * STEP_COST + 1)
    assert finish(keccak_steps(content, WorkMeter())) == keccak256(content)
    assert sum(1 for _ in keccak_steps(content, WorkMeter())) == 21


def test_empty_things_have_their_known_hashes():
    assert ordered_trie_root([]) == trie_root({}) == EMPTY_TRIE_ROOT
    assert EMPTY_TRIE_ROOT.hex() == "56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421"
    assert EMPTY_LIST_HASH.hex() == "1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347"


def test_header_with_a_base_fee_survives_the_round_trip():
    header = with_hash(decode_header(HEADER_RLP)._replace(base_fee=10**9))
    assert decode_header(header.header_rlp) == header
    assert len(rlp.decode(header.header_rlp)) == 16


def test_seal_hash_leaves_mix_hash_and_nonce_out():
    header = decode_header(HEADER_RLP)
    assert seal_hash(header) == keccak256(rlp.encode(rlp.decode(HEADER_RLP)[:13]))


@pytest.mark.parametrize("field", range(15))
def test_header_is_refused_when_a_field_is_missing_or_a_list(field):
    fields = rlp.decode(HEADER_RLP)
    for broken in (fields[:field] + fields[field + 1 :], [*fields[:field], [b"x"], *fields[field + 1 :]]):
        with pytest.raises(MalformedRlp):
            decode_header(rlp.encode(broken))


@pytest.mark.parametrize("field", [7, 8, 9, 10, 11])
@pytest.mark.parametrize("value", [b"\0\x01", b"\x01" * 33], ids=["leading-zeros", "too-wide"])
def test_header_is_refused_when_an_integer_is_not_canonical(field, value):
    fields = rlp.decode(HEADER_RLP)
    fields[field] = value
    with pytest.raises(MalformedRlp):
        decode_header(rlp.encode(fields))


def test_header_is_refused_when_it_has_later_fields_or_trailing_bytes():
    with pytest.raises(MalformedRlp, match="17 fields"):
        decode_header(rlp.encode([*rlp.decode(HEADER_RLP), b"\x01", b"w" * 32]))
    with pytest.raises(MalformedRlp, match="1 bytes follow"):
        decode_header(HEADER_RLP + b"\0")


@given(st.integers(0, len(HEADER_RLP) - 1), st.binary(max_size=3))
def test_damaged_header_is_read_or_refused_with_a_fault(at, patch):
    damaged = HEADER_RLP[:at] + patch + HEADER_RLP[at + len(patch) :]
    try:
        header = decode_header(damaged)
    except MalformedRlp:
        return
    assert encode_header(header) == damaged
