"""Where a fast sync turns from fast blocks to full ones, and which mode the next sync runs in."""

from __future__ import annotations

import pytest

from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.fork_choice import Heads
from services.sync_coordinator.core.pivot import Pivot, pivot_number
from services.sync_coordinator.core.sync_actions import SyncMode
from services.sync_coordinator.core.sync_mode import mode_to_run
from tests.support.chain_maker import made_chain

DISTANCE = DownloaderConfig().pivot_distance
CHAIN = made_chain(300)


@pytest.mark.parametrize(("height", "pivot"), [(0, None), (1, None), (64, None), (65, 1), (66, 2), (10_000, 9_936)])
def test_pivot_is_64_below_the_head_unless_the_chain_is_too_short(height, pivot):
    assert pivot_number(height, DISTANCE) == pivot
    assert Pivot(height, DISTANCE).is_pending is (pivot is not None)


@pytest.mark.parametrize(("newest", "place"), [(236, None), (364, None), (365, 301), (500, 436)])
def test_pivot_moves_once_the_newest_assembled_block_is_more_than_128_above_it(newest, place):
    assert Pivot(300, DISTANCE).place_for(newest) == place


def test_pivot_stays_once_it_is_committed():
    pivot = Pivot(300, DISTANCE)
    pivot.is_committed = True
    assert not pivot.is_pending
    assert pivot.place_for(10_000) is None


def test_header_is_found_in_the_run_of_headers_that_holds_the_pivot():
    pivot = Pivot(300, DISTANCE)
    assert not pivot.see(CHAIN.headers[1:236])
    assert not pivot.see(CHAIN.headers[237:300])
    assert not pivot.see([])
    assert pivot.header is None
    assert pivot.see(CHAIN.headers[200:237])
    assert pivot.header == CHAIN.headers[236]
    assert not pivot.see(CHAIN.headers[200:237])


def test_blocks_between_the_old_and_the_new_place_become_fast_ones_when_the_pivot_moves():
    pivot = Pivot(200, DISTANCE)
    pivot.move_to(CHAIN.headers[236])
    assert (pivot.number, pivot.last_fast_block, pivot.header) == (236, 236, CHAIN.headers[236])
    assert pivot.place_for(364) is None
    assert pivot.place_for(365) == 301


@pytest.mark.parametrize(("ancestor", "first"), [(0, 0), (235, 235), (236, 235), (290, 235)])
def test_pivot_itself_is_always_fetched(ancestor, first):
    assert Pivot(300, DISTANCE).first_block(ancestor) == first


def test_all_is_fetched_when_there_is_no_pivot():
    assert Pivot(64, DISTANCE).first_block(30) == 0


@pytest.mark.parametrize(
    ("wanted", "fast_block", "full_block", "mode"),
    [
        (SyncMode.FAST, 0, 0, SyncMode.FAST),
        (SyncMode.FAST, 100, 0, SyncMode.FAST),
        (SyncMode.FAST, 100, 100, SyncMode.FULL),
        (SyncMode.FAST, 100, 1, SyncMode.FULL),
        (SyncMode.FULL, 0, 0, SyncMode.FULL),
        (SyncMode.FULL, 100, 0, SyncMode.FAST),
        (SyncMode.FULL, 100, 100, SyncMode.FULL),
        (SyncMode.LIGHT, 0, 0, SyncMode.LIGHT),
        (SyncMode.LIGHT, 100, 0, SyncMode.LIGHT),
        (SyncMode.LIGHT, 100, 100, SyncMode.LIGHT),
    ],
)
def test_mode_is_fast_only_while_no_block_is_imported_in_full(wanted, fast_block, full_block, mode):
    heads = Heads(CHAIN.head, CHAIN.headers[fast_block], CHAIN.headers[full_block])
    assert mode_to_run(wanted, heads) is mode
