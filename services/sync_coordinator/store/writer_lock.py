"""One writer per store: a lock that the kernel drops when its process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final, Self

from services.sync_coordinator.store.chain_store import StoreRefused

LOCK_NAME: Final = "writer.lock"

_held: set[Path] = set()
"""Locks of this process: POSIX locks do not exclude the process that has them."""


class WriterLock:
    """Held from `acquire` to `release`. A POSIX lock, so that forked workers do not inherit it."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor = path, descriptor

    @classmethod
    def acquire(cls, directory: Path) -> Self:
        """Raises StoreRefused, naming the process that has it."""
        path = (directory / LOCK_NAME).resolve()
        if path in _held:
            raise _in_use(directory, os.getpid())
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise _in_use(directory, owner) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        _held.add(path)
        return cls(path, descriptor)

    def release(self) -> None:
        _held.discard(self._path)
        os.close(self._descriptor)


def _in_use(directory: Path, owner: int | str) -> StoreRefused:
    whose = f"in use by another process (pid {owner or 'unknown'})"
    return StoreRefused(f"{directory}: {whose}; stop it first, or name another --datadir")
