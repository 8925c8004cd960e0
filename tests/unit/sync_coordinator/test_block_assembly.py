"""Blocks are put together in order, within bounds of count and memory."""

from __future__ import annotations

import pytest

from services.shared.ethwire.bodies import EMPTY_BODY_RLP
from services.shared.ethwire.types import Block
from services.sync_coordinator.core.block_assembly import FRONT_BODIES, BlockAssembly
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from tests.support.chain_maker import made_chain

CHAIN = made_chain(60, branch=5, empty_every=1000)
EMPTY = made_chain(60, branch=6, empty_every=1)
MIXED = made_chain(60, branch=7, empty_every=2)


def assembly_of(headers=(), **limits):
    assembly = BlockAssembly(DownloaderConfig(**limits))
    assembly.open(headers)
    return assembly


def test_blocks_leave_in_order_when_bodies_come_in_any_order():
    assembly = assembly_of(CHAIN.headers[1:5])
    for number in (3, 2, 4):
        assembly.add_body(CHAIN.headers[number], b"body %d" % number)
    assert assembly.take(10).blocks == []
    assert assembly.waiting == 3
    assembly.add_body(CHAIN.headers[1], b"body 1")
    assert assembly.take(3).blocks == [Block(CHAIN.headers[number], b"body %d" % number) for number in (1, 2, 3)]
    assembly.on_imported()
    assert assembly.take(3).blocks == [Block(CHAIN.headers[4], b"body 4")]
    assert len(assembly) == 0


def test_empty_blocks_are_complete_at_once():
    assembly = assembly_of()
    assert assembly.open(MIXED.headers[1:5]).bodies == [MIXED.headers[1], MIXED.headers[3]]
    assert assembly.waiting == 2
    assembly.add_body(MIXED.headers[1], b"one")
    assert assembly.take(10).blocks == [Block(MIXED.headers[1], b"one"), Block(MIXED.headers[2], EMPTY_BODY_RLP)]


def test_room_counts_the_window_and_what_the_importer_has():
    assembly = assembly_of(EMPTY.headers[1:7], max_assembled_blocks=10)
    assert assembly.room() == 4
    assembly.take(5)
    assert assembly.room() == 4
    assembly.on_imported()
    assert assembly.room() == 9


def test_memory_is_freed_when_the_importer_is_done():
    assembly = assembly_of(CHAIN.headers[1:3])
    assembly.add_body(CHAIN.headers[1], bytes(1000))
    size = 1000 + len(CHAIN.headers[1].header_rlp)
    assert assembly.size_bytes == size
    assembly.take(1)
    assert (assembly.size_bytes, assembly.importing_bytes, assembly.waiting) == (size, size, 1)
    assembly.on_imported()
    assert (assembly.size_bytes, assembly.importing_bytes, assembly.waiting) == (0, 0, 0)


def test_bodies_are_asked_only_as_far_as_they_are_thought_to_fit():
    assembly = assembly_of(CHAIN.headers[1:50], max_assembled_bytes=20_000)
    body = bytes(1000 - len(CHAIN.headers[2].header_rlp))
    for number in range(2, 7):
        assembly.add_body(CHAIN.headers[number], body)
    assert assembly.size_bytes == pytest.approx(5000, rel=0.01)
    assert assembly.body_budget(0, CHAIN.headers[7]) == pytest.approx(15, abs=1)
    assert assembly.body_budget(10, CHAIN.headers[7]) == pytest.approx(5, abs=1)
    assert assembly.body_budget(20, CHAIN.headers[7]) <= 0


def test_body_that_import_waits_for_is_asked_even_when_memory_is_full():
    assembly = assembly_of(CHAIN.headers[1:50], max_assembled_bytes=5000)
    for number in range(2, 12):
        assembly.add_body(CHAIN.headers[number], bytes(1000))
    assert assembly.body_budget(0, CHAIN.headers[12]) <= 0
    assert assembly.body_budget(0, CHAIN.headers[1]) == FRONT_BODIES


def test_average_size_follows_the_blocks():
    assembly = assembly_of(CHAIN.headers[1:50], max_assembled_bytes=1_000_000)
    assembly.add_body(CHAIN.headers[2], bytes(100))
    generous = assembly.body_budget(0, None)
    for number in range(3, 30):
        assembly.add_body(CHAIN.headers[number], bytes(10_000))
    assert assembly.body_budget(0, None) < generous / 5
