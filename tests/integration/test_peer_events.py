"""What one peer that joins, leaves or moves on costs a whole coordinator."""

from __future__ import annotations

import asyncio
import sys
from types import FrameType
from typing import Any

import pytest

from bench.crowded_node import crowded_node
from tests.support.stack import in_one_loop

pytestmark = pytest.mark.integration

EVENTS = 400


class Steps:
    """Counts the instructions of the services' code. Loops inside of C are not seen: those the bench shows."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Steps:
        sys.settrace(self._enter)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _enter(self, frame: FrameType, event: str, arg: object) -> Any:
        if "/services/" not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._step

    def _step(self, frame: FrameType, event: str, arg: object) -> Any:
        self.count += 1
        return self._step


async def steps_of_an_event(peers: int) -> float:
    async with crowded_node(peers, seed=1) as crowd:
        await asyncio.sleep(0)
        with Steps() as steps:
            for _ in range(EVENTS):
                crowd.event()
        return steps.count / EVENTS


@in_one_loop
async def test_a_peer_event_takes_no_more_steps_where_there_are_many_peers() -> None:
    few, many = await steps_of_an_event(50), await steps_of_an_event(1600)
    # 32 times the peers: one loop over all of them, in one event in three, would show at once.
    assert few > 100
    assert many < 1.5 * few
