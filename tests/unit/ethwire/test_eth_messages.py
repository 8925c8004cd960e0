from __future__ import annotations

from typing import Any

import pytest
import rlp
from hypothesis import given
from hypothesis import strategies as st

from services.shared.ethwire.eth_messages import (
    ETH_VERSIONS,
    MessageTooLarge,
    UnknownMessageCode,
    decode_message,
    encode_message,
)
from services.shared.ethwire.faults import DisconnectReason, PeerFault
from services.shared.ethwire.limits import (
    MAX_ANNOUNCES_PER_MESSAGE,
    MAX_ETH_MESSAGE_BYTES,
    MAX_ITEMS_PER_REPLY,
    MAX_TRANSACTIONS_READ,
)
from services.shared.ethwire.messages import (
    BlockBodies,
    BlockHeaders,
    GetBlockBodies,
    GetBlockHeaders,
    GetNodeData,
    GetReceipts,
    MessageCode,
    NewBlock,
    NewBlockHashes,
    NodeData,
    Receipts,
    Status,
    Transactions,
)
from services.shared.ethwire.rlp_slices import join_list
from services.shared.ethwire.types import Announce

HASHES = st.binary(min_size=32, max_size=32)
UINT64 = st.integers(0, 2**64 - 1)
LISTS = st.lists(st.lists(st.binary(max_size=40), max_size=3).map(rlp.encode), max_size=4)
BODIES = st.tuples(st.lists(st.lists(st.binary(max_size=9), max_size=2)), st.just([])).map(list).map(rlp.encode)
MESSAGES = st.one_of(
    st.builds(Status, st.integers(62, 63), UINT64, st.integers(0, 2**256 - 1), HASHES, HASHES),
    st.builds(NewBlockHashes, st.lists(st.builds(Announce, HASHES, UINT64), max_size=4)),
    st.builds(Transactions, st.lists(st.lists(st.binary(), min_size=1, max_size=3).map(rlp.encode), max_size=4)),
    st.builds(GetBlockHeaders, st.one_of(HASHES, UINT64), UINT64, UINT64, st.booleans()),
    st.builds(BlockHeaders, LISTS),
    st.builds(GetBlockBodies, st.lists(HASHES, max_size=5)),
    st.builds(BlockBodies, st.lists(BODIES, max_size=3)),
    st.builds(NewBlock, LISTS.map(lambda items: rlp.encode([items])), BODIES, st.integers(0, 2**256 - 1)),
    st.builds(GetNodeData, st.lists(HASHES, max_size=5)),
    st.builds(NodeData, st.lists(st.binary(), max_size=4)),
    st.builds(GetReceipts, st.lists(HASHES, max_size=5)),
    st.builds(Receipts, LISTS),
)


@given(MESSAGES)
def test_message_survives_the_round_trip(message):
    code, payload = encode_message(63, message)
    assert decode_message(63, code, payload) == message


@given(st.sampled_from(sorted(ETH_VERSIONS)), st.integers(0, 20), st.binary(max_size=200))
def test_any_bytes_give_a_message_or_a_fault(version, code, payload):
    try:
        message = decode_message(version, code, payload)
    except PeerFault:
        return
    assert encode_message(version, message) == (code, payload)


def test_versions_have_the_codes_and_lengths_of_the_specification():
    since_62 = set(range(8))
    assert ETH_VERSIONS[62].codecs.keys() == since_62
    assert ETH_VERSIONS[63].codecs.keys() == since_62 | {0x0D, 0x0E, 0x0F, 0x10}
    assert {version: eth.length for version, eth in ETH_VERSIONS.items()} == {62: 8, 63: 17}


def test_message_of_a_later_version_is_neither_read_nor_written():
    code, payload = encode_message(63, GetReceipts([]))
    with pytest.raises(UnknownMessageCode):
        decode_message(62, code, payload)
    with pytest.raises(ValueError, match="eth/62 has no GetReceipts"):
        encode_message(62, GetReceipts([]))


