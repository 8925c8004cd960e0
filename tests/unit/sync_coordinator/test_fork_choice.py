from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.ethwire.types import Block, Header
from services.sync_coordinator.core.fork_choice import (
    HeadKind,
    UnknownParent,
    beats,
    extend_blocks,
    extend_headers,
    roll_back,
)
from tests.support.chain_maker import EMPTY_BODY, made_chain, made_genesis, make_header
from tests.support.memory_chain import MemoryChain

GENESIS = made_genesis().head
LIGHT = made_chain(10, branch=1, difficulty=100)
HEAVY = made_chain(5, branch=2, difficulty=1000)


@pytest.mark.parametrize(
    ("challenger", "current", "wins"),
    [
        ((11, 5), (10, 9), True),
        ((10, 5), (11, 9), False),
        ((10, 4), (10, 5), True),
        ((10, 6), (10, 5), False),
        ((10, 5), (10, 5), False),
    ],
)
def test_heavier_chain_wins_and_the_lower_number_breaks_a_tie(challenger, current, wins):
    assert beats(challenger, current) is wins


def test_blocks_move_all_three_heads_when_they_extend_them():
    chain = MemoryChain()
    chain.fill(LIGHT)
    assert set(chain.heads()) == {LIGHT.head}


def test_headers_move_only_the_header_head():
    chain = MemoryChain()
    chain.fill_headers(LIGHT)
    assert chain.heads().header == LIGHT.head
    assert chain.heads().fast_block == chain.heads().full_block == GENESIS


def test_lighter_branch_is_kept_aside_when_it_arrives_later():
    chain = MemoryChain()
    chain.fill(HEAVY)
    chain.fill(LIGHT)
    assert chain.heads().full_block == HEAVY.head
    assert chain.canonical_hash(6) is None
    assert chain.header(LIGHT.head.hash) == LIGHT.head
    assert chain.has_body(LIGHT.head.hash)


def test_reorg_rewrites_the_index_when_a_shorter_branch_is_heavier():
    chain = MemoryChain()
    chain.fill(LIGHT)
    update = extend_blocks(chain, [HEAVY.block(number) for number in range(1, 6)])
    assert update.canonical == [(header.number, header.hash) for header in HEAVY.headers[1:]]
    assert update.vacated_numbers == range(6, 11)
    assert update.reorg is not None
    assert (update.reorg.kind, update.reorg.depth) == (HeadKind.FULL_BLOCK, 10)
    assert (update.reorg.old_head, update.reorg.new_head) == (LIGHT.head, HEAVY.head)
    assert update.reorg.common_ancestor == GENESIS


def test_reorg_takes_in_the_known_part_of_the_branch_when_its_last_block_tips_the_balance():
    chain = MemoryChain()
    base = made_chain(4, branch=1)
    ours, theirs = base.extended(3, branch=1), base.extended(4, branch=2)
    chain.fill(ours)
    chain.add_blocks([theirs.block(number) for number in range(5, 8)])
    assert chain.heads().full_block == ours.head
    update = extend_blocks(chain, [theirs.block(8)])
    assert [number for number, _ in update.canonical] == [5, 6, 7, 8]
    assert update.reorg is not None
    assert update.reorg.common_ancestor == base.head
    assert update.reorg.depth == 3


def test_own_head_stays_when_a_branch_is_as_heavy_and_as_long():
    chain = MemoryChain()
    ours, theirs = made_chain(3, branch=1), made_chain(3, branch=2)
    chain.fill(ours)
    chain.fill(theirs)
    assert chain.heads().full_block == ours.head


def test_lower_number_wins_when_branches_are_equally_heavy():
    chain = MemoryChain()
    chain.fill(made_chain(4, branch=1, difficulty=500))
    short = made_chain(2, branch=2, difficulty=1000)
    chain.fill(short)
    assert chain.heads().full_block == short.head
    assert chain.canonical_hash(3) is None


def test_full_head_follows_alone_when_headers_are_far_ahead():
    chain = MemoryChain()
    chain.fill_headers(LIGHT)
    update = extend_blocks(chain, [LIGHT.block(number) for number in range(1, 4)])
    assert update.headers == []
    assert update.canonical == ()
    assert update.reorg is None
    assert update.heads.header == LIGHT.head
    assert update.heads.full_block == update.heads.fast_block == LIGHT.headers[3]


def test_full_head_moves_over_without_the_index_when_headers_follow_another_branch():
    chain = MemoryChain()
    heavier_headers = made_chain(9, branch=3, difficulty=2000)
    chain.fill(LIGHT)
    chain.fill_headers(heavier_headers)
    chain.fill(HEAVY)
    assert chain.heads().header == heavier_headers.head
    assert chain.heads().full_block == HEAVY.head
    assert chain.canonical_hash(5) == heavier_headers.headers[5].hash


