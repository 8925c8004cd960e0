"""The ledgers of several broadcasters put together."""

from __future__ import annotations

from typing import Any

import pytest
from blocksync.v1 import blocks_pb2

from services.sync_coordinator.edges.propagations import merged

ALICE, BOB = b"A" * 64, b"B" * 64


def part(**fields: Any) -> blocks_pb2.Propagation:
    return blocks_pb2.Propagation(
        block_hash=b"\x01" * 32, number=9, source=blocks_pb2.BLOCK_SOURCE_PEER, header_valid_us=100, **fields
    )


@pytest.mark.parametrize("order", [1, -1])
def test_times_are_the_earliest_and_counts_are_added(order: int):
    east = part(
        first_seen_us=90, first_seen_from=ALICE, whole_arrivals=1, propagated_us=120, propagated_to=2, lacked_by=7
    )
    west = part(
        first_seen_us=80, first_seen_from=BOB, first_seen_whole=True, whole_arrivals=2, hash_arrivals=1,
        propagated_us=110, propagated_to=3, lacked_by=8, announced_us=300, announced_to=5, refused_by=1,
    )  # fmt: skip
    one = merged([east, west][::order])
    assert (one.first_seen_us, one.first_seen_from, one.first_seen_whole) == (80, BOB, True)
    assert (one.whole_arrivals, one.hash_arrivals, one.duplicates) == (3, 1, 3)
    assert (one.header_valid_us, one.propagated_us, one.imported_us, one.announced_us) == (100, 110, 0, 300)
    assert (one.propagated_to, one.lacked_by, one.announced_to, one.refused_by) == (5, 15, 5, 1)


def test_one_broadcasters_record_stays_as_it_is():
    alone = part(first_seen_us=90, first_seen_from=ALICE, whole_arrivals=2, duplicates=1)
    assert merged([alone]) == alone
