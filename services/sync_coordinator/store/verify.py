"""Checks a whole store again, trusting nothing in it but the genesis hash.

One pass over the headers in number order, each with all that is kept under its key; then the indexes
and the heads against what the pass has seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Final, NamedTuple

from services.shared.ethwire.bodies import body_roots
from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.hashing import EMPTY_LIST_HASH, keccak256
from services.shared.ethwire.headers import decode_header
from services.shared.ethwire.types import Block, BlockHash, Header
from services.sync_coordinator.core.chain_rules import ChainRules
from services.sync_coordinator.core.checked_chunks import decode_uncles
from services.sync_coordinator.core.fork_choice import HeadKind
from services.sync_coordinator.core.rule_broken import RuleBroken
from services.sync_coordinator.core.uncles import MAX_UNCLE_GENERATIONS, AncestorBlock
from services.sync_coordinator.edges.block_import import SealChecks
from services.sync_coordinator.edges.clique_seals import SealHistoryBroken
from services.sync_coordinator.store.file_import import check_receipts
from services.sync_coordinator.store.lmdb_store import Snapshot
from services.sync_coordinator.store.stored_headers import StoredHeaders
from services.sync_coordinator.store.tables import HEAD_KEYS, Table, block_key, encode_total_difficulty

SEAL_BATCH: Final = 1024
BLOCKS_PER_TURN: Final = 64
"""Blocks checked before the event loop can hand seals to workers and results back."""

MAX_PROBLEMS: Final = 100
"""After this many the store is beyond doubt bad, and the rest would repeat them."""


COUNTED: Final = (Table.HEADERS, Table.BODIES, Table.RECEIPTS, Table.SEAL_STATES, Table.CANONICAL)


class Problem(NamedTuple):
    """One thing wrong: where, the key it concerns, and the rule it breaks."""

    number: int
    key: bytes
    rule: str
    detail: str

    def __str__(self) -> str:
        return f"block {self.number}, key 0x{self.key.hex()}: {self.rule}: {self.detail}"


class TooManyProblems(Exception):
    """Checking stopped at MAX_PROBLEMS."""


class _Seen(NamedTuple):
    """What the children of a block are checked against."""

    header: Header
    total_difficulty: int
    has_body: bool
    uncle_hashes: Sequence[BlockHash]


class StoreCheck:
    """One check of one snapshot. Problems go to `report` as they are found."""

    def __init__(
        self, snapshot: Snapshot, rules: ChainRules, seals: SealChecks, report: Callable[[Problem], None]
    ) -> None:
        self._snapshot, self._rules, self._seals, self._report = snapshot, rules, seals, report
        seals.read_from(StoredHeaders(snapshot))
        self._seals_end = False
        self._window: dict[int, dict[BlockHash, _Seen]] = {}
        """Checked headers of the last numbers, by number and hash."""
        self._canonical_parent = b""
        self._counts = dict.fromkeys(COUNTED, 0)
        self._heaviest = dict.fromkeys(HeadKind, 0)
        self.problems = 0

    async def run(self, on_progress: Callable[[int, int], None]) -> int:
        """Checks everything; the count of headers. `on_progress` gets (headers done, headers)."""
        total = self._snapshot.count(Table.HEADERS)
        sealing: asyncio.Task[None] | None = None
        try:
            async for sealed in self._check_headers():
                if sealing is not None:
                    await sealing
                sealing = asyncio.create_task(self._check_seals(sealed), name="check-seals")
                on_progress(self._counts[Table.HEADERS], total)
            if sealing is not None:
                await sealing
            self._check_indexes()
            self._check_heads()
        except TooManyProblems:
            pass
        finally:
            if sealing is not None:
                sealing.cancel()
                await asyncio.gather(sealing, return_exceptions=True)
        return total

    async def _check_headers(self) -> AsyncIterator[list[Header]]:
        """Checks every header and what lies under its key; yields batches of headers whose seals count."""
        sealed: list[Header] = []
        for key, header_rlp in self._snapshot.entries(Table.HEADERS):
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
            self._note(key, "header", str(fault))
            return []
        if keccak256(header_rlp) != block_hash or header.number != number:
            self._note(key, "hash", "the header is not the one its key names")
            return []
        if self._snapshot.get(Table.NUMBERS, block_hash) != key[:8]:
            self._note(key, "number-index", "the hash leads to another number or to none")
        parent = self._parent_of(key, header)
        total_difficulty = self._check_total_difficulty(key, header, parent)
        uncles: Sequence[Header] = ()
        body_rlp = self._snapshot.get(Table.BODIES, key)
        if body_rlp is not None:
            self._counts[Table.BODIES] += 1
            uncles = self._check_body(key, Block(header, body_rlp), parent)
        receipts_rlp = self._snapshot.get(Table.RECEIPTS, key)
        if receipts_rlp is not None:
            self._counts[Table.RECEIPTS] += 1
            self._judge(key, lambda: check_receipts(header, receipts_rlp))
        if self._snapshot.get(Table.SEAL_STATES, key) is not None:
            self._counts[Table.SEAL_STATES] += 1
        self._check_canonical(key, header)
        seen = _Seen(header, total_difficulty, body_rlp is not None, tuple(uncle.hash for uncle in uncles))
        self._window.setdefault(number, {})[block_hash] = seen
        self._window.pop(number - MAX_UNCLE_GENERATIONS - 1, None)
        return [] if parent is None else [header, *uncles]

    def _parent_of(self, key: bytes, header: Header) -> _Seen | None:
        """The checked parent, after the header rules; the genesis block has none."""
        if header.number == 0:
            if self._snapshot.get(Table.META, b"genesis") != header.hash:
                self._note(key, "genesis", "this is not the genesis block of the store")
            return None
        parent = self._window.get(header.number - 1, {}).get(header.parent_hash)
        if parent is None:
            self._note(key, "parent", f"0x{header.parent_hash.hex()} is missing or bad")
            return None
        before = parent.header
        self._judge(key, lambda: self._rules.check_header(header, before, now=None))
        self._judge(key, lambda: self._rules.check_before_merge(header, parent.total_difficulty))
        return parent

    def _check_total_difficulty(self, key: bytes, header: Header, parent: _Seen | None) -> int:
        stored = self._snapshot.get(Table.TOTAL_DIFFICULTY, key)
        if parent is None and header.number:
            return int.from_bytes(stored or b"")
        total_difficulty = header.difficulty + (parent.total_difficulty if parent is not None else 0)
        if stored != encode_total_difficulty(total_difficulty):
            found = "nothing" if stored is None else str(int.from_bytes(stored))
            self._note(key, "total-difficulty", f"{found} is stored, must be {total_difficulty}")
        self._heaviest[HeadKind.HEADER] = max(self._heaviest[HeadKind.HEADER], total_difficulty)
        return total_difficulty

    def _check_body(self, key: bytes, block: Block, parent: _Seen | None) -> Sequence[Header]:
        """The uncles of the body, after everything about it was checked."""
        header = block.header
        try:
            body = body_roots(block.body_rlp)
        except MalformedRlp as fault:
            self._note(key, "body", str(fault))
            return ()
        if body.transactions_root != header.transactions_root:
            self._note(key, "transactions-root", f"the body's is 0x{body.transactions_root.hex()}")
        if body.uncles_hash != header.uncles_hash:
            self._note(key, "uncles-hash", f"the body's is 0x{body.uncles_hash.hex()}")
            return ()
        if parent is not None and not parent.has_body:
            self._note(key, "body", "the parent's body is missing")
        if parent is not None:
            weight = parent.total_difficulty + header.difficulty
            self._heaviest[HeadKind.FULL_BLOCK] = max(self._heaviest[HeadKind.FULL_BLOCK], weight)
        if header.uncles_hash == EMPTY_LIST_HASH:
            return ()
        try:
            uncles = decode_uncles(block)
            self._rules.check_uncles(header, uncles, list(self._ancestors(header)))
        except RuleBroken as fault:
            self._note(key, fault.rule, fault.detail)
            return ()
        return uncles

    def _ancestors(self, header: Header) -> Iterator[AncestorBlock]:
        for _ in range(MAX_UNCLE_GENERATIONS):
            seen = self._window.get(header.number - 1, {}).get(header.parent_hash)
            if seen is None:
                return
            yield AncestorBlock(seen.header, seen.uncle_hashes)
            header = seen.header

    def _check_canonical(self, key: bytes, header: Header) -> None:
        if self._snapshot.get(Table.CANONICAL, key[:8]) != header.hash:
            return
        if header.number and header.parent_hash != self._canonical_parent:
            self._note(key, "canonical", "the canonical block before it is not its parent")
        self._canonical_parent = header.hash
        self._counts[Table.CANONICAL] += 1

    async def _check_seals(self, headers: Sequence[Header]) -> None:
        while headers and not self._seals_end:
            try:
                await self._seals.check(headers)
            except RuleBroken as fault:
                self._note(fault.number.to_bytes(8) + fault.block_hash, fault.rule, fault.detail)
                headers = [header for header in headers if header.hash != fault.block_hash]
            except SealHistoryBroken as gap:
                self._seals_end = True
                self._note(headers[0].number.to_bytes(8) + headers[0].hash, "seal", f"not judged: {gap}")
            else:
                break
        self._check_seal_states(headers)

    def _check_seal_states(self, headers: Sequence[Header]) -> None:
        """One that is missing is computed when it is needed; one that is there must be right."""
        for number, block_hash, value in self._seals.to_store(headers):
            key = block_key(number, block_hash)
            if self._snapshot.get(Table.SEAL_STATES, key) not in (None, value):
                self._note(key, "seal-state", "is not what the headers give")

    def _check_indexes(self) -> None:
        """Entries that belong to no header; entries that are missing were found with their header."""
        counts = {
            **self._counts,
            Table.TOTAL_DIFFICULTY: self._counts[Table.HEADERS],
            Table.NUMBERS: self._counts[Table.HEADERS],
        }
        for table, seen in counts.items():
            stored = self._snapshot.count(table)
            if stored != seen:
                self._note(bytes(8), table.value.decode(), f"{stored} entries are stored, {seen} belong to headers")

    def _check_heads(self) -> None:
        weights = []
        for kind in HeadKind:
            block_hash = self._snapshot.get(Table.META, HEAD_KEYS[kind]) or b""
            number = self._snapshot.get(Table.NUMBERS, block_hash) if block_hash else None
            if number is None:
                self._note(bytes(8), "head", f"the {kind.value} head is missing")
                return
            key = number + block_hash
            weights.append(int.from_bytes(self._snapshot.get(Table.TOTAL_DIFFICULTY, key) or b""))
            if kind is not HeadKind.HEADER and self._snapshot.get(Table.BODIES, key) is None:
                self._note(key, "head", f"the {kind.value} head has no body")
            if kind is HeadKind.HEADER:
                self._check_canonical_end(key)
            if weights[-1] < self._heaviest[kind]:
                self._note(key, "head", f"a chain is heavier than the {kind.value} head: {self._heaviest[kind]}")
        if weights != sorted(weights, reverse=True):
            self._note(bytes(8), "head", "a head is above the one that must lead it")

    def _check_canonical_end(self, head_key: bytes) -> None:
        number = int.from_bytes(head_key[:8])
        if self._snapshot.get(Table.CANONICAL, head_key[:8]) != head_key[8:]:
            self._note(head_key, "canonical", "the header head is not canonical")
        if self._snapshot.count(Table.CANONICAL) != number + 1:
            self._note(head_key, "canonical", "the canonical index does not end at the header head")

    def _judge(self, key: bytes, check: Callable[[], None]) -> None:
        try:
            check()
        except RuleBroken as fault:
            self._note(key, fault.rule, fault.detail)

    def _note(self, key: bytes, rule: str, detail: str) -> None:
        self.problems += 1
        self._report(Problem(int.from_bytes(key[:8]), key, rule, detail))
        if self.problems >= MAX_PROBLEMS:
            raise TooManyProblems