def test_message_is_refused_when_it_is_over_ten_mebibytes():
    with pytest.raises(MessageTooLarge):
        decode_message(63, MessageCode.NODE_DATA, bytes(MAX_ETH_MESSAGE_BYTES + 1))


@pytest.mark.parametrize(
    ("code", "value"),
    [
        (MessageCode.STATUS, [b"\x3f", b"\x01", b"\x02", b"h" * 32]),
        (MessageCode.STATUS, [b"\x3f", b"\x01", b"\x02", b"h" * 32, b"g" * 31]),
        (MessageCode.NEW_BLOCK_HASHES, [[b"h" * 32]]),
        (MessageCode.TRANSACTIONS, [[]]),
        (MessageCode.TRANSACTIONS, [b""]),
        (MessageCode.TRANSACTIONS, [b"\x01"]),
        (MessageCode.GET_BLOCK_HEADERS, [b"\x01", b"\x01", b""]),
        (MessageCode.GET_BLOCK_HEADERS, [b"\x01", b"\x01", b"", b"\x02"]),
        (MessageCode.GET_BLOCK_HEADERS, [b"\x01" * 9, b"\x01", b"", b""]),
        (MessageCode.BLOCK_HEADERS, [b"string"]),
        (MessageCode.BLOCK_BODIES, [[[], [], []]]),
        (MessageCode.BLOCK_BODIES, [[[]]]),
        (MessageCode.NEW_BLOCK, [[[], [], []]]),
        (MessageCode.NEW_BLOCK, [[[], []], b"\x01"]),
        (MessageCode.NEW_BLOCK, [[[], [], [], []], b"\x01"]),
        (MessageCode.NODE_DATA, [[b"list"]]),
        (MessageCode.RECEIPTS, [b"string"]),
    ],
)
def test_message_of_the_wrong_shape_is_refused(code, value):
    with pytest.raises(PeerFault) as refusal:
        decode_message(63, code, rlp.encode(value))
    assert refusal.value.disconnect_reason is DisconnectReason.SUBPROTOCOL_ERROR


@pytest.mark.parametrize(
    ("code", "item", "most"),
    [
        (MessageCode.NEW_BLOCK_HASHES, rlp.encode([b"h" * 32, b"\x01"]), MAX_ANNOUNCES_PER_MESSAGE),
        (MessageCode.BLOCK_HEADERS, b"\xc0", MAX_ITEMS_PER_REPLY),
        (MessageCode.BLOCK_BODIES, b"\xc2\xc0\xc0", MAX_ITEMS_PER_REPLY),
        (MessageCode.NODE_DATA, b"\x01", MAX_ITEMS_PER_REPLY),
        (MessageCode.RECEIPTS, b"\xc0", MAX_ITEMS_PER_REPLY),
    ],
)
def test_message_is_refused_when_it_has_more_items_than_anybody_needs(code, item, most):
    message: Any = decode_message(63, code, join_list([item] * most))
    assert len(message[0]) == most
    with pytest.raises(PeerFault, match=f"more than {most} items"):
        decode_message(63, code, join_list([item] * (most + 1)))


def test_what_follows_the_transactions_that_are_read_is_not_looked_at():
    transactions = [rlp.encode([bytes([number % 256, number // 256])]) for number in range(MAX_TRANSACTIONS_READ + 1)]
    message = decode_message(63, MessageCode.TRANSACTIONS, join_list(transactions))
    assert message == Transactions(transactions[:MAX_TRANSACTIONS_READ])


def test_typed_transaction_is_carried_as_the_string_it_is():
    typed = rlp.encode(b"\x02" + rlp.encode([b"\x01"]))
    assert decode_message(63, MessageCode.TRANSACTIONS, rlp.encode([b"\x02" + rlp.encode([b"\x01"])])) == Transactions(
        [typed]
    )
