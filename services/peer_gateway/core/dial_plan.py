"""What the dial schedule takes in and gives out."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from services.peer_gateway.core.address_rules import THROTTLE_S
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.types import PeerId

DIALS_AT_ONCE: Final = 16
"""Dials that may be under way together: more would look like a scan (geth maxActiveDialTasks)."""


class DialKind(enum.Enum):
    """Why a node is dialled."""

    STATIC = "static"
    FORMER = "former"
    DYNAMIC = "dynamic"


class Dial(NamedTuple):
    """One dial to make."""

    node: Enode
    kind: DialKind
    was_inbound: bool = False
    """A former peer that had connected by itself: it takes no place of the quota."""

    @property
    def is_of_quota(self) -> bool:
        """Whether its peer would be one of those that are dialled of our own accord."""
        return self.kind is not DialKind.STATIC and not self.was_inbound


class DialResult(enum.Enum):
    """How a dial ended."""

    JOINED = "joined"
    FAILED = "failed"
    """Not reached, or refused for now: there may be a place later."""
    HELD = "held"
    """Another gateway of ours is connected to it."""
    REFUSED_FOR_GOOD = "refused"


@dataclass(frozen=True, kw_only=True, slots=True)
class DialLimits:
    """How fast and how many nodes are dialled."""

    redial_after_s: float = THROTTLE_S
    """A node is not dialled again sooner than this after its last dial ended, well or not."""

    dials_at_once: int = DIALS_AT_ONCE

    most_peers: int | None = None
    """Peers, and dials under way, over which former peers are not dialled; None: no limit of this gateway's own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DialPlan:
    """What the coordinator wants of this gateway; the whole of it each time."""

    static: Sequence[Enode] = ()
    gateways: frozenset[PeerId] = frozenset()
    """Node ids of all gateways: none is dialled, and they share the dynamic dials between them."""
    dynamic_places: int = 0
    """Peers that this gateway may have dialled of its own accord: its part of the quota of all gateways."""
