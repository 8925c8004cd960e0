"""What the coordinator asks of a chain store, whatever keeps it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from services.shared.ethwire.types import BlockHash
from services.shared.runtime.faults import CannotContinue
from services.sync_coordinator.core.fork_choice import ChainUpdate, ChainView


class StoreRefused(Exception):
    """The store cannot be opened: foreign, damaged, newer than we are, or in use. One line for the operator."""


class StoreFailed(CannotContinue):
    """The disk or the store's files failed while in use; what was committed before is still there."""


class ChainStore(ChainView, Protocol):
    """Where the coordinator keeps the chain; `ChainView` has the reads that fork choice needs.

    **Atomic**: a commit is all or nothing, and on disk when it returns; after a crash the store is that of
    the last commit. **Visible**: a read sees the last commit that has returned, or, from another thread
    while one runs, the one before or it, whole. Two reads may see two commits; what a hash names never
    changes, it only appears and, by a rollback, goes. **Cost**: the event loop reads, so a read of one value
    takes microseconds, and one of many hashes well below a millisecond per hundred; a server database has to
    keep what is hot in memory to be one. `commit` waits for the disk and is called in a thread, one at a time.
    **Failure**: any method raises StoreFailed and nothing else of the store's own.

    `tests/support/store_contract.py` holds every implementation to this.
    """

    def header_rlp(self, block_hash: BlockHash) -> bytes | None:
        """The exact bytes that came in, canonical or not; None when the block is unknown."""
        ...

    def body_rlp(self, block_hash: BlockHash) -> bytes | None: ...

    def receipts_rlp(self, block_hash: BlockHash) -> bytes | None:
        """None also for a block that came without receipts."""
        ...

    def number_of(self, block_hash: BlockHash) -> int | None:
        """The number of a known header."""
        ...

    def canonical_headers(self, start: int, amount: int, step: int = 1) -> list[bytes]:
        """Header RLP of canonical blocks `start`, `start + step`, … of one commit; ends early where the chain does.

        Any number is fine: outside the chain there is nothing.
        """
        ...

    def bodies(self, hashes: Sequence[BlockHash]) -> list[bytes | None]:
        """One entry per hash, in their order, all of one commit."""
        ...

    def receipts(self, hashes: Sequence[BlockHash]) -> list[bytes | None]:
        """As `bodies`."""
        ...

    def seal_state(self, block_hash: BlockHash) -> bytes | None:
        """What a commit kept as this block's seal state."""
        ...

    def state_entries(self, hashes: Sequence[bytes]) -> list[bytes | None]:
        """Trie nodes and code by their hash, as `bodies`."""
        ...

    def pivot(self) -> BlockHash | None:
        """The block whose whole state is in the store, once a fast sync has brought one."""
        ...

    def commit(self, update: ChainUpdate) -> None:
        """Applies all of `update`: deletes first, then what it adds; what is there already is written again.

        Raises StoreFailed with nothing changed. Caller's duty: the update was made from this store's last
        commit, and no other commit runs.
        """
        ...

    def damaged(self, problem: str) -> StoreFailed:
        """What a reader is to raise that finds parts of the store which do not fit together.

        Whoever watches the store for damage is told too.
        """
        ...


class StoreSize(NamedTuple):
    """How large a store is, and how much larger it may become."""

    used_bytes: int
    """Of its file, pages that wait to be used again included."""
    limit_bytes: int
    """Address space that is mapped; it doubles when the file fills it."""
    free_disk_bytes: int
    """What a process without privileges may still write to the file system."""


class MeasuredStore(Protocol):
    """A store whose size and commits can be watched."""

    def size(self) -> StoreSize:
        """What is used of the disk and of the address space. Any thread may ask until the store is closed."""
        ...

    def on_commit(self, report: Callable[[float], object]) -> None:
        """Calls `report` after each commit, in its thread, with the seconds that it took."""
        ...
