"""Who writes next: a broadcast to hundreds of peers must not hold the event loop while it is encrypted for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

TURN_COST: Final = 1024 * 1024
"""Bytes encrypted and written before the loop may do something else: about 4 ms."""

WRITE_COST: Final = 16 * 1024
"""What a write costs beside its bytes, in the same unit: a system call and two MACs, about 50 µs."""


class Writer(Protocol):
    """Someone with messages that wait to be written."""

    @property
    def wants_to_write(self) -> bool: ...

    def write_next(self) -> int:
        """Write one message; its size, or 0 when there was none."""


class WriteTurns:
    """Lets each writer write one message at a time, in turn, and the rest of the program run in between."""

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon
        self._waiting: dict[Writer, None] = {}

    def join(self, writer: Writer) -> None:
        """Have the writer write soon, until it wants no more."""
        if not self._waiting:
            self._call_soon(self._take_turn)
        self._waiting[writer] = None

    def _take_turn(self) -> None:
        budget = TURN_COST
        while self._waiting and budget > 0:
            writer = next(iter(self._waiting))
            budget -= writer.write_next() + WRITE_COST
            del self._waiting[writer]
            if writer.wants_to_write:
                self._waiting[writer] = None
        if self._waiting:
            self._call_soon(self._take_turn)
