"""A `ChainStore` in memory: the chain of the simulations, with the rest of what a store keeps."""

from __future__ import annotations

from collections.abc import Sequence

from services.shared.ethwire.types import BlockHash, Header
from services.sync_coordinator.core.fork_choice import ChainUpdate, Heads
from services.sync_coordinator.store.chain_store import StoreFailed
from tests.support.memory_chain import MemoryChain


class MemoryStore:
    """It survives no process, so of a crash it says nothing."""

    def __init__(self) -> None:
        self._chain = MemoryChain()
        self._receipts: dict[BlockHash, bytes] = {}
        self._seal_states: dict[BlockHash, bytes] = {}
        self._pivot: BlockHash | None = None

    def header(self, block_hash: BlockHash) -> Header | None:
        return self._chain.header(block_hash)

    def canonical_hash(self, number: int) -> BlockHash | None:
        return self._chain.canonical_hash(number)

    def total_difficulty(self, block_hash: BlockHash) -> int | None:
        return self._chain.total_difficulty(block_hash)

    def has_body(self, block_hash: BlockHash) -> bool:
        return self._chain.has_body(block_hash)

    def heads(self) -> Heads:
        return self._chain.heads()

    def header_rlp(self, block_hash: BlockHash) -> bytes | None:
        header = self.header(block_hash)
        return None if header is None else header.header_rlp

    def body_rlp(self, block_hash: BlockHash) -> bytes | None:
        return self._chain.bodies.get(block_hash)

    def receipts_rlp(self, block_hash: BlockHash) -> bytes | None:
        return self._receipts.get(block_hash)

    def number_of(self, block_hash: BlockHash) -> int | None:
        header = self.header(block_hash)
        return None if header is None else header.number

    def canonical_headers(self, start: int, amount: int, step: int = 1) -> list[bytes]:
        found: list[bytes] = []
        for number in range(start, start + amount * step, step):
            block_hash = self.canonical_hash(number)
            header = None if block_hash is None else self.header(block_hash)
            if header is None:
                break
            found.append(header.header_rlp)
        return found

    def bodies(self, hashes: Sequence[BlockHash]) -> list[bytes | None]:
        return [self.body_rlp(block_hash) for block_hash in hashes]

    def receipts(self, hashes: Sequence[BlockHash]) -> list[bytes | None]:
        return [self.receipts_rlp(block_hash) for block_hash in hashes]

    def seal_state(self, block_hash: BlockHash) -> bytes | None:
        return self._seal_states.get(block_hash)

    def state_entries(self, hashes: Sequence[bytes]) -> list[bytes | None]:
        return [self._chain.state.get(entry_hash) for entry_hash in hashes]

    def has_state(self, hashes: Sequence[bytes]) -> list[bool]:
        return self._chain.has_state(hashes)

    def pivot(self) -> BlockHash | None:
        return self._pivot

    def commit(self, update: ChainUpdate) -> None:
        for header in update.forgotten:
            self._receipts.pop(header.hash, None)
            self._seal_states.pop(header.hash, None)
        self._chain._commit(update)
        self._pivot = update.pivot or self._pivot
        self._receipts.update((header.hash, receipts_rlp) for header, receipts_rlp in update.receipts)
        self._seal_states.update((state.block_hash, state.value) for state in update.seal_states)

    def damaged(self, problem: str) -> StoreFailed:
        return StoreFailed(f"the store is damaged: {problem}")
