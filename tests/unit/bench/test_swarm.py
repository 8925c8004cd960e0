"""Which blocks `bench.swarm` pushes, and what it makes of what peers heard."""

from __future__ import annotations

import pytest

from bench.hearing_peers import Heard
from bench.swarm import Chain, rows_of_blocks
from services.shared.ethwire.types import BlockHash
from tests.support.chain_maker import made_chain
from trisync.cli.failures import CommandFailed

MADE = made_chain(5)
CHAIN = Chain(MADE.headers[0], [MADE.block(number) for number in range(1, 6)])


def test_blocks_above_the_targets_head_are_pushed_with_their_total_difficulty():
    assert CHAIN.next_after(MADE.headers[0].hash, 2) == [(MADE.block(1), 2000), (MADE.block(2), 3000)]
    assert CHAIN.next_after(MADE.headers[3].hash, 9) == [(MADE.block(4), 5000), (MADE.block(5), 6000)]


def test_a_target_without_room_or_on_another_chain_is_told():
    with pytest.raises(CommandFailed, match="has the whole chain"):
        CHAIN.next_after(MADE.headers[5].hash, 1)
    with pytest.raises(CommandFailed, match="is not in"):
        CHAIN.next_after(BlockHash(b"\x77" * 32), 1)


def test_rows_tell_who_heard_and_how_soon():
    told = [
        {0: Heard(1.010, whole=True), 1: Heard(1.020, whole=True), 2: Heard(1.5, whole=False)},
        {0: Heard(2.030, whole=True)},
    ]
    rows = {row.name: round(row.value, 3) for row in rows_of_blocks([1.0, 2.0], told, others=3, repeated=0)}
    assert rows["blocks pushed"] == 2
    assert rows["peers that heard of a block, of the others"] == 2
    assert rows["of these, sent it whole"] == 1.5
    assert (rows["first sent it whole: p50"], rows["last sent it whole: longest"]) == (20, 30)
    assert rows["first told its hash: p50"] == 500
