"""Blocks of a fast sync: complete with body and receipts, split at the pivot, in two import lanes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.ethwire.types import Block
from services.sync_coordinator.core.block_assembly import FRONT_BODIES, BlockAssembly
from services.sync_coordinator.core.block_download import BlockDownload
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.import_batches import BlockImports
from services.sync_coordinator.core.linked_headers import LinkedHeaders
from services.sync_coordinator.core.pivot import Pivot
from services.sync_coordinator.core.sync_actions import CommitPivot, ImportBlocks, ImportFastBlocks
from services.sync_coordinator.core.sync_faults import SyncFailed, SyncFault
from tests.support.chain_maker import EMPTY_RECEIPTS, made_chain
from tests.support.peers import ALICE

CHAIN = made_chain(60, branch=5, empty_every=1000)
MIXED = made_chain(60, branch=7, empty_every=2)
EMPTY = made_chain(60, branch=6, empty_every=1)


def assembly_of(headers=(), **limits):
    assembly = BlockAssembly(DownloaderConfig(**limits), with_receipts=True)
    assembly.open(headers)
    return assembly


def complete(assembly, chain, *numbers):
    for number in numbers:
        assembly.add_body(chain.headers[number], chain.bodies[number].body_rlp)
        assembly.add_receipts(chain.headers[number], chain.receipts[number].receipts_rlp)


def numbers_of(assembled):
    return [block.header.number for block in assembled.blocks]


def test_block_is_complete_with_body_and_receipts():
    assembly = assembly_of(CHAIN.headers[1:4])
    assembly.add_body(CHAIN.headers[1], b"body")
    assert (assembly.waiting, assembly.incomplete, assembly.newest_assembled) == (0, 3, 0)
    assert numbers_of(assembly.take(10)) == []
    assembly.add_receipts(CHAIN.headers[1], b"receipts")
    assert (assembly.waiting, assembly.incomplete, assembly.newest_assembled) == (1, 2, 1)
    taken = assembly.take(10)
    assert taken.blocks == [Block(CHAIN.headers[1], b"body")]
    assert taken.receipts == {CHAIN.headers[1].hash: b"receipts"}


def test_only_needed_receipts_are_asked_and_kept():
    assembly = assembly_of()
    needed = assembly.open(MIXED.headers[1:5])
    assert needed.bodies == needed.receipts == [MIXED.headers[1], MIXED.headers[3]]
    complete(assembly, MIXED, 1, 3)
    taken = assembly.take(10)
    assert numbers_of(taken) == [1, 2, 3, 4]
    assert taken.receipts.keys() == {MIXED.headers[1].hash, MIXED.headers[3].hash}


def test_newest_assembled_block_follows_only_complete_ones():
    assembly = assembly_of(CHAIN.headers[11:20])
    assert assembly.newest_assembled == 10
    complete(assembly, CHAIN, 13, 12)
    assert assembly.newest_assembled == 10
    complete(assembly, CHAIN, 11)
    assert assembly.newest_assembled == 13
    assembly.take(2)
    assert assembly.newest_assembled == 13
    complete(assembly, CHAIN, 14)
    assert assembly.newest_assembled == 14


def test_nothing_above_the_bound_is_taken():
    assembly = assembly_of(EMPTY.headers[1:10])
    assert numbers_of(assembly.take(10, up_to=4)) == [1, 2, 3, 4]
    assembly.on_imported()
    assert numbers_of(assembly.take(10, up_to=4)) == []
    assert numbers_of(assembly.take(10)) == [5, 6, 7, 8, 9]


def test_urgent_blocks_are_taken_in_and_asked_for_although_the_bounds_are_reached():
    assembly = assembly_of(CHAIN.headers[1:11], max_assembled_blocks=10, max_assembled_bytes=100)
    complete(assembly, CHAIN, *range(1, 9))
    assert assembly.room() == 0
    assert assembly.receipts_budget(0, CHAIN.headers[9]) <= 0
    assembly.urgent_to = 15
    assert assembly.room() == 5
    assert assembly.body_budget(0, CHAIN.headers[9]) == FRONT_BODIES
    assert assembly.receipts_budget(0, CHAIN.headers[9]) == FRONT_BODIES
    assert assembly.receipts_budget(0, CHAIN.headers[16]) <= 0


@given(st.permutations(range(1, 13)), st.permutations(range(1, 13)), st.integers(1, 5), st.integers(0, 12))
def test_every_block_leaves_once_and_its_bytes_with_it(bodies, receipts, most, up_to):
    assembly = assembly_of(CHAIN.headers[1:13])
    left: list[int] = []
    for body, kept in zip(bodies, receipts, strict=True):
        assembly.add_body(CHAIN.headers[body], b"body")
        assembly.add_receipts(CHAIN.headers[kept], b"receipts")
        left += numbers_of(assembly.take(most, up_to=up_to))
        assert assembly.incomplete + assembly.waiting + len(left) >= 12
        assembly.on_imported()
    while taken := numbers_of(assembly.take(most)):
        left += taken
    assert left == list(range(1, 13))
    assembly.on_imported()
    assert (assembly.size_bytes, assembly.waiting, assembly.incomplete) == (0, 0, 0)


def opened(chain, count=12):
    headers = LinkedHeaders(0, chain.headers[0].hash)
    headers.add(chain.headers[1 : count + 1])
    blocks = BlockDownload(DownloaderConfig(), with_receipts=True)
    blocks.open(headers)
    return blocks


def deliver(blocks, reply, count=6):
    reservation = blocks.receipts.queue.reserve(1, ALICE, count, 0.0)
    matched = blocks.receipts.match(reservation, reply)
    blocks.receipts.queue.complete(1, matched.missing)
    return [header.number for header in matched.missing], matched.has_foreign


def test_receipts_belong_to_the_block_with_their_root():
    blocks = opened(CHAIN)
    assert deliver(blocks, [CHAIN.receipts[number] for number in (2, 3, 6)]) == ([1, 4, 5], False)
    assert blocks.receipts.fetched == 3
    assert deliver(blocks, [CHAIN.receipts[9]], count=3) == ([1, 4, 5], True)


def test_all_is_marked_lacking_when_no_receipts_come():
    blocks = opened(CHAIN)
    assert deliver(blocks, []) == ([1, 2, 3, 4, 5, 6], False)
    assert blocks.receipts.queue.lacking_count(ALICE) == 6
    assert blocks.bodies.queue.lacking_count(ALICE) == 0


@pytest.mark.parametrize("false", [{"bloom": bytes(255) + b"\1"}, {"gas_used": 20_999}], ids=["bloom", "gas used"])
def test_chain_is_invalid_when_receipts_with_the_right_root_have_another_bloom_or_gas(false):
    blocks = opened(CHAIN)
    with pytest.raises(SyncFailed) as failed:
        deliver(blocks, [CHAIN.receipts[1]._replace(**false)])
    assert failed.value.fault is SyncFault.INVALID_CHAIN


@pytest.mark.parametrize("false", [{"bloom": bytes(255) + b"\1"}, {"gas_used": 1}], ids=["bloom", "gas used"])
def test_chain_is_invalid_when_a_header_without_receipts_has_a_bloom_or_gas(false):
    with pytest.raises(SyncFailed) as failed:
        opened(EMPTY.changed_at(5, **false))
    assert failed.value.fault is SyncFault.INVALID_CHAIN


class Lane:
    """The block lane of a fast sync whose blocks are all here."""

    def __init__(self, height, *, distance=4):
        self.assembly = assembly_of(EMPTY.headers[1 : height + 1])
        self.pivot = Pivot(height, distance)
        self.imports = BlockImports(DownloaderConfig(import_batch=5))
        self.ids = itertools.count(1)

    def next(self, *, whole=False):
        return self.imports.next_fast(self.assembly, self.pivot, self.ids.__next__, state_is_whole=whole)

    def imported(self):
        self.imports.on_imported(0.0)
        self.assembly.on_imported()


def test_pivot_is_committed_between_fast_and_full_blocks_once_its_state_is_whole():
    lane = Lane(12)
    lane.pivot.see(EMPTY.headers[1:13])
    first = lane.next()
    assert isinstance(first, ImportFastBlocks)
    assert numbers_of(first) == [1, 2, 3, 4, 5]
    assert lane.next(whole=True) is None, "one batch at a time"
    lane.imported()
    second = lane.next(whole=True)
    assert isinstance(second, ImportFastBlocks)
    assert numbers_of(second) == [6, 7, 8]
    lane.imported()
    assert lane.next() is None
    commit = lane.next(whole=True)
    assert isinstance(commit, CommitPivot)
    assert commit.header == EMPTY.headers[8]
    assert lane.imports.is_committing
    assert lane.pivot.is_pending
    lane.imported()
    assert not lane.pivot.is_pending
    last = lane.next()
    assert isinstance(last, ImportBlocks)
    assert numbers_of(last) == [9, 10, 11, 12]
    lane.imported()
    assert lane.imports.lane.imported == 12


def test_blocks_below_the_new_place_are_fast_ones_when_the_pivot_moves():
    lane = Lane(12)
    lane.pivot.see(EMPTY.headers[1:13])
    for _ in range(2):
        lane.next()
        lane.imported()
    lane.pivot.move_to(EMPTY.headers[10])
    assert lane.next(whole=True) is not None
    assert lane.imports.lane.in_batch == 2
    lane.imported()
    commit = lane.next(whole=True)
    assert isinstance(commit, CommitPivot)
    assert commit.header == EMPTY.headers[10]


def test_all_blocks_are_full_when_there_is_no_pivot():
    lane = Lane(4)
    batch = lane.next()
    assert isinstance(batch, ImportBlocks)
    assert numbers_of(batch) == [1, 2, 3, 4]
    assert EMPTY_RECEIPTS.receipts_rlp not in batch.receipts.values()
