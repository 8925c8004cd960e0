"""How a batch to import is cut up, and what its blocks' uncles are judged against. Pure parts of the block import."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from services.shared.ethwire.bodies import uncle_headers
from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.hashing import EMPTY_LIST_HASH
from services.shared.ethwire.types import Block, BlockHash, Header
from services.sync_coordinator.core.chain_rules import ChainRules
from services.sync_coordinator.core.rule_broken import RuleBroken, broken
from services.sync_coordinator.core.uncles import MAX_UNCLE_GENERATIONS, AncestorBlock

CHUNK_BLOCKS: Final = 512
"""Blocks of one commit: enough that waiting for the disk costs little, few enough to prepare within a slice."""

CHUNK_HEADERS: Final = 2048
"""Headers without bodies of one commit. The store writes a page for nearly every hash, and fewer where a commit has
more of them: an eighth of what the coordinator spends on a header."""

CHUNK_BYTES: Final = 8 * 1024 * 1024
"""Body bytes of one commit; the store keeps them in private memory until then."""


class StoredBlocks(Protocol):
    """Where ancestors are read from."""

    def header(self, block_hash: BlockHash) -> Header | None: ...

    def body_rlp(self, block_hash: BlockHash) -> bytes | None: ...


class CheckedChunk(NamedTuple):
    """The part of a chunk that keeps the rules, and the fault of what follows it, if any."""

    blocks: Sequence[Block]
    uncles: Mapping[int, Sequence[Header]]
    """Uncles by index of their block."""
    fault: RuleBroken | None

    def sealed_headers(self) -> list[Header]:
        """Every header whose seal counts, uncles included."""
        headers = [block.header for block in self.blocks]
        for index, uncles in self.uncles.items():
            if index < len(self.blocks):
                headers += uncles
        return headers

    def cut(self, fault: RuleBroken) -> CheckedChunk:
        """The chunk up to the block that `fault` speaks of, directly or through an uncle."""
        for index, block in enumerate(self.blocks):
            if block.header.hash == fault.block_hash:
                return self._replace(blocks=self.blocks[:index], fault=fault)
            if any(uncle.hash == fault.block_hash for uncle in self.uncles.get(index, ())):
                by_uncle = broken(block.header, "uncles", f"its uncle, {fault}")
                return self._replace(blocks=self.blocks[:index], fault=by_uncle)
        raise fault

    def before_merge(self, rules: ChainRules, total_difficulty: int) -> CheckedChunk:
        """The chunk up to where proof-of-stake takes over; `total_difficulty` is that of the parent."""
        for index, block in enumerate(self.blocks):
            try:
                rules.check_before_merge(block.header, total_difficulty)
            except RuleBroken as fault:
                return self._replace(blocks=self.blocks[:index], fault=fault)
            total_difficulty += block.header.difficulty
        return self


class Family:
    """The newest ancestors of the run being checked; those before the run come from the store when asked for."""

    def __init__(self, store: StoredBlocks) -> None:
        self._store = store
        self._recent: deque[AncestorBlock] = deque(maxlen=MAX_UNCLE_GENERATIONS)

    def add(self, header: Header, uncles: Sequence[Header]) -> None:
        self._recent.appendleft(AncestorBlock(header, tuple(uncle.hash for uncle in uncles) if uncles else ()))

    def ancestors_of(self, header: Header) -> Sequence[AncestorBlock]:
        """Up to seven, the parent first. Caller's duty: the header after the last added one, or the run's first."""
        while len(self._recent) < MAX_UNCLE_GENERATIONS:
            parent = self._store.header((self._recent[-1].header if self._recent else header).parent_hash)
            if parent is None:
                break
            self._recent.append(AncestorBlock(parent, self._uncle_hashes(parent)))
        return list(self._recent)

    def _uncle_hashes(self, header: Header) -> Sequence[BlockHash]:
        body_rlp = self._store.body_rlp(header.hash) if header.uncles_hash != EMPTY_LIST_HASH else None
        return () if body_rlp is None else tuple(uncle.hash for uncle in uncle_headers(body_rlp))


def decode_uncles(block: Block) -> list[Header]:
    """The block's uncles; bytes that are no headers break the uncles rule."""
    try:
        return uncle_headers(block.body_rlp)
    except MalformedRlp as fault:
        raise broken(block.header, "uncles", str(fault)) from fault


def linked_runs(blocks: Sequence[Block]) -> Iterator[Sequence[Block]]:
    """`blocks` cut wherever one is not the child of the one before."""
    start = 0
    for index in range(1, len(blocks) + 1):
        if index == len(blocks) or blocks[index].header.parent_hash != blocks[index - 1].header.hash:
            yield blocks[start:index]
            start = index


def chunks(run: Sequence[Block]) -> Iterator[Sequence[Block]]:
    """`run` in parts that one commit takes. Caller's duty: all of its blocks have bodies, or none has."""
    start, size_bytes = 0, 0
    most = CHUNK_BLOCKS if run[0].body_rlp else CHUNK_HEADERS
    for index, block in enumerate(run):
        size_bytes += len(block.body_rlp)
        if index + 1 == len(run) or index + 1 - start == most or size_bytes >= CHUNK_BYTES:
            yield run[start : index + 1]
            start, size_bytes = index + 1, 0