def test_receipts_are_kept_for_the_blocks_they_belong_to():
    update = extend_blocks(MemoryChain(), [LIGHT.block(1), LIGHT.block(2)], {LIGHT.headers[2].hash: b"\xc0"})
    assert update.receipts == [(LIGHT.headers[2], b"\xc0")]


def test_unknown_parent_is_refused():
    with pytest.raises(UnknownParent):
        extend_headers(MemoryChain(), LIGHT.headers[2:4])


def test_block_is_refused_when_its_parent_has_no_body():
    chain = MemoryChain()
    chain.fill_headers(LIGHT)
    with pytest.raises(UnknownParent):
        extend_blocks(chain, [LIGHT.block(5)])


def test_roll_back_forgets_headers_down_to_their_parent():
    chain = MemoryChain()
    chain.fill_headers(LIGHT)
    chain.forget(LIGHT.headers[7:])
    assert chain.heads().header == LIGHT.headers[6]
    assert chain.canonical_hash(7) is None
    assert chain.header(LIGHT.headers[7].hash) is None


def test_roll_back_returns_to_the_blocks_when_they_are_heavier_than_what_is_left():
    chain = MemoryChain()
    chain.fill(HEAVY)
    base = made_chain(2, branch=5)
    heavy_headers = base.extended(20, branch=5)
    chain.fill_headers(heavy_headers)
    chain.forget(heavy_headers.headers[3:])
    assert set(chain.heads()) == {HEAVY.head}
    assert [chain.canonical_hash(number) for number in range(1, 7)] == [
        *(header.hash for header in HEAVY.headers[1:]),
        None,
    ]


def test_roll_back_leaves_what_has_a_body_or_is_unknown():
    chain = MemoryChain()
    chain.fill(HEAVY)
    update = roll_back(chain, [*HEAVY.headers[3:], *LIGHT.headers[1:3]])
    assert update.forgotten == []
    assert update.heads == chain.heads()


@st.composite
def block_trees(draw):
    """Headers in an order in which parents come first, all children of earlier ones."""
    tree = [GENESIS]
    for index in range(draw(st.integers(1, 25))):
        parent = draw(st.sampled_from(tree))
        tree.append(make_header(parent, EMPTY_BODY, branch=index, difficulty=draw(st.integers(1, 4))))
    return tree[1:]


class ReferenceChain:
    """Fork choice the slow way: weigh everything again after each arrival."""

    def __init__(self) -> None:
        self.headers = {GENESIS.hash: GENESIS}
        self.head = GENESIS

    def add(self, header: Header) -> None:
        self.headers[header.hash] = header
        if (self.weight(header), -header.number) > (self.weight(self.head), -self.head.number):
            self.head = header

    def ancestry(self, header: Header) -> list[Header]:
        chain = [header]
        while chain[-1].number:
            chain.append(self.headers[chain[-1].parent_hash])
        return chain[::-1]

    def weight(self, header: Header) -> int:
        return sum(ancestor.difficulty for ancestor in self.ancestry(header))


@given(block_trees(), st.data())
def test_heads_and_index_are_those_of_the_reference_whatever_arrives(tree, data):
    chain, all_headers, all_blocks = MemoryChain(), ReferenceChain(), ReferenceChain()
    for header in tree:
        whole = chain.has_body(header.parent_hash) and data.draw(st.booleans())
        if whole:
            chain.add_blocks([Block(header, EMPTY_BODY.body_rlp)])
            all_blocks.add(header)
        else:
            chain.add_headers([header])
        all_headers.add(header)
    heads = chain.heads()
    assert heads.header == all_headers.head
    assert heads.full_block == heads.fast_block == all_blocks.head
    canonical = all_headers.ancestry(all_headers.head)
    assert [chain.canonical_hash(header.number) for header in canonical] == [header.hash for header in canonical]
    assert chain.canonical_hash(heads.header.number + 1) is None
    for header in tree:
        assert chain.header(header.hash) == header
        assert chain.total_difficulty(header.hash) == all_headers.weight(header)


@given(block_trees())
def test_one_update_for_a_branch_equals_one_per_header(tree):
    reference = ReferenceChain()
    for header in tree:
        reference.add(header)
    one_by_one, at_once = MemoryChain(), MemoryChain()
    for header in tree:
        one_by_one.add_headers([header])
    leaves = [header for header in tree if all(other.parent_hash != header.hash for other in tree)]
    for leaf in leaves:
        at_once.add_headers(reference.ancestry(leaf)[1:])
    assert at_once.total_difficulty(at_once.heads().header.hash) == reference.weight(reference.head)
    assert at_once.heads().header.number == one_by_one.heads().header.number
    for number in range(at_once.heads().header.number + 2):
        expected = reference.ancestry(at_once.heads().header)
        assert at_once.canonical_hash(number) == (expected[number].hash if number < len(expected) else None)
