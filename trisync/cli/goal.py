"""When `up --until` is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from trisync.cli.failures import BadUsage
from trisync.node_status import NodeStatus, SyncPhase

SETTLE_S: Final = 3.0
"""How long a node that needed no sync must stand at its peers' head: peers that know more may still be joining."""


@dataclass(frozen=True, slots=True)
class Goal:
    """`block` None means the best peer's head."""

    block: int | None


def parse_goal(until: str) -> Goal:
    """Read `--until`. Raises BadUsage."""
    if until == "head":
        return Goal(None)
    if not until.isdecimal():
        raise BadUsage(f"--until {until!r} is neither a block number nor the word head")
    return Goal(int(until))


class GoalWatch:
    """Fed with every status; says when the goal is reached. Pure: the caller passes the time."""

    def __init__(self, goal: Goal) -> None:
        self._goal = goal
        self._level_since: float | None = None

    def reached(self, status: NodeStatus, now: float) -> bool:
        if self._goal.block is not None:
            return status.whole_head.number >= self._goal.block
        if not (status.at_best_peer_head and status.peer_count and status.phase is SyncPhase.IDLE):
            self._level_since = None
            return False
        if self._level_since is None:
            self._level_since = now
        return status.syncs_done > 0 or now - self._level_since >= SETTLE_S
