from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import rlp

from services.shared.ethwire.hashing import EMPTY_TRIE_ROOT
from services.shared.ethwire.limits import SOFT_REPLY_BYTES
from services.shared.ethwire.messages import GetBlockHeaders
from services.shared.ethwire.rlp_slices import split_list
from services.shared.ethwire.types import BlockHash, Header
from services.sync_coordinator.core.chain_serving import (
    answer_bodies,
    answer_headers,
    answer_node_data,
    answer_receipts,
)
from tests.support.chain_maker import MadeChain, made_chain
from tests.support.memory_chain import MemoryChain

MAIN = made_chain(400)
SIDE = MAIN.shortened(150).extended(160, branch=7, difficulty=10)
"""Leaves the main chain after block 150, and is lighter."""


class ServedMemoryChain(MemoryChain):
    """A memory chain with the reads that only serving needs."""

    def __init__(self, receipts: dict[BlockHash, bytes]) -> None:
        super().__init__()
        self._receipts = receipts
        self.reads = 0

    def header(self, block_hash: BlockHash) -> Header | None:
        self.reads += 1
        return super().header(block_hash)

    def header_rlp(self, block_hash: BlockHash) -> bytes | None:
        header = self.header(block_hash)
        return None if header is None else header.header_rlp

    def canonical_headers(self, start: int, amount: int, step: int = 1) -> list[bytes]:
        found = []
        for number in range(start, start + amount * step, step):
            block_hash = self.canonical_hash(number)
            if block_hash is None:
                break
            found.append(self._headers[block_hash].header_rlp)
        return found

    def bodies_of(self, hashes: Sequence[BlockHash]) -> list[bytes | None]:
        return [self.bodies.get(block_hash) for block_hash in hashes]

    def receipts(self, hashes: Sequence[BlockHash]) -> list[bytes | None]:
        return [self._receipts.get(block_hash) for block_hash in hashes]


class Served:
    """The names that serving reads, over a memory chain."""

    def __init__(self, chain: ServedMemoryChain) -> None:
        self.header, self.header_rlp, self.canonical_hash = chain.header, chain.header_rlp, chain.canonical_hash
        self.canonical_headers, self.bodies, self.receipts = chain.canonical_headers, chain.bodies_of, chain.receipts
        self.state_entries: Callable[[Sequence[bytes]], list[bytes | None]] = lambda hashes: [None for _ in hashes]


@pytest.fixture(scope="module")
def memory() -> ServedMemoryChain:
    chain = ServedMemoryChain({MAIN.headers[3].hash: b"\xc2\xc1\x80"})
    chain.fill(MAIN)
    chain.add_blocks([SIDE.block(number) for number in range(151, 311)])
    return chain


@pytest.fixture
def served(memory: ServedMemoryChain) -> Served:
    return Served(memory)


def numbers(chain: MadeChain, payload: bytes) -> list[int]:
    """The numbers of the headers in a reply, all of which must be of `chain`."""
    by_rlp = {header.header_rlp: header.number for header in chain.headers}
    return [by_rlp[item] for item in split_list(payload)]


def ask(origin: BlockHash | int, amount: int, skip: int = 0, *, reverse: bool = False) -> GetBlockHeaders:
    return GetBlockHeaders(origin, amount, skip, reverse)


@pytest.mark.parametrize("by_hash", [False, True], ids=["by-number", "by-hash"])
@pytest.mark.parametrize(
    ("start", "amount", "skip", "reverse", "expected"),
    [
        (10, 3, 0, False, [10, 11, 12]),
        (10, 3, 0, True, [10, 9, 8]),
        (10, 3, 4, False, [10, 15, 20]),
        (10, 3, 3, True, [10, 6, 2]),
        (10, 9, 3, True, [10, 6, 2]),
        (2, 9, 0, True, [2, 1, 0]),
        (0, 2, 0, True, [0]),
        (399, 5, 0, False, [399, 400]),
        (0, 1000, 0, False, list(range(192))),
        (10, 0, 0, False, []),
        (10, 5, 2**64 - 1, False, [10]),
        (10, 5, 2**64 - 1, True, [10]),
        (10, 5, 2**64 - 11, False, [10]),
    ],
)
def test_canonical_headers_are_served(served, by_hash, start, amount, skip, reverse, expected):
    origin = MAIN.headers[start].hash if by_hash else start
    assert numbers(MAIN, answer_headers(served, ask(origin, amount, skip, reverse=reverse))) == expected


@pytest.mark.parametrize("origin", [401, 2**64 - 1, b"?" * 32])
def test_unknown_origin_gives_an_empty_reply(served, origin):
    assert answer_headers(served, ask(origin, 5)) == b"\xc0"
    assert answer_headers(served, ask(origin, 5, reverse=True)) == b"\xc0"


