"""Every unary call ends in time: at the caller's deadline, or at the server's own where the caller gave none.

What a call asks of other services on its way takes its time-out from `within`, so that it never outlives the caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, Final, Protocol

from services.shared.rpc.errors import RequestTimedOut

LONGEST_CALL_S: Final = 60.0
"""For a unary call, whatever its caller would wait: the seal of a submitted block may need an epoch's cache first."""

ANSWER_MARGIN_S: Final = 0.05
"""A call on the way ends so much before the caller's deadline, so that its failure can still be told."""

_ends_at: ContextVar[float | None] = ContextVar("call_ends_at", default=None)


class TimedContext(Protocol):
    """The part of a servicer's context that is needed here."""

    def time_remaining(self) -> float | None: ...


@asynccontextmanager
async def bounded(context: TimedContext | Any) -> AsyncIterator[None]:
    """What runs in here raises RequestTimedOut once the caller's deadline or the server's longest time is over."""
    remaining = context.time_remaining()
    allowed = LONGEST_CALL_S if remaining is None else min(remaining, LONGEST_CALL_S)
    ends_at = asyncio.get_running_loop().time() + allowed
    token = _ends_at.set(ends_at)
    try:
        async with asyncio.timeout_at(ends_at) as timer:
            yield
    except TimeoutError as late:
        if not timer.expired():
            raise
        raise RequestTimedOut(
            f"the call was not done within {allowed:.1f} s; try again, or give it more time"
        ) from late
    finally:
        _ends_at.reset(token)


def within(most_s: float) -> float:
    """The time-out for a call that is made to answer another one: `most_s`, or less where the caller waits less."""
    ends_at = _ends_at.get()
    if ends_at is None:
        return most_s
    return max(0.0, min(most_s, ends_at - asyncio.get_running_loop().time() - ANSWER_MARGIN_S))
