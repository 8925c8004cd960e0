"""One timer for a core that says when it next has work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Wakeup:
    """Calls back once at the time last given to `at`; the edge owns it, the core only names times."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._loop = asyncio.get_running_loop()
        self._when: float | None = None
        self._timer: asyncio.Handle | None = None

    def at(self, when: float | None) -> None:
        """Move the timer; None stops it. A time in the past fires at the next turn of the loop."""
        if when == self._when:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._when = when
        self._timer = None if when is None else self._loop.call_at(when, self._fire)

    def _fire(self) -> None:
        self._when = self._timer = None
        self._callback()
