"""Brings chain files into the store: framing first, then batch by batch through the block import.

A file is read to its end before anything is written, so that one that is cut off changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from services.shared.ethwire.bodies import body_roots, receipt_totals
from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.headers import decode_header
from services.shared.ethwire.types import Block, BlockHash, Header
from services.sync_coordinator.core.rule_broken import RuleBroken, broken
from services.sync_coordinator.edges.block_import import BlockImport
from services.sync_coordinator.store.chain_store import ChainStore
from services.sync_coordinator.store.dumps import count_blocks, read_chain_file
from services.sync_coordinator.store.file_block import DumpInvalid, FileBlock

BATCH_BLOCKS: Final = 1024
BATCH_BYTES: Final = 16 * 1024 * 1024
"""A batch is read while the one before is imported, so two of them are in memory."""

BLOCKS_PER_TURN: Final = 64
"""Blocks parsed before the event loop can hand seals to workers and results back."""


class FileOutcome(NamedTuple):
    imported: int
    known: int


class _Batch(NamedTuple):
    """Blocks whose bodies fit their headers, and what is wrong with what follows them, if anything."""

    blocks: Sequence[Block]
    receipts: dict[BlockHash, bytes]
    fault: RuleBroken | DumpInvalid | None


async def import_file(
    path: Path, store: ChainStore, block_import: BlockImport, on_progress: Callable[[int, int, Header], None]
) -> FileOutcome:
    """Imports what is new in the file; `on_progress` gets (blocks done, blocks in the file, full-block head).

    Raises DumpInvalid with the store untouched when the file is not whole; DumpInvalid or RuleBroken for a
    bad block, after what was valid before it is stored.
    """
    total = count_blocks(path)
    source = read_chain_file(path)
    parser = _Parser(path, store)
    imported = known = 0
    batch = await parser.next_batch(source)
    while batch.blocks or batch.fault:
        importing = asyncio.create_task(block_import.import_blocks(batch.blocks, batch.receipts), name="import-batch")
        try:
            following = _Batch((), {}, None) if batch.fault else await parser.next_batch(source)
        except asyncio.CancelledError:
            importing.cancel()
            await asyncio.gather(importing, return_exceptions=True)
            raise
        outcome = await importing
        if batch.fault is not None:
            raise batch.fault
        imported, known = imported + outcome.imported, known + outcome.known
        on_progress(imported + known, total, outcome.heads.full_block)
        batch = following
    return FileOutcome(imported, known)


class _Parser:
    """Turns file blocks into checked ones: header decoded, roots and era1's total difficulty compared."""

    def __init__(self, path: Path, store: ChainStore) -> None:
        self._path, self._store = path, store
        genesis_hash = store.canonical_hash(0)
        assert genesis_hash is not None
        self._genesis_hash = genesis_hash
        self._count = 0
        self._last_hash = BlockHash(b"")
        self._total_difficulty: int | None = None
        """Of the last parsed block, when its ancestors are known."""

    async def next_batch(self, source: Iterator[FileBlock]) -> _Batch:
        blocks: list[Block] = []
        receipts: dict[BlockHash, bytes] = {}
        size_bytes = 0
        while len(blocks) < BATCH_BLOCKS and size_bytes < BATCH_BYTES:
            try:
                file_block = next(source, None)
                if file_block is None:
                    break
                block = self._parse(file_block)
            except (DumpInvalid, RuleBroken) as fault:
                return _Batch(blocks, receipts, fault)
            blocks.append(block)
            size_bytes += len(block.body_rlp)
            if file_block.receipts_rlp is not None:
                receipts[block.header.hash] = file_block.receipts_rlp
            if len(blocks) % BLOCKS_PER_TURN == 0:
                await asyncio.sleep(0)
        return _Batch(blocks, receipts, None)

    def _parse(self, file_block: FileBlock) -> Block:
        self._count += 1
        try:
            header = decode_header(file_block.header_rlp)
            body = body_roots(file_block.body_rlp)
        except MalformedRlp as fault:
            raise DumpInvalid(self._path, f"block {self._count} of the file", str(fault)) from fault
        if header.number == 0 and header.hash != self._genesis_hash:
            problem = f"genesis mismatch: the file has 0x{header.hash.hex()}, the store 0x{self._genesis_hash.hex()}"
            raise DumpInvalid(self._path, "", problem)
        if body.transactions_root != header.transactions_root:
            raise broken(header, "transactions-root", f"the body's is 0x{body.transactions_root.hex()}")
        if body.uncles_hash != header.uncles_hash:
            raise broken(header, "uncles-hash", f"the body's is 0x{body.uncles_hash.hex()}")
        if file_block.receipts_rlp is not None:
            check_receipts(header, file_block.receipts_rlp)
        self._check_total_difficulty(header, file_block.total_difficulty)
        return Block(header, file_block.body_rlp)

    def _check_total_difficulty(self, header: Header, claimed: int | None) -> None:
        before = self._total_difficulty
        if header.parent_hash != self._last_hash:
            before = self._store.total_difficulty(header.parent_hash) if header.number else 0
        self._last_hash = header.hash
        self._total_difficulty = None if before is None else before + header.difficulty
        if claimed is not None and self._total_difficulty not in (None, claimed):
            raise broken(header, "total-difficulty", f"the file says {claimed}, ours is {self._total_difficulty}")


def check_receipts(header: Header, receipts_rlp: bytes) -> None:
    """Raises RuleBroken unless the receipts are the header's."""
    try:
        totals = receipt_totals(receipts_rlp)
    except MalformedRlp as fault:
        raise broken(header, "receipts", str(fault)) from fault
    if totals.root != header.receipts_root:
        raise broken(header, "receipts-root", f"the receipts' is 0x{totals.root.hex()}")
    if totals.bloom != header.bloom:
        raise broken(header, "receipts-bloom", "the receipts give another bloom")
    if totals.gas_used != header.gas_used:
        raise broken(header, "receipts-gas", f"the receipts used {totals.gas_used} gas, not {header.gas_used}")
