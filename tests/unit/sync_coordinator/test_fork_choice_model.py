"""Fork choice against a model that knows every header there is, and weighs them the slow way."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.shared.ethwire.types import Block, BlockHash, Header
from tests.support.chain_maker import EMPTY_BODY, made_genesis, make_header
from tests.support.memory_chain import MemoryChain

GENESIS = made_genesis().head

sizes = st.integers(1, 5)
weights = st.integers(1, 4)


class ForkChoiceMachine(RuleBasedStateMachine):
    """Headers and blocks come in any order that puts parents first; headers are rolled back, as a failed sync does.

    Nothing is lost: what was added and not rolled back is there, under its hash. Nothing is doubled: the index has one
    chain, whole from genesis to the header head. The heads are those that the rule of fork choice names.
    """

    def __init__(self) -> None:
        super().__init__()
        self.chain = MemoryChain()
        self.known: dict[BlockHash, Header] = {GENESIS.hash: GENESIS}
        self.whole: dict[BlockHash, Header] = {GENESIS.hash: GENESIS}
        self.header_head = self.block_head = GENESIS
        self.made = 0

    @rule(parent=st.randoms(use_true_random=False), count=sizes, difficulty=weights)
    def headers_come(self, parent, count: int, difficulty: int) -> None:
        branch = self.make(parent.choice(list(self.known.values())), count, difficulty)
        self.chain.add_headers(branch)
        self.take_headers(branch)

    @rule(parent=st.randoms(use_true_random=False), count=sizes, difficulty=weights)
    def blocks_come(self, parent, count: int, difficulty: int) -> None:
        self.add_blocks(self.make(parent.choice(list(self.whole.values())), count, difficulty))

    @rule(chance=st.randoms(use_true_random=False))
    def bodies_come_for_headers_that_are_here(self, chance) -> None:
        head = chance.choice(list(self.known.values()))
        branch = [header for header in self.ancestry(head) if header.hash not in self.whole]
        if branch:
            self.add_blocks(branch)

    @rule(chance=st.randoms(use_true_random=False))
    def known_headers_come_again(self, chance) -> None:
        branch = self.ancestry(chance.choice(list(self.known.values())))[1:]
        if branch:
            self.chain.add_headers(branch)
            self.take_headers(branch)

    @precondition(lambda self: len(self.known) > len(self.whole))
    @rule(chance=st.randoms(use_true_random=False), count=sizes)
    def newest_headers_are_rolled_back(self, chance, count: int) -> None:
        """The last of one branch, up to a header that nothing follows; some may be unknown or have a body."""
        parents = {header.parent_hash for header in self.known.values()}
        leaf = chance.choice([header for header in self.known.values() if header.hash not in parents])
        named = self.ancestry(leaf)[-count:]
        children = [header.parent_hash for header in self.known.values()]
        while named and any(children.count(header.hash) > 1 for header in named[:-1]):
            named = named[1:]
        gone = [header for header in named if header.hash not in self.whole and header.number]
        self.chain.forget([*named, *self.make(leaf, 1, 1)])
        for header in gone:
            del self.known[header.hash]
        if self.header_head in gone:
            stays = (self.known[gone[0].parent_hash], self.block_head)
            self.header_head = max(stays, key=lambda header: (self.weight(header), -header.number))

    @invariant()
    def heads_are_those_of_the_model(self) -> None:
        heads = self.chain.heads()
        assert heads.header == self.header_head
        assert heads.full_block == heads.fast_block == self.block_head

    @invariant()
    def nothing_is_lost(self) -> None:
        for block_hash, header in self.known.items():
            assert self.chain.header(block_hash) == header
            assert self.chain.total_difficulty(block_hash) == self.weight(header)
            assert self.chain.has_body(block_hash) is (block_hash in self.whole)
        assert len(self.chain._headers) == len(self.known), "and nothing stays that was rolled back"

    @invariant()
    def index_is_the_one_chain_to_the_header_head(self) -> None:
        canonical = {header.number: header.hash for header in self.ancestry(self.header_head)}
        assert self.chain._canonical == canonical

    def add_blocks(self, branch: list[Header]) -> None:
        self.chain.add_blocks([Block(header, EMPTY_BODY.body_rlp) for header in branch])
        self.take_headers(branch)
        self.whole.update((header.hash, header) for header in branch)
        if self.wins(branch[-1], self.block_head):
            self.block_head = branch[-1]

    def take_headers(self, branch: list[Header]) -> None:
        self.known.update((header.hash, header) for header in branch)
        if self.wins(branch[-1], self.header_head):
            self.header_head = branch[-1]

    def wins(self, challenger: Header, current: Header) -> bool:
        return (self.weight(challenger), -challenger.number) > (self.weight(current), -current.number)

    def make(self, parent: Header, count: int, difficulty: int) -> list[Header]:
        self.made += 1
        branch: list[Header] = []
        for _ in range(count):
            above = branch[-1] if branch else parent
            branch.append(make_header(above, EMPTY_BODY, branch=self.made, difficulty=difficulty))
        return branch

    def ancestry(self, header: Header) -> list[Header]:
        chain = [header]
        while chain[-1].number:
            chain.append(self.known[chain[-1].parent_hash])
        return chain[::-1]

    def weight(self, header: Header) -> int:
        return sum(ancestor.difficulty for ancestor in self.ancestry(header))


TestForkChoiceModel = ForkChoiceMachine.TestCase
TestForkChoiceModel.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
