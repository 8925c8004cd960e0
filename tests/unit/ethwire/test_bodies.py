from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.ethwire.bodies import (
    body_roots,
    join_block,
    receipt_totals,
    split_block,
    transaction_items,
    uncle_headers,
)
from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.hashing import EMPTY_LIST_HASH, EMPTY_TRIE_ROOT
from services.shared.ethwire.headers import decode_header
from services.shared.ethwire.limits import MAX_TRANSACTIONS_PER_BODY
from services.shared.ethwire.rlp_slices import encode_string, join_list
from services.shared.ethwire.roots import ordered_trie_root
from tests.support.chain_vectors import load_gz
from tests.support.vectors import from_hex, load_vectors

BLOCKS = load_vectors("ethwire/mainnet_blocks.json")
TYPED_BLOCKS = load_gz("ethwire/typed_blocks.json.gz")
LEGACY = join_list([encode_string(b"a transaction of the old kind")])
TYPED = b"\x02" + LEGACY


def body_of(block) -> bytes:
    transactions = [from_hex(transaction) for transaction in block["transactions"]]
    return join_list([join_list(transactions), from_hex(block["unclesRLP"])])


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: str(block["number"]))
def test_roots_of_a_real_block_are_those_of_its_header(block):
    header = decode_header(from_hex(block["headerRLP"]))
    body = body_roots(body_of(block))
    assert body.transactions_root == header.transactions_root
    assert body.uncles_hash == header.uncles_hash
    totals = receipt_totals(join_list([from_hex(receipt) for receipt in block.get("receipts", [])]))
    assert (totals.root, totals.bloom, totals.gas_used) == (header.receipts_root, header.bloom, header.gas_used)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: str(block["number"]))
def test_block_splits_into_header_and_body_and_joins_again(block):
    header_rlp, body_rlp = from_hex(block["headerRLP"]), body_of(block)
    block_rlp = join_block(header_rlp, body_rlp)
    assert split_block(block_rlp) == (header_rlp, body_rlp)
    assert len(transaction_items(body_rlp)) == len(block["transactions"])
    for uncle in uncle_headers(body_rlp):
        assert uncle.number < block["number"]


def test_empty_body_has_the_empty_roots():
    body = body_roots(b"\xc2\xc0\xc0")
    assert (body.transactions_root, body.uncles_hash) == (EMPTY_TRIE_ROOT, EMPTY_LIST_HASH)
    assert uncle_headers(b"\xc2\xc0\xc0") == []
    assert receipt_totals(b"\xc0").root == EMPTY_TRIE_ROOT


def test_typed_transaction_counts_by_the_content_of_its_string():
    body_rlp = join_list([join_list([LEGACY, encode_string(TYPED)]), b"\xc0"])
    assert body_roots(body_rlp).transactions_root == ordered_trie_root([LEGACY, TYPED])
    assert transaction_items(body_rlp) == [LEGACY, encode_string(TYPED)]


@pytest.mark.parametrize("block", TYPED_BLOCKS, ids=lambda block: str(block["number"]))
def test_roots_of_a_real_block_with_typed_transactions_are_those_of_its_header(block):
    header, body_rlp = decode_header(from_hex(block["headerRLP"])), from_hex(block["bodyRLP"])
    body = body_roots(body_rlp)
    assert (body.transactions_root, body.uncles_hash) == (header.transactions_root, header.uncles_hash)
    receipts_rlp = from_hex(block["receiptsRLP"])
    totals = receipt_totals(receipts_rlp)
    assert (totals.root, totals.bloom, totals.gas_used) == (header.receipts_root, header.bloom, header.gas_used)
    assert split_block(join_block(header.header_rlp, body_rlp)) == (header.header_rlp, body_rlp)


def test_real_blocks_have_transactions_of_the_old_kind_beside_typed_ones():
    london, last = (transaction_items(from_hex(block["bodyRLP"])) for block in TYPED_BLOCKS)
    assert sorted({item[0] >= 0xC0 for item in london}) == [False, True]
    assert [item[0] >= 0xC0 for item in last] == [False]


@pytest.mark.parametrize("size", [1, 54, 55, 56, 57, 200, 253, 254, 255, 256, 257, 65_533, 65_534, 65_536, 70_000])
def test_transactions_of_every_size_are_found(size):
    transactions = [encode_string(b"\x01" + bytes(size)), join_list([encode_string(bytes(size))]), LEGACY]
    body_rlp = join_list([join_list(transactions), b"\xc0"])
    values = [b"\x01" + bytes(size), *transactions[1:]]
    assert body_roots(body_rlp).transactions_root == ordered_trie_root(values)


@pytest.mark.parametrize(
    ("body_rlp", "problem"),
    [
        (b"", "an item is missing"),
        (b"\xc0", "an item is missing"),
        (b"\xc1\xc0", "an item is missing"),
        (b"\xc2\x80\xc0", "a list is expected"),
        (b"\xc2\xc0\x80", "a list is expected"),
        (b"\xc3\xc0\xc0\xc0", "more than transactions and uncles"),
        (b"\xc2\xc0\xc0\xc0", "1 bytes follow the list"),
        (b"\xc3\xc1\x80\xc0", "is empty"),
        (b"\xc3\xc1\x02\xc0", "is empty"),
        (b"\xc4\xc2\xf8\x01\xc0", "shortest form"),
        (b"\xc4\xc2\xf8\x40\xc0", "after its container"),
        (b"\xc5\xc3\xf9\x00\x40\xc0", "shortest form"),
    ],
)
def test_body_of_another_shape_is_refused(body_rlp, problem):
    with pytest.raises(MalformedRlp, match=problem):
        body_roots(body_rlp)


def test_block_with_withdrawals_is_refused_by_name():
    with pytest.raises(MalformedRlp, match="withdrawals are not supported"):
        split_block(b"\xc4\xc0\xc0\xc0\xc0")


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(garbage):
    for read in (body_roots, uncle_headers, transaction_items, split_block, receipt_totals):
        try:
            read(garbage)
        except MalformedRlp:
            continue


@given(st.lists(st.binary(min_size=1, max_size=90), max_size=5))
def test_any_list_items_are_read_or_refused(items):
    try:
        receipt_totals(join_list(items))
        body_roots(join_list([join_list(items), b"\xc0"]))
    except MalformedRlp:
        pass


def test_body_is_refused_when_it_has_more_transactions_than_a_block_can():
    over = join_list([join_list([b"\xc1\x01"] * (MAX_TRANSACTIONS_PER_BODY + 1)), b"\xc0"])
    with pytest.raises(MalformedRlp, match="more than 32768 transactions"):
        body_roots(over)
