"""Who is read next: fifty peers that all send at once must not hold the event loop while all of it is decrypted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

TURN_BYTES: Final = 1024 * 1024
"""Bytes decrypted, and worked on as far as that is done at once, before the loop may do something else: about
5 ms."""

BIG_READ_BYTES: Final = 32 * 1024
"""A smaller piece is worked on as it comes: that takes no longer than to let it wait."""


class Reader(Protocol):
    """Someone with a piece that waits to be worked on. It is not read meanwhile, so it has one at most."""

    def read_next(self) -> int:
        """Work on the piece; its size."""


class ReadTurns:
    """Lets readers work in the order in which they joined, and the rest of the program run in between."""

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon
        self._waiting: deque[Reader] = deque()
        self._is_called = False

    def join(self, reader: Reader) -> None:
        """Have the reader work soon, once."""
        self._waiting.append(reader)
        self._call()

    def _call(self) -> None:
        if self._waiting and not self._is_called:
            self._is_called = True
            self._call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._is_called = False
        budget = TURN_BYTES
        try:
            while self._waiting and budget > 0:
                budget -= self._waiting.popleft().read_next()
        finally:
            # A bug that one reader's bytes find must not keep the others waiting.
            self._call()
