"""Waiting for what sets no event: a condition read again and again, until it holds or the deadline is over."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, overload

DEADLINE_S: Final = 30.0
"""As long as any one thing may take on a busy machine."""

READ_AGAIN_S: Final = 0.01

T = TypeVar("T")


@overload
async def until(read: Callable[[], Awaitable[T | None]], what: str, *, within_s: float = ...) -> T: ...
@overload
async def until(read: Callable[[], T | None], what: str, *, within_s: float = ...) -> T: ...
async def until(read: Callable[[], Any], what: str, *, within_s: float = DEADLINE_S) -> Any:
    """The first true value of `read`; fails with `what` and the last value when none comes in time."""
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        value = read()
        found = await value if inspect.isawaitable(value) else value
        if found:
            return found
        assert asyncio.get_running_loop().time() < deadline, f"not within {within_s:g} s: {what}; last: {found!r}"
        await asyncio.sleep(READ_AGAIN_S)
