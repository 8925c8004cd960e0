"""What the downloader wants done, and what it tells about a sync."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from services.shared.ethwire.types import Block, BlockHash, Header, PeerId, StateEntry
from services.sync_coordinator.core.sync_faults import SyncFault


class SyncMode(enum.Enum):
    """What is downloaded of each block."""

    FULL = "full"
    """Headers and bodies."""
    FAST = "fast"
    """Headers, bodies, receipts, and the state at a pivot; in full after that."""
    LIGHT = "light"
    """Headers."""


class SyncPhase(enum.Enum):
    """Where a sync stands."""

    IDLE = "idle"
    HEIGHT = "height"
    ANCESTOR = "ancestor"
    DOWNLOAD = "download"
    ENDING = "ending"
    """The outcome is decided, and a batch is still with the importer."""
    ENDED = "ended"


class SyncTarget(NamedTuple):
    """The peer a sync follows, and what it promised."""

    mode: SyncMode
    master: PeerId
    head_hash: BlockHash
    total_difficulty: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncProgress:
    """How far a sync is. Times are those of the `now` arguments."""

    phase: SyncPhase
    master: PeerId
    starting_block: int = 0
    current_block: int = 0
    highest_block: int = 0
    headers_fetched: int = 0
    bodies_fetched: int = 0
    receipts_fetched: int = 0
    pulled_states: int = 0
    """State entries that came."""
    known_states: int = 0
    """Those, and the ones known to be missing."""
    imported: int = 0
    """Blocks (light: headers) the importer has taken, those it knew already included."""
    imported_bytes: int = 0
    """Their encoded size."""
    headers_waiting: int = 0
    """Headers held whose body is not here (light: that wait for import)."""
    blocks_waiting: int = 0
    """Complete blocks that wait for import (fast: or for the pivot) or are being imported."""
    waiting_bytes: int = 0
    """Their encoded size."""
    throttled: bool = False
    """Whether nothing more is asked for because what is here waits for the importer."""
    open_requests: int = 0
    timeouts: int = 0
    stale_replies: int = 0
    """Replies nobody waited for any more."""
    started_at: float = 0.0
    last_import_at: float | None = None
    fault: SyncFault | None = None
    """Why it ended without success, once it has."""

    @property
    def results_waiting(self) -> int:
        """Blocks with a body, in light mode headers, that wait for the importer."""
        return self.blocks_waiting or self.headers_waiting


@dataclass(frozen=True, slots=True)
class SyncOutcome:
    """How a sync ended; success when there is no fault."""

    fault: SyncFault | None
    detail: str
    progress: SyncProgress


@dataclass(frozen=True, slots=True)
class RequestHeaders:
    """Ask `peer` for headers; `skip` is left out between two of them."""

    request_id: int
    peer: PeerId
    origin: BlockHash | int
    amount: int
    skip: int = 0
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class RequestBodies:
    """Ask `peer` for the bodies of these blocks."""

    request_id: int
    peer: PeerId
    hashes: Sequence[BlockHash]


@dataclass(frozen=True, slots=True)
class RequestReceipts:
    """Ask `peer` for the receipts of these blocks."""

    request_id: int
    peer: PeerId
    hashes: Sequence[BlockHash]


@dataclass(frozen=True, slots=True)
class RequestNodeData:
    """Ask `peer` for these state entries."""

    request_id: int
    peer: PeerId
    hashes: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class ImportHeaders:
    """Check and store linked headers; then call `on_imported` or `on_import_failed`, exactly once."""

    batch_id: int
    headers: Sequence[Header]
    pivot: int | None = None
    """A fast sync's: seals far below it are sampled."""


@dataclass(frozen=True, slots=True)
class ImportBlocks:
    """Check and store linked blocks; then call `on_imported` or `on_import_failed`, exactly once."""

    batch_id: int
    blocks: Sequence[Block]
    receipts: Mapping[BlockHash, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImportFastBlocks:
    """Store linked blocks whose headers are imported; then as for `ImportBlocks`."""

    batch_id: int
    blocks: Sequence[Block]
    receipts: Mapping[BlockHash, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CommitPivot:
    """Make this block, whose state is whole, the full-block head; then as for `ImportBlocks`."""

    batch_id: int
    header: Header


@dataclass(frozen=True, slots=True)
class StoreState:
    """Store state entries, all or none; then call `on_imported` or `on_import_failed`, exactly once.

    What each refers to is in the store already, or among `entries`.
    """

    batch_id: int
    entries: Sequence[StateEntry]


@dataclass(frozen=True, slots=True)
class RollBackHeaders:
    """Forget these headers, in number order: a failed fast or light sync added them last.

    Carry it out before the next sync starts; it always comes right before `SyncEnded`.
    """

    headers: Sequence[Header]


@dataclass(frozen=True, slots=True)
class DropPeer:
    """Disconnect `peer`."""

    peer: PeerId
    reason: SyncFault
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SyncEnded:
    """The last action of a run; no batch is with the importer any more."""

    outcome: SyncOutcome


SyncRequest = RequestHeaders | RequestBodies | RequestReceipts | RequestNodeData
"""What a peer is asked for."""

SyncImport = ImportHeaders | ImportBlocks | ImportFastBlocks | CommitPivot | StoreState
"""What the importer owes one answer for."""

SyncAction = SyncRequest | SyncImport | RollBackHeaders | DropPeer | SyncEnded
