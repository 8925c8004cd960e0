"""What the announce fetcher wants done, and what it is told of a block's import."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import Block, BlockHash, PeerId


class BlockOutcome(enum.Enum):
    """What came of the import of one fetched or propagated block."""

    IMPORTED = "imported"
    PARENT_UNKNOWN = "parent unknown"
    IN_NEAR_FUTURE = "in the near future"
    INVALID = "invalid"
    REFUSED = "refused"
    """Not imported, and nobody's fault: too far in the future, or a fast or light sync is under way."""


@dataclass(frozen=True, slots=True)
class FetchHeader:
    """Ask `peer` for exactly the header with this hash."""

    request_id: int
    peer: PeerId
    block_hash: BlockHash


@dataclass(frozen=True, slots=True)
class FetchBodies:
    """Ask `peer` for the bodies of these blocks."""

    request_id: int
    peer: PeerId
    hashes: Sequence[BlockHash]


@dataclass(frozen=True, slots=True)
class ImportFetched:
    """Check the header, propagate, import, announce; then call `on_imported`."""

    block: Block
    peer: PeerId


@dataclass(frozen=True, slots=True)
class DropFetchPeer:
    """Disconnect `peer`."""

    peer: PeerId
    offence: Offence
    explanation: str


FetcherAction = FetchHeader | FetchBodies | ImportFetched | DropFetchPeer
