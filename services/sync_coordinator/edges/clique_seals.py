"""Clique seals (EIP-225): workers recover who signed, in parallel; who might is then followed block by block."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final, Protocol, TypeVar

import structlog

from services.shared.ethwire.types import BlockHash, Header
from services.sync_coordinator.core.clique_codec import decode_snapshot, encode_snapshot
from services.sync_coordinator.core.clique_snapshot import STORE_INTERVAL, SignerSnapshot, genesis_snapshot
from services.sync_coordinator.core.fork_choice import SealState
from services.sync_coordinator.core.rule_broken import RuleBroken
from services.sync_coordinator.edges.seal_pool import SealPool, SealWorkersFailed

_log = structlog.get_logger("clique")

KNOWN_SNAPSHOTS: Final = 2048
"""Snapshots in memory, one a block: more than a batch of any import, so that none is computed twice."""

KNOWN_SIGNERS: Final = 4096
"""Signers in memory (geth `inmemorySignatures`)."""

HEADERS_PER_TURN: Final = 256
"""Headers followed, or looked up, before the event loop gets its turn: about a millisecond."""

K = TypeVar("K")
V = TypeVar("V")


class SealHistory(Protocol):
    """Where ancestors, and what was kept under them, are read."""

    def header(self, block_hash: BlockHash) -> Header | None: ...

    def seal_state(self, block_hash: BlockHash) -> bytes | None: ...


class SealHistoryBroken(SealWorkersFailed):
    """Stored ancestors are missing or were never judged, and break the rules; says nothing about the headers."""


class CliqueSeals:
    """Keeps the newest snapshots in memory; older ones are computed from the nearest one in the store, or genesis.

    A snapshot follows from its block hash alone, so what is in memory stays true whatever the store forgets.
    """

    stands_alone = False

    def __init__(self, epoch_blocks: int, pool: SealPool) -> None:
        self._epoch_blocks = epoch_blocks
        self._pool = pool
        self._history: SealHistory
        self._signers: OrderedDict[BlockHash, bytes] = OrderedDict()
        self._snapshots: OrderedDict[BlockHash, SignerSnapshot] = OrderedDict()
        self._caught_up: list[SignerSnapshot] = []
        """Of stored blocks, for the store: computed because it had none."""

    @property
    def pids(self) -> list[int]:
        """The worker processes that run now."""
        return self._pool.pids

    def read_from(self, history: SealHistory) -> None:
        self._history = history

    def prepare(self, number: int) -> None:
        """Nothing to do: a worker starts in a moment."""

    async def check(self, headers: Sequence[Header]) -> None:
        """Raises RuleBroken for the lowest block whose seal is wrong, or SealWorkersFailed."""
        ordered = sorted(headers, key=lambda header: header.number)
        signers = await self._signers_of(ordered)
        for index, header in enumerate(ordered):
            if index % HEADERS_PER_TURN == HEADERS_PER_TURN - 1:
                await asyncio.sleep(0)
            before = await self.snapshot_of(header.parent_hash)
            self._remember(before.apply(header, signers[header.hash], self._epoch_blocks))

    def to_store(self, headers: Sequence[Header]) -> Sequence[SealState]:
        """The snapshots that are due among these blocks, and those of stored blocks that were missing."""
        due = [header.hash for header in headers if header.number % STORE_INTERVAL == 0]
        kept = [self._snapshots[block_hash] for block_hash in due if block_hash in self._snapshots]
        # A rollback may have forgotten the block meanwhile.
        kept += [snapshot for snapshot in self._caught_up if self._history.header(snapshot.block_hash) is not None]
        self._caught_up = []
        return [SealState(snapshot.number, snapshot.block_hash, encode_snapshot(snapshot)) for snapshot in kept]

    async def close(self) -> None:
        """End the workers; checks that still run raise SealWorkersFailed."""
        await self._pool.close()

    async def snapshot_of(self, block_hash: BlockHash) -> SignerSnapshot:
        """The snapshot after a block that was checked or is stored. Raises SealWorkersFailed."""
        known = self._snapshots.get(block_hash)
        if known is not None:
            self._snapshots.move_to_end(block_hash)
            return known
        base, missing = await self._nearest(block_hash)
        self._remember(base)
        missing.reverse()
        for start in range(0, len(missing), STORE_INTERVAL):
            base = await self._catch_up(base, missing[start : start + STORE_INTERVAL])
        return base

    async def _nearest(self, block_hash: BlockHash) -> tuple[SignerSnapshot, list[BlockHash]]:
        """The newest snapshot at or below a block, and the blocks above it, newest first."""
        missing: list[BlockHash] = []
        while True:
            snapshot = self._snapshots.get(block_hash)
            if snapshot is not None:
                return snapshot, missing
            header = self._stored(block_hash)
            snapshot = genesis_snapshot(header) if header.number == 0 else self._kept(header)
            if snapshot is not None:
                return snapshot, missing
            missing.append(block_hash)
            block_hash = header.parent_hash
            if len(missing) % HEADERS_PER_TURN == 0:
                await asyncio.sleep(0)

    def _kept(self, header: Header) -> SignerSnapshot | None:
        """What the store has; damage costs time, not truth, since headers say it all again."""
        value = self._history.seal_state(header.hash) if header.number % STORE_INTERVAL == 0 else None
        if value is None:
            return None
        try:
            snapshot = decode_snapshot(value)
        except ValueError as problem:
            _log.warning("damaged seal state in the store", number=header.number, why=str(problem))
            return None
        return snapshot if snapshot.block_hash == header.hash else None

    async def _catch_up(self, base: SignerSnapshot, hashes: Sequence[BlockHash]) -> SignerSnapshot:
        headers = [self._stored(block_hash) for block_hash in hashes]
        signers = await self._signers_of(headers)
        for header in headers:
            try:
                base = base.apply(header, signers[header.hash], self._epoch_blocks)
            except RuleBroken as fault:
                raise SealHistoryBroken(f"a stored block was never judged and is bad: {fault}") from fault
            self._remember(base)
            if base.number % STORE_INTERVAL == 0:
                self._caught_up.append(base)
        return base

    def _stored(self, block_hash: BlockHash) -> Header:
        header = self._history.header(block_hash)
        if header is None:
            raise SealHistoryBroken(f"block 0x{block_hash.hex()} is missing, so later seals cannot be judged")
        return header

    async def _signers_of(self, headers: Sequence[Header]) -> Mapping[BlockHash, bytes]:
        """Who sealed each of these headers."""
        found = {header.hash: known for header in headers if (known := self._signers.get(header.hash)) is not None}
        chunks = self._pool.chunks([header for header in headers if header.hash not in found])

        async def recover(chunk: Sequence[Header]) -> None:
            signers = await self._pool.ask(chunk, lambda worker: worker.signers(chunk))
            for header, signer in zip(chunk, signers, strict=True):
                found[header.hash] = signer
                _put(self._signers, header.hash, signer, KNOWN_SIGNERS)

        try:
            async with asyncio.TaskGroup() as tasks:
                for chunk in chunks:
                    tasks.create_task(recover(chunk), name="recover-signers")
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        return found

    def _remember(self, snapshot: SignerSnapshot) -> None:
        _put(self._snapshots, snapshot.block_hash, snapshot, KNOWN_SNAPSHOTS)


def _put(known: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    known[key] = value
    if len(known) > most:
        known.popitem(last=False)
