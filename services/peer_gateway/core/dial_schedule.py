"""When which node is dialled (SPEC section 1, "Peers"): the behaviour of geth's `p2p/dial.go` for static nodes."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from services.shared.chainspec.enode import Enode
from services.shared.ethwire.types import PeerId

REDIAL_SPREAD: Final = 0.02
"""A redial waits up to this share longer, by chance: nodes that lost each other at one moment do not dial
each other at one moment, and a throttle of the same length at the other side has surely passed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DialLimits:
    """How fast nodes are dialled."""

    redial_after_s: float = 30.0
    """A node is not dialled again sooner than this after its last dial ended, well or not."""

    dials_at_once: int = 16
    """Dials that may be under way together: more would look like a scan."""


class DialSchedule:
    """Decides which static nodes are due for a dial.

    A node is dialled when it is in the plan, not connected, not being dialled, and not in the redial
    history. The caller starts every dial that `due` returns and reports its end with `on_dial_ended`.
    """

    def __init__(self, limits: DialLimits, rng: random.Random) -> None:
        self._limits = limits
        self._rng = rng
        self._static: dict[PeerId, Enode] = {}
        self._never: frozenset[PeerId] = frozenset()
        self._connected: set[PeerId] = set()
        self._dialling: set[PeerId] = set()
        self._not_before: dict[PeerId, float] = {}

    def set_plan(self, static: Iterable[Enode], never: Iterable[PeerId]) -> None:
        """Replace the static nodes, and the node ids that are never dialled: our own and our siblings'."""
        before = self._static
        self._static = {node.node_id: node for node in static}
        self._never = frozenset(never)
        for node_id, node in before.items():
            if self._static.get(node_id) != node:
                # Taken out or moved: the old address says nothing about the next attempt.
                self._not_before.pop(node_id, None)

    def on_connected(self, node_id: PeerId) -> None:
        """A connection with this node exists, whoever dialled."""
        self._connected.add(node_id)

    def on_disconnected(self, node_id: PeerId) -> None:
        self._connected.discard(node_id)

    def on_dial_ended(self, node_id: PeerId, now: float) -> None:
        """A dial came to its end: the node is a peer now, or refused, or could not be reached."""
        self._dialling.discard(node_id)
        if node_id in self._static:
            spread = self._rng.uniform(0, REDIAL_SPREAD)
            self._not_before[node_id] = now + self._limits.redial_after_s * (1 + spread)

    def due(self, now: float) -> list[Enode]:
        """The nodes to dial now; each counts as being dialled from here on."""
        free = self._limits.dials_at_once - len(self._dialling)
        ready = [node for node in self._waiting() if self._not_before.get(node.node_id, now) <= now]
        self._rng.shuffle(ready)
        chosen = ready[: max(0, free)]
        self._dialling.update(node.node_id for node in chosen)
        return chosen

    def next_wakeup(self) -> float | None:
        """Earliest time `due` has a node, or None; a free place for a dial is told by `on_dial_ended`."""
        if len(self._dialling) >= self._limits.dials_at_once:
            return None
        return min((self._not_before.get(node.node_id, 0.0) for node in self._waiting()), default=None)

    def _waiting(self) -> list[Enode]:
        unwanted = self._connected | self._dialling | self._never
        return [node for node_id, node in self._static.items() if node_id not in unwanted]
