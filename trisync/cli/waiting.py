"""Waiting for one of several things, with the others cancelled and waited for; and for the user to end the command."""

from __future__ import annotations

import asyncio
import os
import signal
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


def stop_on_signals() -> asyncio.Event:
    """Set by SIGINT and SIGTERM. A second signal ends this process at once; its services notice and end too."""
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(130)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    return stop
