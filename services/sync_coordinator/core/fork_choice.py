"""Which chain is ours, as pure functions from a view of the store to an update of it.

The three heads are chosen apart, each by the same rule: highest total difficulty; equal, the lower
number; still equal, the one we have. The canonical index is the header head's chain, complete from
genesis to that head and empty above it. Headers enter only after their parent, bodies only after their
parent's body, so a known hash vouches for all its ancestors.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from services.shared.ethwire.types import Block, BlockHash, Header, StateEntry


class HeadKind(enum.Enum):
    """What a head has behind it: headers alone, blocks with receipts, or fully checked blocks."""

    HEADER = "header"
    FAST_BLOCK = "fast_block"
    FULL_BLOCK = "full_block"


class Heads(NamedTuple):
    """The newest header of the best chain of each kind."""

    header: Header
    fast_block: Header
    full_block: Header

    def of(self, kind: HeadKind) -> Header:
        head: Header = getattr(self, kind.value)
        return head


class ChainView(Protocol):
    """What fork choice, rules and the downloader read of the chain store."""

    def header(self, block_hash: BlockHash) -> Header | None: ...

    def canonical_hash(self, number: int) -> BlockHash | None: ...

    def total_difficulty(self, block_hash: BlockHash) -> int | None: ...

    def has_body(self, block_hash: BlockHash) -> bool: ...

    def has_state(self, hashes: Sequence[bytes]) -> list[bool]:
        """Whether each state entry is stored, and with it all below it."""
        ...

    def heads(self) -> Heads: ...


@dataclass(frozen=True, slots=True)
class Reorg:
    """A head that left its old chain."""

    kind: HeadKind
    old_head: Header
    new_head: Header
    common_ancestor: Header

    @property
    def depth(self) -> int:
        """Blocks of the old chain that were undone."""
        return self.old_head.number - self.common_ancestor.number


class SealState(NamedTuple):
    """What seals after a block are judged by, as the store keeps it under that block."""

    number: int
    block_hash: BlockHash
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainUpdate:
    """Everything one commit changes; a store applies all of it or nothing."""

    heads: Heads
    headers: Sequence[tuple[Header, int]] = ()
    """New headers, each with its total difficulty, parents first."""
    bodies: Sequence[Block] = ()
    receipts: Sequence[tuple[Header, bytes]] = ()
    canonical: Sequence[tuple[int, BlockHash]] = ()
    """Entries of the canonical index to write, in number order."""
    vacated_numbers: range = field(default=range(0))
    """Entries of the canonical index to delete."""
    forgotten: Sequence[Header] = ()
    """Headers to delete, with all that is stored under them."""
    seal_states: Sequence[SealState] = ()
    """Seal states to keep; each block is in the store or in `headers`."""
    state_entries: Sequence[StateEntry] = ()
    """State entries to keep, each after those it refers to."""
    pivot: BlockHash | None = None
    """The block whose whole state is in the store, if that changes."""
    reorg: Reorg | None = None


class UnknownParent(Exception):
    """Headers or blocks that do not continue a chain we know: the caller did not look, or the store lost a part."""

    def __init__(self, first: Header) -> None:
        super().__init__(f"the parent 0x{first.parent_hash.hex()} of block {first.number} is not known")
        self.first = first


def beats(challenger: tuple[int, int], current: tuple[int, int]) -> bool:
    """Whether a chain replaces the current one, each given as (total difficulty, head number)."""
    return (challenger[0], -challenger[1]) > (current[0], -current[1])


def has_full_block(view: ChainView, block_hash: BlockHash) -> bool:
    """Whether a block was imported in full: a fast sync's blocks above its pivot have a body, and were not.

    They are heavier than the full-block head; a block imported in full never is.
    """
    if not view.has_body(block_hash):
        return False
    total_difficulty = view.total_difficulty(block_hash)
    full = view.heads().full_block
    return block_hash == full.hash or (total_difficulty or 0) <= _total_difficulty(view, full)


def extend_headers(view: ChainView, headers: Sequence[Header]) -> ChainUpdate:
    """The update that adds `headers`: checked, each the child of the one before. Known ones may lead."""
    return _extend(view, headers, (HeadKind.HEADER,))


def extend_blocks(
    view: ChainView, blocks: Sequence[Block], receipts: Mapping[BlockHash, bytes] | None = None
) -> ChainUpdate:
    """The update that adds fully checked `blocks`, linked like headers; all three heads may move.

    Raises UnknownParent unless the first one's parent has a body too.
    """
    kinds = (HeadKind.FULL_BLOCK, HeadKind.FAST_BLOCK, HeadKind.HEADER)
    return _with_contents(view, blocks, receipts or {}, kinds)


def extend_fast_blocks(view: ChainView, blocks: Sequence[Block], receipts: Mapping[BlockHash, bytes]) -> ChainUpdate:
    """The update that adds linked `blocks` and their receipts on the word of their headers.

    The fast-block head may move, and with it the header head. Raises UnknownParent unless the first one's
    parent has a body, and the last one's header is stored.
    """
    if view.total_difficulty(blocks[-1].header.hash) is None:
        raise UnknownParent(blocks[-1].header)
    return _with_contents(view, blocks, receipts, (HeadKind.FAST_BLOCK, HeadKind.HEADER))


def commit_pivot(view: ChainView, header: Header) -> ChainUpdate:
    """The update that makes a stored block, whose state is whole, the full-block head, if it is the heaviest."""
    heads = view.heads()
    if not view.has_body(header.hash):
        raise UnknownParent(header)
    ours, theirs = heads.full_block, header
    if beats((_total_difficulty(view, theirs), theirs.number), (_total_difficulty(view, ours), ours.number)):
        heads = heads._replace(full_block=header)
    return ChainUpdate(heads=heads, pivot=header.hash)


def roll_back(view: ChainView, headers: Sequence[Header]) -> ChainUpdate:
    """The update that forgets `headers`, the newest of one chain; unknown ones do not count, those with a body stay.

    The header head falls back to the parent of what was forgotten, or to a better head that blocks back.
    """
    forgotten = sorted(
        (header for header in headers if view.total_difficulty(header.hash) is not None),
        key=lambda header: header.number,
    )
    forgotten = [header for header in forgotten if not view.has_body(header.hash)]
    heads = view.heads()
    gone = {header.hash for header in forgotten}
    if heads.header.hash not in gone:
        return ChainUpdate(heads=heads, forgotten=forgotten)
    parent = view.header(forgotten[0].parent_hash)
    if parent is None:
        raise UnknownParent(forgotten[0])
    head = max(
        (parent, heads.fast_block, heads.full_block), key=lambda known: (_total_difficulty(view, known), -known.number)
    )
    branch = _branch_to_canonical(view, head)
    return ChainUpdate(
        heads=heads._replace(header=head),
        canonical=[(header.number, header.hash) for header in branch],
        vacated_numbers=range(head.number + 1, heads.header.number + 1),
        forgotten=forgotten,
    )


def _with_contents(
    view: ChainView, blocks: Sequence[Block], receipts: Mapping[BlockHash, bytes], kinds: Sequence[HeadKind]
) -> ChainUpdate:
    first = blocks[0].header
    if not view.has_body(first.parent_hash):
        raise UnknownParent(first)
    headers = [block.header for block in blocks]
    update = _extend(view, headers, kinds)
    return ChainUpdate(
        heads=update.heads,
        headers=update.headers,
        bodies=blocks,
        receipts=[(header, receipts[header.hash]) for header in headers if header.hash in receipts] if receipts else (),
        canonical=update.canonical,
        vacated_numbers=update.vacated_numbers,
        reorg=update.reorg,
    )


def _extend(view: ChainView, headers: Sequence[Header], kinds: Sequence[HeadKind]) -> ChainUpdate:
    """Adds `headers` and moves the heads of `kinds`; a reorg is reported for the first kind."""
    total_difficulty = view.total_difficulty(headers[0].parent_hash)
    if total_difficulty is None:
        raise UnknownParent(headers[0])
    added: list[tuple[Header, int]] = []
    for header in headers:
        total_difficulty += header.difficulty
        if added or view.total_difficulty(header.hash) is None:
            added.append((header, total_difficulty))
    old = view.heads()
    heads = old
    candidate = headers[-1]
    for kind in kinds:
        current = old.of(kind)
        if beats((total_difficulty, candidate.number), (_total_difficulty(view, current), current.number)):
            heads = heads._replace(**{kind.value: candidate})
    canonical: Sequence[tuple[int, BlockHash]] = ()
    if heads.header is not old.header:
        branch = [*_branch_below(view, headers[0]), *headers]
        canonical = [(header.number, header.hash) for header in branch]
    return ChainUpdate(
        heads=heads,
        headers=added,
        canonical=canonical,
        vacated_numbers=range(heads.header.number + 1, old.header.number + 1),
        reorg=_reorg(view, old.of(kinds[0]), heads.of(kinds[0]), headers, kinds[0]),
    )


def _branch_below(view: ChainView, first: Header) -> list[Header]:
    """The known ancestors of `first` that are not canonical, oldest first."""
    if view.canonical_hash(first.number - 1) == first.parent_hash:
        return []
    parent = view.header(first.parent_hash)
    if parent is None:
        raise UnknownParent(first)
    return _branch_to_canonical(view, parent)


def _branch_to_canonical(view: ChainView, head: Header) -> list[Header]:
    """`head` and its ancestors down to, and without, the first canonical one; oldest first."""
    branch: list[Header] = []
    while view.canonical_hash(head.number) != head.hash:
        branch.append(head)
        parent = view.header(head.parent_hash)
        if parent is None:
            raise UnknownParent(head)
        head = parent
    branch.reverse()
    return branch


def _reorg(view: ChainView, old: Header, new: Header, added: Sequence[Header], kind: HeadKind) -> Reorg | None:
    """The reorg from `old` to `new`, a header of `added` or `old` itself; None when `new` descends from `old`."""
    if new is old or added[0].parent_hash == old.hash:
        return None
    by_hash = {header.hash: header for header in added}

    def parent_of(header: Header) -> Header:
        parent = by_hash.get(header.parent_hash) or view.header(header.parent_hash)
        if parent is None:
            raise UnknownParent(header)
        return parent

    left, right = old, new
    while left.hash != right.hash:
        if left.number >= right.number:
            left = parent_of(left)
        else:
            right = parent_of(right)
    return None if left.hash == old.hash else Reorg(kind, old, new, left)


def _total_difficulty(view: ChainView, header: Header) -> int:
    total_difficulty = view.total_difficulty(header.hash)
    if total_difficulty is None:
        raise UnknownParent(header)
    return total_difficulty
