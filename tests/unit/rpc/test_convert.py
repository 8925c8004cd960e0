from __future__ import annotations

import pytest
from blocksync.v1 import common_pb2
from hypothesis import given
from hypothesis import strategies as st

from services.shared.ethwire.faults import DisconnectReason
from services.shared.ethwire.messages import GetBlockHeaders
from services.shared.ethwire.types import Announce, BlockHash
from services.shared.rpc import convert
from services.shared.rpc.errors import InvalidRequest

hashes = st.binary(min_size=32, max_size=32).map(BlockHash)
uint64 = st.integers(0, 2**64 - 1)


@given(st.builds(GetBlockHeaders, hashes | uint64, uint64, uint64, st.booleans()))
def test_headers_query_survives_the_way_there_and_back(query: GetBlockHeaders):
    assert convert.headers_query_from_proto(convert.headers_query_to_proto(query)) == query


@given(st.lists(hashes))
def test_joined_hashes_split_into_the_same_ones(found: list[BlockHash]):
    assert convert.split_hashes(b"".join(found)) == found


@given(st.integers(0, 2**300))
def test_big_number_survives_and_has_no_leading_zeros(number: int):
    packed = convert.big_to_bytes(number)
    assert convert.big_from_bytes(packed) == number
    assert packed[:1] != b"\0"


@given(st.lists(st.builds(Announce, hashes, uint64)))
def test_announces_survive_the_way_there_and_back(announces: list[Announce]):
    assert convert.announces_from_proto(convert.announces_to_proto(announces)) == announces


@pytest.mark.parametrize("reason", DisconnectReason)
def test_disconnect_reason_has_its_number_in_the_contract(reason: DisconnectReason):
    packed = convert.reason_to_proto(reason)
    assert common_pb2.DisconnectReason.Name(packed) == f"DISCONNECT_REASON_{reason.name}"
    assert convert.reason_from_proto(packed) is reason


@pytest.mark.parametrize("number", [0, 14, 16, 18, 99])
def test_number_that_is_no_reason_is_refused(number: int):
    with pytest.raises(InvalidRequest, match=f"{number} is not a disconnect reason"):
        convert.reason_from_proto(number)


@pytest.mark.parametrize("size", [0, 1, 31, 33])
def test_value_of_the_wrong_length_is_refused(size: int):
    with pytest.raises(InvalidRequest, match="32 bytes"):
        convert.block_hash_from_proto(bytes(size))
    with pytest.raises(InvalidRequest, match="64 bytes"):
        convert.peer_id_from_proto(bytes(size))


def test_hashes_that_do_not_add_up_are_refused():
    with pytest.raises(InvalidRequest, match="33 bytes"):
        convert.split_hashes(bytes(33))


def test_headers_query_without_an_origin_is_refused():
    with pytest.raises(InvalidRequest, match="neither"):
        convert.headers_query_from_proto(common_pb2.HeadersQuery(amount=1))
