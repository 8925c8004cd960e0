"""What the coordinator asks of a chain store, whatever keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from services.shared.ethwire.types import BlockHash
from services.sync_coordinator.core.fork_choice import ChainUpdate, ChainView


class StoreRefused(Exception):
    """The store cannot be opened: foreign, damaged, newer than we are, or in use. One line for the operator."""


class StoreFailed(Exception):
    """The disk or the store's files failed while in use; what was committed before is still there."""


class ChainStore(ChainView, Protocol):
    """The chain on disk. Reads see the last commit; `commit` is all or nothing and on disk when it returns.

    Reads are quick enough for the event loop; `commit` is not, and only one runs at a time.
    """

    def header_rlp(self, block_hash: BlockHash) -> bytes | None: ...

    def body_rlp(self, block_hash: BlockHash) -> bytes | None: ...

    def receipts_rlp(self, block_hash: BlockHash) -> bytes | None: ...

    def number_of(self, block_hash: BlockHash) -> int | None: ...

    def canonical_headers(self, start: int, amount: int, step: int = 1) -> list[bytes]:
        """Header RLP of canonical blocks `start`, `start + step`, …; ends early where the chain does."""
        ...

    def bodies(self, hashes: Sequence[BlockHash]) -> list[bytes | None]: ...

    def receipts(self, hashes: Sequence[BlockHash]) -> list[bytes | None]: ...

    def seal_state(self, block_hash: BlockHash) -> bytes | None:
        """What a commit kept as this block's seal state."""
        ...

    def state_entries(self, hashes: Sequence[bytes]) -> list[bytes | None]: ...

    def pivot(self) -> BlockHash | None:
        """The block whose whole state is in the store, once a fast sync has brought one."""
        ...

    def commit(self, update: ChainUpdate) -> None: ...
