"""The pivot of a fast sync and the state that is fetched for it."""

from __future__ import annotations

from collections.abc import Sequence

from services.shared.ethwire.types import Header, PeerId, StateEntry
from services.sync_coordinator.core.block_assembly import BlockAssembly
from services.sync_coordinator.core.pivot import Pivot
from services.sync_coordinator.core.state_download import StateDownload
from services.sync_coordinator.core.sync_actions import SyncAction
from services.sync_coordinator.core.sync_faults import SyncFailed, SyncFault
from services.sync_coordinator.core.sync_run import SyncRun


class PivotState:
    """Starts the state download when the pivot's header is there, and moves both when the pivot falls behind.

    Before the header is there, and in syncs without a pivot, there is nothing to do and nothing is open.
    """

    def __init__(self, run: SyncRun, pivot: Pivot) -> None:
        self._run = run
        self._state: StateDownload | None = None
        self._stuck_since: float | None = None
        """Since when no peer can serve, and no header or block is on its way either."""
        self.pivot = pivot

    @property
    def is_whole(self) -> bool:
        """Whether everything below the pivot's state root is stored."""
        return self._state is not None and self._state.is_complete

    @property
    def is_busy(self) -> bool:
        """Whether the importer owes an answer about state entries."""
        return self._state is not None and self._state.is_busy

    @property
    def open_requests(self) -> int:
        return self._state.open_requests if self._state is not None else 0

    @property
    def timeouts(self) -> int:
        return self._state.timeouts if self._state is not None else 0

    @property
    def pulled(self) -> int:
        """State entries that came."""
        return self._state.pulled if self._state is not None else 0

    @property
    def known(self) -> int:
        """Those, and the ones known to be missing."""
        return self._state.known if self._state is not None else 0

    def lacking(self, peer: PeerId) -> int:
        return self._state.lacking(peer) if self._state is not None else 0

    def on_headers_imported(self, headers: Sequence[Header]) -> None:
        """The state to fetch is known as soon as the pivot's header is."""
        if self.pivot.see(headers) and self.pivot.header is not None:
            self._state = StateDownload(self._run, self.pivot.header.state_root)

    def on_headers_complete(self, last_number: int) -> None:
        """Raise SyncFailed when the chain has ended before the pivot."""
        if self.pivot.is_pending and self.pivot.header is None:
            raise SyncFailed(
                SyncFault.STALLING_PEER, f"its chain ends at {last_number}, before the pivot {self.pivot.number}"
            )

    def follow(self, assembly: BlockAssembly) -> None:
        """Move the pivot up if the newest assembled block has left it behind. Not while it is being committed."""
        place = self.pivot.place_for(assembly.newest_assembled)
        if place is not None and self._state is not None:
            header = assembly.header(place)
            self.pivot.move_to(header)
            self._state.move_to(header.state_root)
        is_held = self.pivot.is_pending and assembly.first_number > self.pivot.last_fast_block
        assembly.urgent_to = self.pivot.awaited_to if is_held else 0

    def advance(self, now: float, *, may_move: bool) -> Sequence[SyncAction]:
        """Ask for state entries and store those that came.

        Raises SyncFailed when no peer can serve, unless the pivot may yet move: it may be so old that all have
        forgotten its state, and the master has twice the time after which it is asked for more headers.
        """
        if self._state is None:
            return ()
        try:
            actions = self._state.advance(now)
        except SyncFailed as failure:
            if failure.fault is not SyncFault.PEERS_UNAVAILABLE:
                raise
            if may_move or self._stuck_since is None:
                self._stuck_since = now
            if now - self._stuck_since > 2 * self._run.config.tail_retry_s:
                raise
            return ()
        self._stuck_since = None
        return actions

    def on_node_data(self, request_id: int, entries: Sequence[StateEntry], now: float) -> tuple[bool, PeerId | None]:
        """Whether somebody waits for them, and the peer if one of them was not asked for."""
        return self._state.on_node_data(request_id, entries, now) if self._state is not None else (False, None)

    def owes(self, batch_id: int) -> bool:
        return self._state is not None and self._state.owes(batch_id)

    def on_stored(self, batch_id: int, now: float) -> None:
        """Caller's duty: the batch was owed."""
        if self._state is not None:
            self._state.on_stored(batch_id, now)

    def on_store_failed(self, batch_id: int) -> None:
        """Nothing of the batch was stored. Caller's duty: the batch was owed, and the sync ends."""
        if self._state is not None:
            self._state.on_store_failed(batch_id)

    def on_request_lost(self, request_id: int, now: float) -> bool:
        return self._state is not None and self._state.on_request_lost(request_id, now)

    def on_peer_left(self, peer: PeerId) -> None:
        if self._state is not None:
            self._state.on_peer_left(peer)

    def expire(self, now: float) -> list[PeerId]:
        return list(self._state.expire(now)) if self._state is not None else []

    def next_wakeup(self) -> float | None:
        return self._state.next_wakeup() if self._state is not None else None

    def cancel(self) -> None:
        """The sync has ended; a batch may still be with the importer."""
        if self._state is not None:
            self._state.cancel()
