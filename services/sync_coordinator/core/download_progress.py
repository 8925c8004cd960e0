"""How far a download is, for those who watch a sync."""

from __future__ import annotations

from dataclasses import replace

from services.sync_coordinator.core.chain_download import ChainDownload
from services.sync_coordinator.core.sync_actions import SyncProgress


def with_download(progress: SyncProgress, download: ChainDownload) -> SyncProgress:
    """The progress of a sync whose download has begun."""
    lane, assembly = download.result_lane, download.blocks.assembly
    return replace(
        progress,
        headers_fetched=download.headers.fetched,
        bodies_fetched=download.bodies.fetched,
        receipts_fetched=download.receipts.fetched,
        pulled_states=download.pivot.pulled,
        known_states=download.pivot.known,
        imported=lane.imported,
        imported_bytes=lane.imported_bytes,
        headers_waiting=download.headers_waiting,
        blocks_waiting=assembly.waiting,
        waiting_bytes=assembly.size_bytes,
        throttled=download.is_throttled,
        timeouts=download.timeouts,
        last_import_at=lane.last_import_at,
    )
