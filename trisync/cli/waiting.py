"""Waiting for one of several things, with the others cancelled and waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """The user asked for the end."""


async def first_of(*waits: Awaitable[T]) -> T:
    """The result, or error, of the first to end; the others are cancelled and waited for."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def or_stop(wait: Awaitable[T], stop: asyncio.Event) -> T:
    """The result, unless `stop` is set first: then Stopped."""

    async def until_stop() -> Any:
        await stop.wait()
        raise Stopped

    return await first_of(wait, until_stop())
