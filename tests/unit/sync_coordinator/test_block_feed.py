"""Cursors, and the walk from where a reader stands to the end of the chain."""

from __future__ import annotations

import string

import pytest

from services.shared.ethwire.types import BlockHash
from services.sync_coordinator.core.block_feed import (
    Apply,
    BlockForgotten,
    ChainBroken,
    FeedHeader,
    Position,
    Undo,
    position_after,
    steps_from,
)
from services.sync_coordinator.core.feed_cursor import (
    Cursor,
    CursorInvalid,
    Direction,
    Place,
    decode_cursor,
    encode_cursor,
)
from tests.support.chain_maker import made_chain
from tests.support.feed_reader import GENESIS_HASH, FeedReader, MemoryFeed
from tests.support.memory_chain import MemoryChain

LIGHT = made_chain(40, branch=1, difficulty=1000)
HEAVY = LIGHT.shortened(30).extended(20, branch=2, difficulty=1000)
OTHER_GENESIS = BlockHash(b"\x0e" * 32)
CURSOR = Cursor(Direction.APPLY, Place(40, LIGHT.head.hash), 7)


def feed_of(*chains) -> MemoryFeed:
    chain = MemoryChain()
    for one in chains:
        chain.fill(one)
    return MemoryFeed(chain)


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("number", [0, 1, 2**64 - 1])
def test_cursor_is_read_back(direction, number):
    cursor = Cursor(direction, Place(number, LIGHT.head.hash), min(number, 3))
    text = encode_cursor(cursor, GENESIS_HASH)
    assert len(text) == 84
    assert decode_cursor(text, GENESIS_HASH) == cursor


def test_cursor_of_another_chain_is_refused_with_both_genesis_hashes():
    text = encode_cursor(CURSOR, OTHER_GENESIS)
    with pytest.raises(CursorInvalid) as refused:
        decode_cursor(text, GENESIS_HASH)
    for part in (text, "0x0e0e0e0e0e0e0e0e", f"0x{GENESIS_HASH[:8].hex()}", "start from a number"):
        assert part in str(refused.value)


@pytest.mark.parametrize("text", ["", "700", "é" * 84, "A" * 5000, encode_cursor(CURSOR, GENESIS_HASH)[:-4]])
def test_what_is_no_cursor_is_refused_in_a_short_line(text):
    with pytest.raises(CursorInvalid, match=r"84 characters|format is 0") as refused:
        decode_cursor(text, GENESIS_HASH)
    assert len(str(refused.value)) < 300


def test_cursor_with_any_character_changed_is_refused():
    text = encode_cursor(CURSOR, GENESIS_HASH)
    for at in range(len(text)):
        changed = text[:at] + ("B" if text[at] != "B" else "C") + text[at + 1 :]
        with pytest.raises(CursorInvalid):
            decode_cursor(changed, GENESIS_HASH)


def test_cursor_is_refused_when_bits_that_say_nothing_are_set():
    text = encode_cursor(CURSOR, GENESIS_HASH)
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    changed = text[:-2] + alphabet[alphabet.index(text[-2]) + 1] + text[-1]
    with pytest.raises(CursorInvalid, match="checksum"):
        decode_cursor(changed, GENESIS_HASH)


def test_the_whole_chain_is_applied_in_order_when_a_reader_is_new():
    feed, reader = feed_of(LIGHT), FeedReader()
    steps = reader.read(feed)
    assert [step.header.header_rlp for step in steps if isinstance(step, Apply)] == [
        header.header_rlp for header in LIGHT.headers
    ]
    assert len(steps) == 41


def test_nothing_is_sent_when_the_chain_ends_below_the_first_number_wanted():
    assert list(steps_from(feed_of(LIGHT), Position(41, None))) == []


def test_newest_blocks_are_undone_first_when_the_chain_left_them():
    feed, reader = feed_of(LIGHT), FeedReader()
    reader.read(feed)
    feed.chain.fill(HEAVY)
    steps = reader.read(feed)
    assert [step.block for step in steps[:10] if isinstance(step, Undo)] == [
        Place(number, LIGHT.headers[number].hash) for number in range(40, 30, -1)
    ]
    assert [step.header.block.number for step in steps[10:] if isinstance(step, Apply)] == list(range(31, 51))
    assert reader.has_all_of(feed.chain)


@pytest.mark.parametrize("stop_after", range(30))
def test_resumed_stream_goes_on_at_any_step_of_a_reorg(stop_after):
    feed, reader = feed_of(LIGHT), FeedReader()
    reader.read(feed)
    feed.chain.fill(HEAVY)
    reader.read(feed, stop_after)
    reader.read(feed)
    assert reader.has_all_of(feed.chain)
    assert reader.undone == 10


def test_nothing_below_the_first_number_wanted_is_undone():
    feed, reader = feed_of(LIGHT), FeedReader(35)
    reader.read(feed)
    feed.chain.fill(HEAVY)
    steps = reader.read(feed, 6)
    assert [step.block.number for step in steps if isinstance(step, Undo)] == [40, 39, 38, 37, 36, 35]
    assert reader.position(feed) == Position(35, None)
    reader.read(feed)
    assert reader.has_all_of(feed.chain)


def test_undone_blocks_come_back_when_the_chain_returns_to_them():
    feed, reader = feed_of(LIGHT), FeedReader()
    reader.read(feed)
    feed.chain.fill(HEAVY)
    reader.read(feed, 5)
    feed.chain.fill(LIGHT.extended(30, branch=1))
    steps = reader.read(feed)
    assert [type(step) for step in steps] == [Apply] * 35
    assert reader.has_all_of(feed.chain)


def test_cursor_of_a_block_that_is_not_stored_is_refused():
    cursor = Cursor(Direction.APPLY, Place(40, LIGHT.head.hash), 0)
    with pytest.raises(BlockForgotten, match=rf"block 40 0x{LIGHT.head.hash.hex()} .* start from a number"):
        position_after(feed_of(HEAVY.shortened(35)), cursor)


def test_stream_ends_when_a_block_to_undo_was_forgotten():
    chain = MemoryChain()
    chain.fill_headers(LIGHT)
    feed, reader = MemoryFeed(chain), FeedReader()
    reader.read(feed)
    position = reader.position(feed)
    chain.forget(LIGHT.headers[38:])
    with pytest.raises(BlockForgotten, match="block 40 "):
        list(steps_from(feed, position))


def test_reorg_between_two_reads_makes_no_gap():
    feed, reader = feed_of(LIGHT), FeedReader()
    steps = steps_from(feed, Position(0, None))
    for _ in range(35):
        reader.take(next(steps))
    feed.chain.fill(HEAVY)
    for step in steps:
        reader.take(step)
    assert reader.has_all_of(feed.chain)


def test_headers_above_the_ceiling_wait():
    feed, reader = MemoryFeed(feed_of(LIGHT).chain, ceiling=20), FeedReader()
    reader.read(feed)
    assert reader.blocks[-1].number == 20
    feed.ceiling = None
    reader.read(feed)
    assert reader.has_all_of(feed.chain)


def test_damaged_store_ends_the_stream_instead_of_holding_it():
    class Damaged(MemoryFeed):
        def shown_headers(self, start: int, amount: int) -> list[FeedHeader]:
            return [each._replace(parent_hash=OTHER_GENESIS) for each in super().shown_headers(start, amount)]

    with pytest.raises(ChainBroken, match="canonical block 1 "):
        list(steps_from(Damaged(feed_of(LIGHT).chain), Position(0, None)))
