"""Checks a whole store again, trusting nothing in it but the genesis hash.

One pass over the headers in number order, each with all that is kept under its key; then the indexes
and the heads against what the pass has seen; then the state. docs/verification.md lists what is found.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Final, NamedTuple

from services.shared.ethwire.bodies import body_roots
from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.hashing import EMPTY_LIST_HASH, EMPTY_TRIE_ROOT, keccak256
from services.shared.ethwire.headers import decode_header
from services.shared.ethwire.types import Block, BlockHash, Header
from services.sync_coordinator.core.chain_rules import ChainRules
from services.sync_coordinator.core.checked_chunks import decode_uncles
from services.sync_coordinator.core.rule_broken import RuleBroken
from services.sync_coordinator.core.uncles import MAX_UNCLE_GENERATIONS, AncestorBlock
from services.sync_coordinator.edges.block_import import SealChecks
from services.sync_coordinator.edges.clique_seals import SealHistoryBroken
from services.sync_coordinator.store.file_import import check_receipts
from services.sync_coordinator.store.problems import Problem, ProblemLog, TooManyProblems
from services.sync_coordinator.store.raw_tables import RawTables
from services.sync_coordinator.store.stored_headers import StoredHeaders
from services.sync_coordinator.store.tables import Table, encode_total_difficulty
from services.sync_coordinator.store.verify_heads import HeadsCheck
from services.sync_coordinator.store.verify_seals import SealStatesCheck
from services.sync_coordinator.store.verify_state import StateCheck

SEAL_BATCH: Final = 1024
BLOCKS_PER_TURN: Final = 64
"""Blocks checked before the event loop can hand seals to workers and results back."""

COUNTED: Final = (Table.HEADERS, Table.BODIES, Table.RECEIPTS, Table.SEAL_STATES, Table.CANONICAL)

OnProgress = Callable[[int, int, str], None]
"""Gets (done, all, what they are)."""


class Verified(NamedTuple):
    """How much was checked. Seal states are not judged when the seals are not."""

    headers: int
    state_entries: int
    unjudged_seal_states: int


class _Seen(NamedTuple):
    """What the children of a block are checked against."""

    header: Header
    total_difficulty: int
    has_body: bool
    uncle_hashes: Sequence[BlockHash]


class StoreCheck:
    """One check of one snapshot. Problems go to `report` as they are found."""

    def __init__(
        self, tables: RawTables, rules: ChainRules, seals: SealChecks, report: Callable[[Problem], None]
    ) -> None:
        self._tables, self._rules, self._seals = tables, rules, seals
        seals.read_from(StoredHeaders(tables))
        self._log = ProblemLog(report)
        self._heads = HeadsCheck(tables, self._log)
        self._seal_states = SealStatesCheck(tables, self._log, is_clique=rules.is_clique)
        self._fast_blocks = self._heads.fast_blocks
        self._seals_end = False
        self._window: dict[int, dict[BlockHash, _Seen]] = {}
        """Checked headers of the last numbers, by number and hash."""
        self._canonical_parent = b""
        self._counts = dict.fromkeys(COUNTED, 0)
        self._heaviest_header = self._heaviest_body = 0

    @property
    def problems(self) -> int:
        return self._log.count

    async def run(self, on_progress: OnProgress) -> Verified:
        """Checks everything."""
        try:
            await self._check_chain(on_progress)
            self._check_indexes()
            await self._check_state(on_progress)
        except TooManyProblems:
            pass
        return Verified(self._counts[Table.HEADERS], self._tables.count(Table.STATE), self._seal_states.unjudged)

    async def _check_chain(self, on_progress: OnProgress) -> None:
        """Seals of one batch are checked while the next is read."""
        total = self._tables.count(Table.HEADERS)
        sealing: asyncio.Task[None] | None = None
        try:
            async for sealed in self._check_headers():
                if sealing is not None:
                    await sealing
                sealing = asyncio.create_task(self._check_seals(sealed), name="check-seals")
                on_progress(self._counts[Table.HEADERS], total, "blocks")
            if sealing is not None:
                await sealing
        finally:
            if sealing is not None:
                sealing.cancel()
                await asyncio.gather(sealing, return_exceptions=True)

    async def _check_headers(self) -> AsyncIterator[list[Header]]:
        """Checks every header and what lies under its key; yields batches of headers whose seals count."""
        sealed: list[Header] = []
        for key, header_rlp in self._tables.entries(Table.HEADERS):
            self._counts[Table.HEADERS] += 1
            sealed += self._check_entry(key, header_rlp)
            if self._counts[Table.HEADERS] % BLOCKS_PER_TURN == 0:
                await asyncio.sleep(0)
            if len(sealed) >= SEAL_BATCH:
                yield sealed
                sealed = []
        yield sealed

    def _check_entry(self, key: bytes, header_rlp: bytes) -> list[Header]:
        number, block_hash = int.from_bytes(key[:8]), BlockHash(key[8:])
        try:
            header = decode_header(header_rlp, block_hash)
        except MalformedRlp as fault:
            self._log.note(key, "header", str(fault))
            return []
        if keccak256(header_rlp) != block_hash or header.number != number:
            self._log.note(key, "hash", "the header is not the one its key names")
            return []
        if self._tables.get(Table.NUMBERS, block_hash) != key[:8]:
            self._log.note(key, "number-index", "the hash leads to another number or to none")
        parent = self._parent_of(key, header)
        total_difficulty = self._check_total_difficulty(key, header, parent)
        uncles: Sequence[Header] = ()
        body_rlp = self._tables.get(Table.BODIES, key)
        if body_rlp is not None:
            self._counts[Table.BODIES] += 1
            uncles = self._check_body(key, Block(header, body_rlp), parent)
        is_canonical = self._check_canonical(key, header)
        self._check_receipts(key, header, must_exist=is_canonical and header.number in self._fast_blocks)
        self._counts[Table.SEAL_STATES] += self._seal_states.see(key)
        seen = _Seen(header, total_difficulty, body_rlp is not None, tuple(uncle.hash for uncle in uncles))
        self._window.setdefault(number, {})[block_hash] = seen
        self._window.pop(number - MAX_UNCLE_GENERATIONS - 1, None)
        return [] if parent is None else [header, *uncles]

    def _parent_of(self, key: bytes, header: Header) -> _Seen | None:
        """The checked parent, after the header rules; the genesis block has none."""
        if header.number == 0:
            if self._tables.get(Table.META, b"genesis") != header.hash:
                self._log.note(key, "genesis", "this is not the genesis block of the store")
            return None
        parent = self._window.get(header.number - 1, {}).get(header.parent_hash)
        if parent is None:
            self._log.note(key, "parent", f"0x{header.parent_hash.hex()} is missing or bad")
            return None
        before = parent.header
        self._judge(key, lambda: self._rules.check_header(header, before, now=None))
        self._judge(key, lambda: self._rules.check_before_merge(header, parent.total_difficulty))
        return parent

    def _check_total_difficulty(self, key: bytes, header: Header, parent: _Seen | None) -> int:
        stored = self._tables.get(Table.TOTAL_DIFFICULTY, key)
        if parent is None and header.number:
            return int.from_bytes(stored or b"")
        total_difficulty = header.difficulty + (parent.total_difficulty if parent is not None else 0)
        if stored != encode_total_difficulty(total_difficulty):
            found = "nothing" if stored is None else str(int.from_bytes(stored))
            self._log.note(key, "total-difficulty", f"{found} is stored, must be {total_difficulty}")
        self._heaviest_header = max(self._heaviest_header, total_difficulty)
        return total_difficulty

    def _check_body(self, key: bytes, block: Block, parent: _Seen | None) -> Sequence[Header]:
        """The uncles of the body, after everything about it was checked."""
        header = block.header
        try:
            body = body_roots(block.body_rlp)
        except MalformedRlp as fault:
            self._log.note(key, "body", str(fault))
            return ()
        if body.transactions_root != header.transactions_root:
            self._log.note(key, "transactions-root", f"the body's is 0x{body.transactions_root.hex()}")
        if body.uncles_hash != header.uncles_hash:
            self._log.note(key, "uncles-hash", f"the body's is 0x{body.uncles_hash.hex()}")
            return ()
        if parent is not None and not parent.has_body:
            self._log.note(key, "body", "the parent's body is missing")
        if parent is not None:
            weight = parent.total_difficulty + header.difficulty
            self._heaviest_body = max(self._heaviest_body, weight)
        if header.uncles_hash == EMPTY_LIST_HASH:
            return ()
        try:
            uncles = decode_uncles(block)
            self._rules.check_uncles(header, uncles, list(self._ancestors(header)))
        except RuleBroken as fault:
            self._log.note(key, fault.rule, fault.detail)
            return ()
        return uncles

    def _ancestors(self, header: Header) -> Iterator[AncestorBlock]:
        for _ in range(MAX_UNCLE_GENERATIONS):
            seen = self._window.get(header.number - 1, {}).get(header.parent_hash)
            if seen is None:
                return
            yield AncestorBlock(seen.header, seen.uncle_hashes)
            header = seen.header

    def _check_receipts(self, key: bytes, header: Header, *, must_exist: bool) -> None:
        receipts_rlp = self._tables.get(Table.RECEIPTS, key)
        if receipts_rlp is not None:
            self._counts[Table.RECEIPTS] += 1
            self._judge(key, lambda: check_receipts(header, receipts_rlp))
        elif must_exist and header.receipts_root != EMPTY_TRIE_ROOT:
            self._log.note(key, "receipts", "are missing, and fast sync stored the block with them")

    def _check_canonical(self, key: bytes, header: Header) -> bool:
        """Whether the block is canonical, after seeing that it follows the one before."""
        if self._tables.get(Table.CANONICAL, key[:8]) != header.hash:
            return False
        if header.number and header.parent_hash != self._canonical_parent:
            self._log.note(key, "canonical", "the canonical block before it is not its parent")
        self._canonical_parent = header.hash
        self._counts[Table.CANONICAL] += 1
        return True

    async def _check_seals(self, headers: Sequence[Header]) -> None:
        while headers and not self._seals_end:
            try:
                await self._seals.check(headers)
            except RuleBroken as fault:
                self._log.note(fault.number.to_bytes(8) + fault.block_hash, fault.rule, fault.detail)
                headers = [header for header in headers if header.hash != fault.block_hash]
            except SealHistoryBroken as gap:
                self._seals_end = True
                self._log.note(headers[0].number.to_bytes(8) + headers[0].hash, "seal", f"not judged: {gap}")
            else:
                break
        self._seal_states.compare(self._seals.to_store(headers))

    def _check_indexes(self) -> None:
        headers = self._counts[Table.HEADERS]
        self._heads.check_counts({**self._counts, Table.TOTAL_DIFFICULTY: headers, Table.NUMBERS: headers})
        self._heads.check_meta()
        self._heads.check_heads(self._heaviest_header, self._heaviest_body)
        self._heads.check_pivot()
        self._seal_states.end(were_judged=not self._seals_end)

    async def _check_state(self, on_progress: OnProgress) -> None:
        def show(done: int, total: int) -> None:
            on_progress(done, total, "state entries")

        state = StateCheck(self._tables, self._log, show)
        await state.check_entries()
        pivot_rlp = self._heads.pivot_header_rlp
        if pivot_rlp is None:
            return
        try:
            pivot = decode_header(pivot_rlp)
        except MalformedRlp:
            return
        await state.walk(pivot.state_root)

    def _judge(self, key: bytes, check: Callable[[], None]) -> None:
        try:
            check()
        except RuleBroken as fault:
            self._log.note(key, fault.rule, fault.detail)
