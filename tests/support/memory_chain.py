"""A chain store in memory, moved by the real fork choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.shared.ethwire.types import Block, BlockHash, Header, StateEntry
from services.sync_coordinator.core.fork_choice import (
    ChainUpdate,
    Heads,
    commit_pivot,
    extend_blocks,
    extend_fast_blocks,
    extend_headers,
    roll_back,
)
from tests.support.chain_maker import MadeChain, made_genesis


class MemoryChain:
    """A `ChainView` that starts at the genesis of the made chains."""

    def __init__(self) -> None:
        genesis = made_genesis().block(0)
        self._headers: dict[BlockHash, Header] = {genesis.header.hash: genesis.header}
        self._total_difficulties = {genesis.header.hash: genesis.header.difficulty}
        self._canonical = {0: genesis.header.hash}
        self.bodies = {genesis.header.hash: genesis.body_rlp}
        self._heads = Heads(genesis.header, genesis.header, genesis.header)
        self.state: dict[bytes, bytes] = {}
        self.kept_receipts: dict[BlockHash, bytes] = {}
        self.pivot: BlockHash | None = None

    def header(self, block_hash: BlockHash) -> Header | None:
        return self._headers.get(block_hash)

    def canonical_hash(self, number: int) -> BlockHash | None:
        return self._canonical.get(number)

    def total_difficulty(self, block_hash: BlockHash) -> int | None:
        return self._total_difficulties.get(block_hash)

    def has_body(self, block_hash: BlockHash) -> bool:
        return block_hash in self.bodies

    def has_state(self, hashes: Sequence[bytes]) -> list[bool]:
        return [entry_hash in self.state for entry_hash in hashes]

    def heads(self) -> Heads:
        return self._heads

    def add_headers(self, headers: Sequence[Header]) -> None:
        if headers:
            self._commit(extend_headers(self, headers))

    def add_blocks(self, blocks: Sequence[Block], receipts: Mapping[BlockHash, bytes] | None = None) -> None:
        if blocks:
            self._commit(extend_blocks(self, blocks, receipts))

    def add_fast_blocks(self, blocks: Sequence[Block], receipts: Mapping[BlockHash, bytes]) -> None:
        if blocks:
            self._commit(extend_fast_blocks(self, blocks, receipts))

    def commit_pivot(self, header: Header) -> None:
        self._commit(commit_pivot(self, header))

    def add_state(self, entries: Sequence[StateEntry]) -> None:
        self.state.update((entry.hash, entry.value) for entry in entries)

    def forget(self, headers: Sequence[Header]) -> None:
        self._commit(roll_back(self, headers))

    def fill(self, chain: MadeChain) -> None:
        """Add all blocks of a made chain."""
        self.add_blocks([chain.block(number) for number in range(1, len(chain.headers))])

    def fill_fast(self, chain: MadeChain) -> None:
        """Add all blocks of a made chain, whose headers are here, as a fast sync does."""
        receipts = {header.hash: kept.receipts_rlp for header, kept in zip(chain.headers, chain.receipts, strict=True)}
        self.add_fast_blocks([chain.block(number) for number in range(1, len(chain.headers))], receipts)

    def fill_headers(self, chain: MadeChain) -> None:
        """Add all headers of a made chain."""
        self.add_headers(chain.headers[1:])

    def _commit(self, update: ChainUpdate) -> None:
        for header, total_difficulty in update.headers:
            self._headers[header.hash] = header
            self._total_difficulties[header.hash] = total_difficulty
        for block in update.bodies:
            self.bodies[block.header.hash] = block.body_rlp
        self.kept_receipts.update((header.hash, receipts_rlp) for header, receipts_rlp in update.receipts)
        self.pivot = update.pivot or self.pivot
        for header in update.forgotten:
            del self._headers[header.hash], self._total_difficulties[header.hash]
        for number in update.vacated_numbers:
            self._canonical.pop(number, None)
        self._canonical.update(update.canonical)
        self.add_state(update.state_entries)
        self._heads = update.heads
