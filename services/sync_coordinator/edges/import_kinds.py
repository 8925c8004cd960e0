"""How the importer looks up and adds headers, full blocks and fast blocks: what is known, and what is judged."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from services.shared.ethwire.types import Block, BlockHash, Header
from services.sync_coordinator.core.checked_chunks import CheckedChunk
from services.sync_coordinator.core.fork_choice import (
    ChainUpdate,
    extend_blocks,
    extend_fast_blocks,
    extend_headers,
    has_full_block,
)
from services.sync_coordinator.core.rule_broken import broken
from services.sync_coordinator.store.chain_store import ChainStore


class HeaderImport:
    """How headers alone are looked up and added."""

    has_bodies, has_new_headers = False, True

    def __init__(self, store: ChainStore, sealed: Collection[BlockHash] | None) -> None:
        self._store, self._sealed = store, sealed

    def sealed_headers(self, checked: CheckedChunk) -> list[Header]:
        headers = [block.header for block in checked.blocks]
        return headers if self._sealed is None else [header for header in headers if header.hash in self._sealed]

    def is_known(self, block_hash: BlockHash) -> bool:
        return self._store.number_of(block_hash) is not None

    def parent_of(self, header: Header) -> Header:
        return _known_parent(self._store, header, self.is_known)

    def extend(self, blocks: Sequence[Block]) -> ChainUpdate:
        return extend_headers(self._store, [block.header for block in blocks])

    def judged_headers(self, checked: CheckedChunk) -> list[Header]:
        return [block.header for block in checked.blocks]


class FullImport:
    """How whole blocks are looked up and added; those that came as fast blocks are not known yet."""

    has_bodies, has_new_headers = True, True

    def __init__(
        self, store: ChainStore, receipts: Mapping[BlockHash, bytes] | None, seal_checked: Header | None = None
    ) -> None:
        self._store, self._receipts, self._seal_checked = store, receipts, seal_checked

    def sealed_headers(self, checked: CheckedChunk) -> list[Header]:
        headers = checked.sealed_headers()
        return headers if self._seal_checked is None else [one for one in headers if one != self._seal_checked]

    def is_known(self, block_hash: BlockHash) -> bool:
        return has_full_block(self._store, block_hash)

    def parent_of(self, header: Header) -> Header:
        return _known_parent(self._store, header, self.is_known)

    def extend(self, blocks: Sequence[Block]) -> ChainUpdate:
        return extend_blocks(self._store, blocks, self._receipts)

    def judged_headers(self, checked: CheckedChunk) -> list[Header]:
        return [block.header for block in checked.blocks]


class FastImport:
    """How blocks are looked up and added on the word of their headers, which are stored and judged."""

    has_bodies, has_new_headers = True, False

    def __init__(self, store: ChainStore, receipts: Mapping[BlockHash, bytes]) -> None:
        self._store, self._receipts = store, receipts

    def sealed_headers(self, checked: CheckedChunk) -> list[Header]:
        return []

    def is_known(self, block_hash: BlockHash) -> bool:
        return self._store.has_body(block_hash)

    def parent_of(self, header: Header) -> Header:
        return _known_parent(self._store, header, self.is_known)

    def extend(self, blocks: Sequence[Block]) -> ChainUpdate:
        return extend_fast_blocks(self._store, blocks, self._receipts)

    def judged_headers(self, checked: CheckedChunk) -> list[Header]:
        return []


ImportKind = HeaderImport | FullImport | FastImport


def _known_parent(store: ChainStore, header: Header, is_known: Callable[[BlockHash], bool]) -> Header:
    parent = store.header(header.parent_hash)
    if parent is None or not is_known(header.parent_hash):
        raise broken(header, "parent", f"0x{header.parent_hash.hex()} is not known")
    return parent


def skip_known(run: Sequence[Block], kind: ImportKind) -> Sequence[Block]:
    """What follows the known part of a linked run: a child of something unknown is unknown."""
    for index, block in enumerate(run):
        if not kind.is_known(block.header.hash):
            return run[index:]
    return ()
