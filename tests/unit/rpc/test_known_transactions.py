import pytest
from blocksync.v1 import broadcast_pb2
from hypothesis import given
from hypothesis import strategies as st

from services.shared.ethwire.types import PeerId
from services.shared.rpc.errors import InvalidRequest
from services.shared.rpc.known_transactions import (
    known_transactions_from_proto,
    known_transactions_to_proto,
    transaction_hashes_from_proto,
)

hashes = st.binary(min_size=32, max_size=32)


@given(st.lists(st.booleans(), max_size=20), st.data())
def test_what_is_packed_comes_out_again(places, data):
    row = [PeerId(bytes([place]) * 64) if taken else None for place, taken in enumerate(places)]
    known = data.draw(st.lists(st.tuples(hashes, st.integers(0, 2**25)), max_size=8))
    everyone = 2 ** len(row) - 1
    part = known_transactions_to_proto(row, known)
    assert known_transactions_from_proto(part) == (row, [(one, knowers & everyone) for one, knowers in known])


@pytest.mark.parametrize(
    "part",
    [
        broadcast_pb2.KnownTransactions(hashes=b"h" * 31),
        broadcast_pb2.KnownTransactions(hashes=b"h" * 32, knowers=b"\x01"),
        broadcast_pb2.KnownTransactions(node_ids=[b"A" * 64], hashes=b"h" * 64, knowers=b"\x01"),
        broadcast_pb2.KnownTransactions(node_ids=[b"A" * 63], hashes=b"h" * 32, knowers=b"\x01"),
    ],
    ids=["half a hash", "knowers without peers", "too few knowers", "short node id"],
)
def test_part_of_another_shape_is_refused_at_once(part):
    with pytest.raises(InvalidRequest):
        known_transactions_from_proto(part)


def test_hashes_must_be_as_many_as_the_transactions():
    message = broadcast_pb2.SendTransactions(transactions_rlp=[b"\xc0", b"\xc0"], hashes=b"h" * 32)
    with pytest.raises(InvalidRequest, match="1 hashes for 2 transactions"):
        transaction_hashes_from_proto(message)
    message.hashes = b""
    assert transaction_hashes_from_proto(message) == []
