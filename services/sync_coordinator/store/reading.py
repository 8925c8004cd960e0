"""Read transactions on an LMDB environment, and what its errors mean."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import lmdb

from services.sync_coordinator.store.chain_store import StoreFailed
from services.sync_coordinator.store.tables import Transaction

DAMAGE: Final = (
    *(lmdb.PageNotFoundError, lmdb.CorruptedError, lmdb.PanicError, lmdb.InvalidError),
    *(lmdb.BadTxnError, lmdb.IncompatibleError),
)
"""Errors that mean unreadable pages; the others, such as a full disk or too many readers, pass."""


class Reading:
    """Gives one short read transaction at a time; `lock` is also held while the map moves under the readers."""

    def __init__(self, path: Path, env: lmdb.Environment) -> None:
        self.lock = threading.Lock()
        self.snapshots = 0
        """Views that are held now: the map must not move under them."""
        self.on_damage: Callable[[StoreFailed], None] | None = None
        self._path, self._env = path, env
        self._txn: Transaction

    def __enter__(self) -> Transaction:
        self.lock.acquire()
        try:
            self._txn = self.begin()
        except BaseException as error:
            self.lock.release()
            if isinstance(error, lmdb.Error):
                raise self.failed(error) from error
            raise
        return self._txn

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._txn.abort()
        self.lock.release()
        if isinstance(error, lmdb.Error):
            raise self.failed(error) from error

    def failed(self, error: lmdb.Error) -> StoreFailed:
        """What callers get for an error of LMDB, reported if it means damage."""
        if isinstance(error, DAMAGE):
            return self.damaged(str(error))
        # A full disk shows as a short write, which LMDB calls an input/output error.
        free_mb = shutil.disk_usage(self._path).free >> 20
        return StoreFailed(f"{self._path}: the store failed: {error} ({free_mb} MB are free on its disk)")

    def damaged(self, problem: str) -> StoreFailed:
        failure = StoreFailed(f"{self._path}: the store is damaged: {problem}; `trisync verify` tells more")
        if self.on_damage is not None:
            self.on_damage(failure)
        return failure

    def begin(self) -> Transaction:
        """A read transaction. Raises StoreFailed when another process made the map larger under a held view."""
        try:
            return self._env.begin()
        except lmdb.MapResizedError as error:
            if self.snapshots:
                raise StoreFailed(f"{self._path}: the store grew under a view of it; run this again") from error
            self._env.set_mapsize(0)
            return self._env.begin()
