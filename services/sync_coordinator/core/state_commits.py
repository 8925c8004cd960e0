"""Complete state entries on their way to the store: one commit at a time, in the order they became complete."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from services.shared.ethwire.types import StateEntry
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.sync_actions import StoreState


class StateCommits:
    """What is complete and not stored yet. `hash in commits` until its commit is on disk."""

    def __init__(self, config: DownloaderConfig) -> None:
        self._config = config
        self._waiting: deque[StateEntry] = deque()
        self._waiting_bytes = 0
        self._hashes: set[bytes] = set()
        self._batch: StoreState | None = None
        self._oldest_at: float | None = None

    def __contains__(self, entry_hash: object) -> bool:
        return entry_hash in self._hashes

    def __len__(self) -> int:
        return len(self._hashes)

    @property
    def is_busy(self) -> bool:
        """Whether a commit is out."""
        return self._batch is not None

    @property
    def is_full(self) -> bool:
        """Whether as much waits as may."""
        most = self._config.max_waiting_commits
        return (
            len(self._waiting) >= most * self._config.state_commit
            or self._waiting_bytes >= most * self._config.state_commit_bytes
        )

    def owes(self, batch_id: int) -> bool:
        return self._batch is not None and self._batch.batch_id == batch_id

    def add(self, entry: StateEntry) -> None:
        """Caller's duty: what `entry` refers to is stored or came before."""
        self._waiting.append(entry)
        self._waiting_bytes += len(entry.value)
        self._hashes.add(entry.hash)

    def next_batch(self, next_id: Callable[[], int], now: float, *, flush: bool) -> StoreState | None:
        """A commit, if none is out and enough waits, has waited long enough, or `flush` says that no more comes."""
        if not self._waiting or self._batch is not None:
            return None
        if self._oldest_at is None:
            self._oldest_at = now
        is_due = now >= self._oldest_at + self._config.state_commit_wait_s
        if not (flush or is_due or self._is_batch_full()):
            return None
        self._batch = StoreState(next_id(), self._take())
        self._oldest_at = now if self._waiting else None
        return self._batch

    def close_batch(self, batch_id: int) -> None:
        """A commit is on disk, or failed and will not be tried again."""
        assert self._batch is not None
        assert self._batch.batch_id == batch_id
        self._hashes.difference_update([entry.hash for entry in self._batch.entries])
        self._batch = None

    def clear(self) -> None:
        """Forget what waits."""
        self._hashes.difference_update([entry.hash for entry in self._waiting])
        self._waiting.clear()
        self._waiting_bytes, self._oldest_at = 0, None

    def next_wakeup(self) -> float | None:
        """When what waits has waited long enough; a commit that is out ends with a call of its own."""
        if self._oldest_at is None or self._batch is not None:
            return None
        return self._oldest_at + self._config.state_commit_wait_s

    def _is_batch_full(self) -> bool:
        return len(self._waiting) >= self._config.state_commit or self._waiting_bytes >= self._config.state_commit_bytes

    def _take(self) -> list[StateEntry]:
        entries: list[StateEntry] = []
        size_bytes = 0
        waiting, most_bytes = self._waiting, self._config.state_commit_bytes
        while waiting and len(entries) < self._config.state_commit and size_bytes < most_bytes:
            entries.append(waiting.popleft())
            size_bytes += len(entries[-1].value)
        self._waiting_bytes -= size_bytes
        return entries