@pytest.mark.parametrize(
    ("start", "amount", "skip", "expected"),
    [
        (155, 4, 0, [155, 154, 153, 152]),
        (155, 9, 0, [155, 154, 153, 152, 151, 150, 149, 148, 147]),
        (155, 4, 2, [155, 152, 149, 146]),
        (155, 4, 4, [155, 150, 145, 140]),
        (152, 4, 99, [152, 52]),
        (152, 4, 200, [152]),
    ],
)
def test_side_branch_is_served_backwards_by_hash(served, start, amount, skip, expected):
    assert numbers(SIDE, answer_headers(served, ask(SIDE.headers[start].hash, amount, skip, reverse=True))) == expected


def test_nothing_follows_a_side_block_forwards(served):
    assert numbers(SIDE, answer_headers(served, ask(SIDE.headers[155].hash, 9))) == [155]


def test_walk_off_the_canonical_chain_costs_a_bounded_number_of_reads(served, memory):
    before = memory.reads
    reply = answer_headers(served, ask(SIDE.headers[310].hash, 192, 30, reverse=True))
    assert numbers(SIDE, reply) == [310, 279, 248, 217]
    assert memory.reads - before <= 110


def test_bodies_are_served_in_order_and_unknown_ones_left_out(served):
    wanted = [MAIN.headers[4].hash, BlockHash(b"?" * 32), SIDE.headers[152].hash, MAIN.headers[2].hash]
    expected = [MAIN.bodies[4].body_rlp, SIDE.bodies[152].body_rlp, MAIN.bodies[2].body_rlp]
    assert split_list(answer_bodies(served, wanted)) == expected


def test_at_most_128_bodies_are_served(served):
    assert len(split_list(answer_bodies(served, [header.hash for header in MAIN.headers]))) == 128


def test_reply_stops_growing_once_it_reaches_the_soft_limit():
    big = rlp.encode([[b"x" * (SOFT_REPLY_BYTES // 3)], []])

    class BigBodies(Served):
        def __init__(self) -> None:
            self.bodies = lambda hashes: [big for _ in hashes]

    assert split_list(answer_bodies(BigBodies(), [BlockHash(b"b" * 32)] * 9)) == [big] * 3


@pytest.mark.parametrize(
    ("answer", "read"), [(answer_bodies, "bodies"), (answer_receipts, "receipts"), (answer_node_data, "state_entries")]
)
def test_no_more_is_read_than_a_reply_holds(answer, read):
    big = b"\xba\x01\x00\x00" + bytes(65_536)
    asked: list[BlockHash] = []

    def found(hashes: Sequence[BlockHash]) -> list[bytes]:
        asked.extend(hashes)
        return [big for _ in hashes]

    class Counted(Served):
        def __init__(self) -> None:
            setattr(self, read, found)

    payload = answer(Counted(), [BlockHash(number.to_bytes(32)) for number in range(120)])
    assert len(split_list(payload)) == 32
    assert len(asked) < 50


def test_receipts_are_served_and_blocks_without_any_give_an_empty_list(served):
    known, without = MAIN.headers[3].hash, MAIN.headers[10].hash
    assert MAIN.headers[10].receipts_root == EMPTY_TRIE_ROOT
    payload = answer_receipts(served, [known, BlockHash(b"?" * 32), without])
    assert split_list(payload) == [b"\xc2\xc1\x80", b"\xc0"]


def test_held_state_entries_are_served_in_order_and_no_more_than_384(served):
    assert answer_node_data(served, [b"?" * 32]) == b"\xc0"
    served.state_entries = lambda hashes: [b"entry" if wanted == b"s" * 32 else None for wanted in hashes]
    assert split_list(answer_node_data(served, [b"?" * 32, b"s" * 32])) == [b"\x85entry"]
    assert len(split_list(answer_node_data(served, [b"s" * 32] * 500))) == 384


def test_block_whose_receipts_we_lack_is_left_out():
    header = made_chain(3).headers[3]._replace(receipts_root=b"r" * 32)

    class NoReceipts(Served):
        def __init__(self) -> None:
            self.receipts = lambda hashes: [None for _ in hashes]
            self.header = lambda block_hash: header

    assert answer_receipts(NoReceipts(), [header.hash]) == b"\xc0"


def test_served_chain_holds_the_side_branch_for_the_tests_above(memory):
    assert memory.canonical_hash(310) == MAIN.headers[310].hash
    assert memory.header(SIDE.headers[310].hash) is not None
