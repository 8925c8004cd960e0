"""Tells any number of readers that something changed, without a backlog for slow ones."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class ChangeSignal:
    """Each reader has one flag: however many changes it missed, it wakes once and looks at the newest state."""

    def __init__(self) -> None:
        self._readers: set[asyncio.Event] = set()

    def notify(self) -> None:
        for reader in self._readers:
            reader.set()

    @contextmanager
    def reader(self) -> Iterator[asyncio.Event]:
        """An event that `notify` sets; the reader clears it before it looks."""
        changed = asyncio.Event()
        self._readers.add(changed)
        try:
            yield changed
        finally:
            self._readers.discard(changed)
