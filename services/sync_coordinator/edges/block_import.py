"""Takes headers and blocks into the store: rules, seals, fork choice, commit.

Work is cut into chunks. While one chunk's seals are checked by workers and its commit waits for the
disk, the rules of the next one run on the event loop, in slices short enough for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, Protocol

from services.shared.ethwire.hashing import EMPTY_LIST_HASH
from services.shared.ethwire.types import Block, BlockHash, Header, StateEntry
from services.sync_coordinator.core.chain_rules import ChainRules
from services.sync_coordinator.core.checked_chunks import CheckedChunk, Family, chunks, decode_uncles, linked_runs
from services.sync_coordinator.core.fork_choice import (
    ChainUpdate,
    Heads,
    Reorg,
    SealState,
    UnknownParent,
    commit_pivot,
    roll_back,
)
from services.sync_coordinator.core.rule_broken import RuleBroken
from services.sync_coordinator.edges.clique_seals import SealHistory
from services.sync_coordinator.edges.import_kinds import FastImport, FullImport, HeaderImport, ImportKind, skip_known
from services.sync_coordinator.store.chain_store import ChainStore

SLICE_S: Final = 0.002
"""How long rules are checked before the event loop gets its turn."""


class SealChecks(Protocol):
    """Checks seals off the event loop; raises RuleBroken for the lowest bad number."""

    @property
    def stands_alone(self) -> bool:
        """Whether a seal is judged without those before it, so that some may be left out."""

    def read_from(self, history: SealHistory) -> None: ...

    async def check(self, headers: Sequence[Header]) -> None: ...

    def to_store(self, headers: Sequence[Header]) -> Sequence[SealState]: ...


class CheckedSeal:
    """That the seal of exactly this header was found valid. Made by `BlockImport.check_seal` alone."""

    __slots__ = ("header",)

    def __init__(self, header: Header) -> None:
        self.header = header


class ImportOutcome(NamedTuple):
    """What one import did. `known` entries were stored before and only counted."""

    imported: int
    known: int
    heads: Heads
    reorgs: Sequence[Reorg]


class BlockImport:
    """Imports one batch at a time, in the order of the calls.

    What was valid before the first bad block is committed before RuleBroken is raised. After each commit
    `on_commit` is called on the event loop, also when the import is being cancelled.
    """

    def __init__(
        self,
        store: ChainStore,
        rules: ChainRules,
        seals: SealChecks,
        *,
        clock: Callable[[], float] = time.time,
        on_commit: Callable[[ChainUpdate], None] | None = None,
    ) -> None:
        self._store, self._rules, self._seals = store, rules, seals
        seals.read_from(store)
        self._clock, self._on_commit = clock, on_commit
        self._turn = asyncio.Lock()
        self._commit_turn = asyncio.Lock()
        """Held from where heads are read until what follows from them is on disk."""
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-writer")

    def close(self) -> None:
        """Waits for the commit under way. Caller's duty: no import runs or follows."""
        self._writer.shutdown()

    async def import_headers(self, headers: Sequence[Header], sealed: Sequence[Header] | None = None) -> ImportOutcome:
        """Adds headers; the header head may move. Raises RuleBroken or StoreFailed.

        With `sealed` only these seals are checked, where seals stand alone.
        """
        blocks = [Block(header, b"") for header in headers]
        wanted = None if sealed is None or not self._seals.stands_alone else {header.hash for header in sealed}
        return await self._import(blocks, HeaderImport(self._store, wanted))

    async def check_seal(self, header: Header) -> CheckedSeal:
        """For who must know before the import. Caller's duty: the other rules passed. Raises RuleBroken."""
        await self._seals.check([header])
        return CheckedSeal(header)

    async def import_blocks(
        self,
        blocks: Sequence[Block],
        receipts: Mapping[BlockHash, bytes] | None = None,
        *,
        checked: CheckedSeal | None = None,
    ) -> ImportOutcome:
        """Adds whole blocks; all three heads may move. Raises RuleBroken or StoreFailed.

        A header that is in every byte and value the `checked` one is not asked for its seal again.
        Caller's duty: bodies and receipts have the roots that the headers promise.
        """
        return await self._import(
            blocks, FullImport(self._store, receipts, None if checked is None else checked.header)
        )

    async def import_fast_blocks(self, blocks: Sequence[Block], receipts: Mapping[BlockHash, bytes]) -> ImportOutcome:
        """Adds blocks and receipts whose headers are stored; the fast-block head may move. Raises as `import_blocks`.

        Uncles must be allowed by all rules but their seals, which nobody would gain by forging: the headers,
        whose seals count, vouch for the uncles by hash. Same caller's duty as for `import_blocks`.
        """
        return await self._import(blocks, FastImport(self._store, receipts))

    async def commit_pivot(self, header: Header) -> None:
        """Makes a fast block the full-block head. Caller's duty: its whole state is stored. Raises StoreFailed."""
        async with self._turn, self._commit_turn:
            with self._whole_store():
                update = commit_pivot(self._store, header)
            await self._commit(update)

    async def store_state(self, entries: Sequence[StateEntry]) -> None:
        """Keeps state entries, between the commits of an import if one runs. Raises StoreFailed.

        Caller's duty: what each refers to is stored, or among them.
        """
        async with self._commit_turn:
            await self._commit(ChainUpdate(heads=self._store.heads(), state_entries=entries))

    async def roll_back(self, headers: Sequence[Header]) -> None:
        """Forgets `headers`, the newest of a chain in number order; those with bodies stay."""
        async with self._turn, self._commit_turn:
            if headers:
                with self._whole_store():
                    update = roll_back(self._store, headers)
                await self._commit(update)

    @contextlib.contextmanager
    def _whole_store(self) -> Iterator[None]:
        """Raises StoreFailed where the store has lost a part: a parent that rules were checked against, or a head's.

        What comes from peers cannot lead to that: its parent is looked for first, and RuleBroken if it is not there.
        """
        try:
            yield
        except UnknownParent as gap:
            raise self._store.damaged(str(gap)) from gap

    async def _import(self, blocks: Sequence[Block], kind: ImportKind) -> ImportOutcome:
        async with self._turn:
            imported, known = 0, 0
            reorgs: list[Reorg] = []

            def count(update: ChainUpdate, size: int) -> None:
                nonlocal imported
                imported += size
                if update.reorg is not None:
                    reorgs.append(update.reorg)

            with self._whole_store():
                for run in linked_runs(blocks):
                    new = skip_known(run, kind)
                    known += len(run) - len(new)
                    if new:
                        await self._import_run(new, kind, count)
            return ImportOutcome(imported, known, self._store.heads(), reorgs)

    async def _import_run(
        self, run: Sequence[Block], kind: ImportKind, count: Callable[[ChainUpdate, int], None]
    ) -> None:
        """Rules of one chunk run while the chunk before is sealed and committed."""
        family = Family(self._store)
        parent = kind.parent_of(run[0].header)
        total_difficulty = self._store.total_difficulty(parent.hash) or 0
        under_way: asyncio.Task[None] | None = None
        try:
            for chunk in chunks(run):
                checked = await self._check_rules(chunk, parent, kind, family)
                if self._rules.terminal_total_difficulty is not None:
                    checked = checked.before_merge(self._rules, total_difficulty)
                    total_difficulty += sum([block.header.difficulty for block in chunk])
                if under_way is not None:
                    await under_way
                under_way = asyncio.create_task(self._seal_and_commit(checked, kind, count), name="seal-and-commit")
                if checked.fault is not None:
                    break
                parent = chunk[-1].header
            if under_way is not None:
                await under_way
        finally:
            if under_way is not None:
                under_way.cancel()
                await asyncio.gather(under_way, return_exceptions=True)

    async def _check_rules(
        self, chunk: Sequence[Block], parent: Header, kind: ImportKind, family: Family
    ) -> CheckedChunk:
        now = self._clock()
        uncles: dict[int, Sequence[Header]] = {}
        slice_end = time.perf_counter() + SLICE_S
        for index, block in enumerate(chunk):
            header = block.header
            try:
                if kind.has_new_headers:
                    self._rules.check_header(header, parent, now=now)
                if kind.has_bodies:
                    own_uncles: Sequence[Header] = ()
                    if header.uncles_hash != EMPTY_LIST_HASH:
                        own_uncles = uncles[index] = decode_uncles(block)
                        self._rules.check_uncles(header, own_uncles, family.ancestors_of(header))
                    family.add(header, own_uncles)
            except RuleBroken as fault:
                uncles.pop(index, None)
                return CheckedChunk(chunk[:index], uncles, fault)
            parent = header
            if time.perf_counter() > slice_end:
                await asyncio.sleep(0)
                slice_end = time.perf_counter() + SLICE_S
        return CheckedChunk(chunk, uncles, None)

    async def _seal_and_commit(
        self, checked: CheckedChunk, kind: ImportKind, count: Callable[[ChainUpdate, int], None]
    ) -> None:
        """Commits what is valid, then raises the first fault."""
        checked = await self._check_seals(checked, kind)
        if checked.blocks:
            seal_states = self._seals.to_store(kind.judged_headers(checked))
            async with self._commit_turn:
                update = dataclasses.replace(kind.extend(checked.blocks), seal_states=seal_states)
                count(update, len(checked.blocks))
                await self._commit(update)
        if checked.fault is not None:
            raise checked.fault

    async def _check_seals(self, checked: CheckedChunk, kind: ImportKind) -> CheckedChunk:
        """`checked`, cut before the first block whose seal, or whose uncle's seal, is bad.

        An uncle has a lower number than its block, so the lowest bad number need not lie in the first bad
        block; what comes before a bad block is asked for again.
        """
        while checked.blocks:
            try:
                await self._seals.check(kind.sealed_headers(checked))
            except RuleBroken as fault:
                checked = checked.cut(fault)
            else:
                break
        return checked

    async def _commit(self, update: ChainUpdate) -> None:
        """A commit cannot be undone, so a cancelled import still waits for the one under way."""
        write = asyncio.get_running_loop().run_in_executor(self._writer, self._store.commit, update)
        cancelled: asyncio.CancelledError | None = None
        while not write.done():
            try:
                await asyncio.shield(write)
            except asyncio.CancelledError as error:
                cancelled = error
        write.result()
        if self._on_commit is not None:
            self._on_commit(update)
        if cancelled is not None:
            raise cancelled
