"""Digests of replies in slices, and replies in parts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.peer_gateway.core.reply_decoding import PART_BYTES, cut_parts, digest_slices, split_receipt_digests
from services.shared.ethwire.bodies import BLOOM_BYTES, body_roots, receipt_totals
from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.hashing import EMPTY_TRIE_ROOT, keccak256
from services.shared.ethwire.messages import BlockBodies, BlockHeaders, NodeData, Receipts
from services.shared.ethwire.rlp_slices import encode_string, encode_uint, join_list
from services.shared.ethwire.roots import NODE_COST, STEP_COST
from tests.support.chain_maker import EMPTY_BODY, made_chain

CHAIN = made_chain(20)


def test_headers_have_their_hashes():
    reply = BlockHeaders([header.header_rlp for header in CHAIN.headers])
    assert b"".join(digest_slices(reply)) == b"".join(header.hash for header in CHAIN.headers)


def test_bodies_have_their_two_roots():
    reply = BlockBodies([body.body_rlp for body in CHAIN.bodies])
    expected = b"".join(body.transactions_root + body.uncles_hash for body in CHAIN.bodies)
    assert b"".join(digest_slices(reply)) == expected


def test_empty_receipts_have_the_empty_root():
    digests = split_receipt_digests(b"".join(digest_slices(Receipts([b"\xc0", b"\xc0"]))))
    assert digests == (2 * EMPTY_TRIE_ROOT, [0, 0], bytes(2 * BLOOM_BYTES))


def receipt_rlp(gas_used: int, bloom: bytes) -> bytes:
    return join_list([b"\x01", encode_uint(gas_used), encode_string(bloom), b"\xc0"])


def test_receipts_have_their_root_joined_bloom_and_last_gas():
    odd, even = b"\x55" * BLOOM_BYTES, b"\xaa" * BLOOM_BYTES
    lists = [
        join_list([receipt_rlp(21_000, odd)]),
        b"\xc0",
        join_list([receipt_rlp(21_000, odd), encode_string(b"\x02" + receipt_rlp(2**64 - 1, even))]),
    ]
    digests = split_receipt_digests(b"".join(digest_slices(Receipts(lists))))
    assert digests.roots == b"".join([receipt_totals(list_rlp).root for list_rlp in lists])
    assert digests.gas_used == [21_000, 0, 2**64 - 1]
    assert digests.blooms == odd + bytes(BLOOM_BYTES) + b"\xff" * BLOOM_BYTES


def test_block_of_many_receipts_is_many_slices():
    list_rlp = join_list([receipt_rlp(21_000 * number, bytes(BLOOM_BYTES)) for number in range(20_000)])
    slices = list(digest_slices(Receipts([list_rlp])))
    root, bloom, gas_used = receipt_totals(list_rlp)
    assert split_receipt_digests(b"".join(slices)) == (root, [gas_used], bloom)
    assert len(slices) > 60


@pytest.mark.parametrize(
    "receipt",
    [
        b"\xc0",
        join_list([b"\x01", b"\x01", encode_string(bytes(BLOOM_BYTES - 1)), b"\xc0"]),
        join_list([b"\x01", b"\x01", join_list([encode_string(bytes(BLOOM_BYTES - 3))]), b"\xc0"]),
        join_list([b"\x01", encode_uint(2**64), encode_string(bytes(BLOOM_BYTES)), b"\xc0"]),
        join_list([b"\x01", b"\x01", encode_string(bytes(BLOOM_BYTES)), b"\xc0", b"\xc0"]),
        b"\x82\x02\x02",
    ],
    ids=["empty", "short-bloom", "list-for-bloom", "endless-gas", "five-fields", "typed-no-list"],
)
def test_receipt_of_a_wrong_shape_is_a_fault(receipt):
    with pytest.raises(MalformedRlp):
        list(digest_slices(Receipts([join_list([receipt])])))


def test_state_values_have_their_hashes():
    assert b"".join(digest_slices(NodeData([b"one", b""]))) == keccak256(b"one") + keccak256(b"")


def test_empty_reply_has_no_digests():
    assert list(digest_slices(BlockBodies([]))) == [b""]


def test_small_reply_is_one_slice():
    assert len(list(digest_slices(BlockHeaders([header.header_rlp for header in CHAIN.headers])))) == 1


def test_large_reply_is_sliced_by_size():
    values = [bytes(1000)] * (10 * STEP_COST // 1000)
    slices = list(digest_slices(NodeData(values)))
    assert 10 <= len(slices) <= 14
    assert b"".join(slices) == keccak256(bytes(1000)) * len(values)


def test_reply_of_many_empty_bodies_is_sliced_too():
    slices = list(digest_slices(BlockBodies([EMPTY_BODY.body_rlp] * 10_000)))
    assert max(map(len, slices)) <= 64 * (1 + STEP_COST // NODE_COST)


@pytest.mark.parametrize(
    "body_rlp",
    [
        join_list([join_list([b"\xc1\x01"] * 20_000), b"\xc0"]),
        join_list([join_list([encode_string(bytes(5_000_000))]), b"\xc0"]),
        join_list([b"\xc0", join_list([encode_string(bytes(5_000_000))])]),
    ],
    ids=["many-transactions", "a-huge-transaction", "huge-uncles"],
)
def test_one_huge_body_is_many_slices_of_which_one_has_its_roots(body_rlp):
    slices = list(digest_slices(BlockBodies([body_rlp])))
    roots = body_roots(body_rlp)
    assert b"".join(slices) == roots.transactions_root + roots.uncles_hash
    assert len(slices) > 20


def test_body_of_a_wrong_shape_is_a_fault():
    with pytest.raises(MalformedRlp):
        list(digest_slices(BlockBodies([b"\xc1\xc0"])))


def test_reply_below_the_limit_is_one_part():
    parts = cut_parts([b"a", b"b"], b"x" * 64)
    assert parts == [([b"a", b"b"], b"x" * 64)]


def test_empty_reply_is_one_empty_part():
    assert cut_parts([], b"") == [([], b"")]


def test_ten_megabyte_reply_is_three_parts():
    items = [bytes(100_000)] * 100
    parts = cut_parts(items, bytes(6400))
    assert [len(part.items) for part in parts] == [41, 41, 18]
    assert all(sum(map(len, part.items)) <= PART_BYTES for part in parts)


@given(st.lists(st.binary(max_size=30), max_size=30), st.integers(1, 60), st.sampled_from([32, 64]))
def test_parts_hold_every_item_once_in_order_and_keep_the_limit(items: list[bytes], limit: int, width: int):
    digests = b"".join(index.to_bytes(width) for index in range(len(items)))
    parts = cut_parts(items, digests, limit)
    assert [item for part in parts for item in part.items] == items
    assert b"".join(part.digests for part in parts) == digests
    for part in parts:
        assert len(part.digests) == width * len(part.items)
        assert len(part.items) <= 1 or sum(map(len, part.items)) <= limit
