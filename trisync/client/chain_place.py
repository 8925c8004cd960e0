"""Where a reader of the block feed stands, and when it may go on after a failure."""

from __future__ import annotations

import random
from typing import Final

from trisync.client.errors import CoordinatorError

FIRST_DELAY_S: Final = 0.2
MOST_DELAY_S: Final = 5.0
"""Between two attempts; a coordinator that restarts is found again soon, and one that is gone costs little."""

WORKED_S: Final = 10.0
"""A stream that lasted longer than any attempt to connect was a working one."""

STREAM_S: Final = 600.0
"""After so long one stream is replaced by the next, so that none that hangs is waited for longer."""


class ChainPlace:
    """Pure: callers pass the time, and wait themselves.

    The place is the first number wanted, or the cursor of the last step taken.
    """

    def __init__(self, start: int | str, patience_s: float | None, rng: random.Random) -> None:
        self.start = start
        self._patience_s, self._rng = patience_s, rng
        self._failures = 0
        self._failing_since: float | None = None
        self._opened_at = 0.0

    def opened(self, now: float) -> None:
        """Call when a stream from `start` is asked for."""
        self._opened_at = now

    def took(self, cursor: str) -> None:
        """Call for each step."""
        self.start = cursor
        self._works()

    def delay_after(self, error: CoordinatorError, now: float) -> float:
        """Seconds to wait before the next stream is opened; raises the error when there should be none.

        A stream whose time was over has not failed: no wait, and no end of patience.
        """
        if not error.retryable:
            raise error
        lasted_s = now - self._opened_at
        if lasted_s > WORKED_S:
            self._works()
        if lasted_s >= STREAM_S:
            return 0.0
        if self._failing_since is None:
            self._failing_since = now
        if self._patience_s is not None and now - self._failing_since >= self._patience_s:
            raise error
        longest = min(MOST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return longest * self._rng.uniform(0.5, 1.0)

    def _works(self) -> None:
        self._failures, self._failing_since = 0, None
