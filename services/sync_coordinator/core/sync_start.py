"""Where the download phase of a sync begins: the common ancestor, or below the pivot."""

from __future__ import annotations

from typing import NamedTuple

from services.shared.ethwire.types import BlockHash, Header
from services.sync_coordinator.core.ancestor_search import CommonAncestor
from services.sync_coordinator.core.pivot import Pivot
from services.sync_coordinator.core.sync_actions import SyncMode, SyncProgress
from services.sync_coordinator.core.sync_run import SyncRun


class SyncStart(NamedTuple):
    """The newest block that is not fetched, and the pivot of a fast sync (in other modes, one that is none)."""

    ancestor: CommonAncestor
    pivot: Pivot


def plan_start(run: SyncRun, height: int, ancestor: CommonAncestor) -> SyncStart:
    """The start of a sync to a head of this height.

    A fast sync fetches its pivot even if we have it, and all of a chain that is too short for one: what
    comes after the pivot has to be imported in full.
    """
    if run.mode is not SyncMode.FAST:
        return SyncStart(ancestor, Pivot(0, run.config.pivot_distance))
    pivot = Pivot(height, run.config.pivot_distance)
    first = pivot.first_block(ancestor.number)
    block_hash = ancestor.block_hash
    for _ in range(ancestor.number - first):
        block_hash = _header(run, block_hash).parent_hash
    return SyncStart(CommonAncestor(first, block_hash), pivot)


def starting_block(previous: SyncProgress | None, ancestor: int) -> int:
    """Where the work began: an unfinished sync before this one began it, unless it was on another branch."""
    if previous is None or previous.fault is None:
        return ancestor
    return previous.starting_block if previous.starting_block <= ancestor < previous.highest_block else ancestor


def _header(run: SyncRun, block_hash: BlockHash) -> Header:
    header = run.chain.header(block_hash)
    assert header is not None, "we have all ancestors of what we have"
    return header
