"""What `trisync watch` knows of a node: fed with what the node tells, read by what draws it. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from typing import Final

from trisync.blocks import Propagation
from trisync.cli.progress import Snapshot, SyncMeter
from trisync.node_status import NodeStatus, Peer
from trisync.sync_explained import SyncExplanation

KEPT_PROPAGATIONS: Final = 100
"""More lines than a screen has."""


class Connection(enum.StrEnum):
    CONNECTING = "connecting"
    LIVE = "live"
    RECONNECTING = "reconnecting"


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchState:
    """All that is shown. What the node has not told yet is None or empty."""

    address: str
    connection: Connection = Connection.CONNECTING
    lost_s: float = 0.0
    """How long the node has been away."""
    status: NodeStatus | None = None
    snapshot: Snapshot | None = None
    peers: tuple[Peer, ...] = ()
    sync: SyncExplanation | None = None
    propagations: tuple[Propagation, ...] = ()
    """Newest first."""
    propagation_problem: str = ""
    """Why nothing is known of how blocks spread."""


@dataclass(slots=True)
class WatchModel:
    """Puts together what comes from several calls. The caller passes the time."""

    address: str
    state: WatchState = field(init=False)
    changes: int = 0
    """Grows with everything that is told; time that passes is no change."""
    _meter: SyncMeter = field(default_factory=SyncMeter)
    _lost_at: float | None = None
    _told_at: float = 0.0
    """When the status came: the node tells it when it changes, so that its uptime grows old."""

    def __post_init__(self) -> None:
        self.state = WatchState(address=self.address)

    def on_status(self, status: NodeStatus, now: float) -> None:
        snapshot = self._meter.on_status(status, now)
        self._lost_at, self._told_at = None, now
        self._change(connection=Connection.LIVE, lost_s=0.0, status=status, snapshot=snapshot)

    def on_peers(self, peers: list[Peer], sync: SyncExplanation) -> None:
        ordered = sorted(peers, key=lambda peer: (not peer.is_best, -peer.total_difficulty, peer.connected_s))
        if (tuple(ordered), sync) != (self.state.peers, self.state.sync):
            self._change(peers=tuple(ordered), sync=sync)

    def on_propagation(self, one: Propagation) -> None:
        """A block that is told again takes its old line's place."""
        others = [other for other in self.state.propagations if other.block_hash != one.block_hash]
        self._change(propagations=(one, *others)[:KEPT_PROPAGATIONS], propagation_problem="")

    def on_propagation_problem(self, problem: str) -> None:
        if problem != self.state.propagation_problem:
            self._change(propagation_problem=problem)

    def on_lost(self, now: float) -> None:
        """The node went away: what was known is shown on, but nothing moves."""
        if self._lost_at is None:
            self._lost_at = now
            self._meter = SyncMeter()
            self._change(connection=Connection.RECONNECTING)

    def at(self, now: float) -> WatchState:
        """The state as it is now."""
        seen = now if self._lost_at is None else self._lost_at
        status = self.state.status
        if status is not None:
            status = replace(status, uptime_s=status.uptime_s + int(seen - self._told_at))
        return replace(self.state, status=status, lost_s=now - seen)

    def _change(self, **fields: object) -> None:
        self.state = replace(self.state, **fields)  # type: ignore[arg-type] # of the fields' own types, by the callers
        self.changes += 1
