"""`trisync watch`: a running node, live."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable
from typing import Final

from rich.console import Console, Group
from rich.live import Live

from trisync.cli import flags
from trisync.cli.failures import DONE
from trisync.cli.node import Node, asks_node
from trisync.cli.operator_commands import peer_json, status_json
from trisync.cli.progress import PlainView
from trisync.cli.propagation_commands import propagation_json
from trisync.cli.sync_commands import explanation_json
from trisync.cli.waiting import Stopped, first_of, or_stop, stop_on_signals
from trisync.cli.watch_feed import ask_first, feed
from trisync.cli.watch_screen import screen
from trisync.cli.watch_state import Connection, WatchModel, WatchState

DRAW_EVERY_S: Final = 0.25
"""As often as the node tells its status at most."""

JSON_PROPAGATIONS: Final = 10


@asks_node
def watch(node: Node, as_json: flags.JsonLines = False) -> int:
    """Watch a running node: progress, peers, and how blocks spread, until Ctrl-C."""
    asyncio.run(_watch(node, as_json=as_json))
    return DONE


async def _watch(node: Node, *, as_json: bool) -> None:
    stop = stop_on_signals()
    model = WatchModel(node.address())
    clock = asyncio.get_running_loop().time
    with contextlib.suppress(Stopped):
        await or_stop(ask_first(node, model, clock), stop)
        await or_stop(first_of(feed(node, model, clock), _show(model, clock, as_json=as_json)), stop)


async def _show(model: WatchModel, clock: Callable[[], float], *, as_json: bool) -> None:
    console = Console()
    if as_json:
        await _show_json(model, clock)
    elif console.is_terminal and not console.is_dumb_terminal:
        await _show_screen(model, clock, console)
    else:
        await _show_lines(model, clock)


async def _show_screen(model: WatchModel, clock: Callable[[], float], console: Console) -> None:
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            width, height = console.size
            live.update(Group(*screen(model.at(clock()), width, height)), refresh=True)
            await asyncio.sleep(DRAW_EVERY_S)


async def _show_lines(model: WatchModel, clock: Callable[[], float]) -> None:
    view, was = PlainView(sys.stdout), Connection.CONNECTING
    while True:
        state, now = model.at(clock()), clock()
        if state.connection is not was and Connection.RECONNECTING in (state.connection, was):
            view.say(f"{state.address}: {'reconnecting' if was is Connection.LIVE else 'connected again'}")
        was = state.connection
        if state.snapshot is not None and was is Connection.LIVE:
            view.show(state.snapshot, now)
        await asyncio.sleep(DRAW_EVERY_S)


async def _show_json(model: WatchModel, clock: Callable[[], float]) -> None:
    shown = 0
    while True:
        if model.changes != shown:
            shown = model.changes
            print(json.dumps(watch_json(model.at(clock()))), flush=True)
        await asyncio.sleep(DRAW_EVERY_S)


def watch_json(state: WatchState) -> dict[str, object]:
    """What is known of the node at one moment."""
    snapshot = state.snapshot
    return {
        "connection": state.connection.value,
        "address": state.address,
        "status": status_json(state.status) if state.status is not None else None,
        "blocks_per_second": round(snapshot.blocks_per_s, 1) if snapshot is not None else None,
        "seconds_left": _rounded(snapshot.seconds_left) if snapshot is not None else None,
        "peers": [peer_json(peer) for peer in state.peers],
        "sync": explanation_json(state.sync) if state.sync is not None else None,
        "propagations": [propagation_json(one) for one in state.propagations[:JSON_PROPAGATIONS]],
        "propagation_problem": state.propagation_problem or None,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
