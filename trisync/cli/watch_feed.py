"""Keeps a WatchModel up to date with a node that may go and come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NoReturn

from trisync.cli.failures import CommandFailed
from trisync.cli.node import Node
from trisync.cli.waiting import first_of
from trisync.cli.watch_state import WatchModel
from trisync.client import AsyncCoordinator, CoordinatorError

RECONNECT_S: Final = 0.5
"""Pause before a node that went away is called again."""

DETAILS_EVERY_S: Final = 2.0
"""How often peers, and why a sync runs, are asked for; the status comes by itself."""

FAILURES_THAT_END: Final = 3
"""So many questions in a row without an answer: the connection is dead, whatever its stream says."""

BROADCASTER_AGAIN_S: Final = 5.0
NEWEST: Final = 50


async def ask_first(node: Node, model: WatchModel, clock: Callable[[], float]) -> None:
    """One status, so that there is something to show. Raises CommandFailed when the node cannot be reached."""
    async with node.client() as client:
        try:
            model.on_status(await client.status(), clock())
        except CoordinatorError as problem:
            raise CommandFailed(str(problem)) from problem


async def feed(node: Node, model: WatchModel, clock: Callable[[], float]) -> NoReturn:
    """Run until cancelled; when the node goes away, wait for it."""
    while True:
        try:
            async with node.client() as client:
                # The first question is one with a deadline: a stream to nobody has none.
                model.on_status(await client.status(), clock())
                await first_of(
                    _follow_status(client, model, clock), _ask_details(client, model), _follow_blocks(client, model)
                )
        except (CoordinatorError, CommandFailed):
            model.on_lost(clock())
        await asyncio.sleep(RECONNECT_S)


async def _follow_status(client: AsyncCoordinator, model: WatchModel, clock: Callable[[], float]) -> None:
    async for status in client.watch_status():
        model.on_status(status, clock())


async def _ask_details(client: AsyncCoordinator, model: WatchModel) -> NoReturn:
    failures = 0
    while True:
        try:
            peers, sync = await client.peers(), await client.explain_sync()
        except CoordinatorError:
            failures += 1
            if failures == FAILURES_THAT_END:
                raise
        else:
            failures = 0
            model.on_peers(peers, sync)
        await asyncio.sleep(DETAILS_EVERY_S)


async def _follow_blocks(client: AsyncCoordinator, model: WatchModel) -> NoReturn:
    """A broadcaster that is away is no reason to show less of the rest."""
    while True:
        try:
            async for one in client.blocks.watch_propagations(NEWEST):
                model.on_propagation(one)
            model.on_propagation_problem("")
            async for one in client.blocks.watch_propagations(NEWEST, follow=True):
                model.on_propagation(one)
        except CoordinatorError as problem:
            model.on_propagation_problem(str(problem))
        await asyncio.sleep(BROADCASTER_AGAIN_S)
