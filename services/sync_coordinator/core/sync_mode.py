"""Which mode the next sync runs in (geth `eth/sync.go` of 1.8)."""

from __future__ import annotations

from services.sync_coordinator.core.fork_choice import Heads
from services.sync_coordinator.core.sync_actions import SyncMode


def mode_to_run(wanted: SyncMode, heads: Heads) -> SyncMode:
    """Fast only while no block is imported in full: a success, a committed pivot or an import ends it for good.

    An unfinished fast sync has blocks that were never judged in full; what was begun fast is ended fast,
    whatever is wanted by now.
    """
    if wanted is SyncMode.LIGHT:
        return wanted
    is_begun = heads.fast_block.number > 0
    is_empty = heads.full_block.number == 0
    return SyncMode.FAST if is_empty and (wanted is SyncMode.FAST or is_begun) else SyncMode.FULL
