"""What every `ChainStore` must do, as tests that a class for one implementation inherits.

    class TestServerStore(StoreContract):
        def open_store(self, path: Path) -> ChainStore: ...

The store is opened anew, empty but for the genesis block of the made chains, for every test.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.types import Block, BlockHash, StateEntry
from services.sync_coordinator.core.fork_choice import (
    ChainUpdate,
    Heads,
    SealState,
    extend_blocks,
    extend_headers,
    roll_back,
)
from services.sync_coordinator.store.chain_store import ChainStore
from tests.support.chain_maker import MadeChain, made_chain, made_genesis

GENESIS = made_genesis().head
LIGHT = made_chain(10, branch=1, difficulty=100)
HEAVY = made_chain(5, branch=2, difficulty=1000)
LONG = made_chain(400)
UNKNOWN = made_chain(1, branch=99).head.hash
RECEIPTS = b"\xc1\xc0"


def blocks_of(chain: MadeChain, first: int = 1) -> list[Block]:
    return [chain.block(number) for number in range(first, chain.head.number + 1)]


class StoreContract:
    """The conformance tests. Subclasses say how a store is opened, and close it if it needs that."""

    def open_store(self, path: Path) -> ChainStore:
        raise NotImplementedError

    def close_store(self, store: ChainStore) -> None:
        """Nothing to do for a store that needs none."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[ChainStore]:
        store = self.open_store(tmp_path / "store")
        yield store
        self.close_store(store)

    def test_new_store_holds_the_genesis_block_alone(self, store: ChainStore) -> None:
        assert store.heads() == Heads(GENESIS, GENESIS, GENESIS)
        assert store.canonical_hash(0) == GENESIS.hash
        assert store.canonical_hash(1) is None
        assert store.header(GENESIS.hash) == GENESIS
        assert store.total_difficulty(GENESIS.hash) == GENESIS.difficulty
        assert store.number_of(GENESIS.hash) == 0
        assert store.has_body(GENESIS.hash)
        assert store.body_rlp(GENESIS.hash) == b"\xc2\xc0\xc0"

    def test_what_is_unknown_reads_as_nothing(self, store: ChainStore) -> None:
        assert store.header(UNKNOWN) is None
        assert store.header_rlp(UNKNOWN) is None
        assert store.body_rlp(UNKNOWN) is None
        assert store.receipts_rlp(UNKNOWN) is None
        assert store.number_of(UNKNOWN) is None
        assert store.total_difficulty(UNKNOWN) is None
        assert store.seal_state(UNKNOWN) is None
        assert not store.has_body(UNKNOWN)
        assert store.state_entries([UNKNOWN, GENESIS.hash]) == [None, None]

    @pytest.mark.parametrize("number", [-1, 11, 2**64 - 1, 2**64])
    def test_number_outside_the_chain_is_nothing(self, store: ChainStore, number: int) -> None:
        store.commit(extend_blocks(store, blocks_of(LIGHT)))
        assert store.canonical_hash(number) is None
        assert store.canonical_headers(number, 3) == []

    def test_all_of_a_commit_is_read_back_byte_by_byte(self, store: ChainStore) -> None:
        receipts = {LIGHT.headers[3].hash: RECEIPTS}
        store.commit(extend_blocks(store, blocks_of(LIGHT), receipts))
        assert store.heads() == Heads(LIGHT.head, LIGHT.head, LIGHT.head)
        for header, body in zip(LIGHT.headers, LIGHT.bodies, strict=True):
            assert store.header(header.hash) == header
            assert store.header_rlp(header.hash) == header.header_rlp
            assert store.body_rlp(header.hash) == body.body_rlp
            assert store.number_of(header.hash) == header.number
            assert store.canonical_hash(header.number) == header.hash
            assert store.total_difficulty(header.hash) == LIGHT.total_difficulties[header.number]
            assert store.receipts_rlp(header.hash) == receipts.get(header.hash)

    def test_many_are_answered_in_the_order_of_the_question(self, store: ChainStore) -> None:
        store.commit(extend_blocks(store, blocks_of(LIGHT), {LIGHT.headers[2].hash: RECEIPTS}))
        hashes = [LIGHT.headers[2].hash, UNKNOWN, LIGHT.headers[7].hash, LIGHT.headers[2].hash]
        body, other = LIGHT.bodies[2].body_rlp, LIGHT.bodies[7].body_rlp
        assert store.bodies(hashes) == [body, None, other, body]
        assert store.receipts(hashes) == [RECEIPTS, None, None, RECEIPTS]
        assert store.bodies([]) == []

    @pytest.mark.parametrize(
        ("start", "amount", "step", "numbers"),
        [
            (0, 3, 1, [0, 1, 2]),
            (8, 5, 1, [8, 9, 10]),
            (1, 4, 3, [1, 4, 7, 10]),
            (4, 9, -2, [4, 2, 0]),
            (5, 0, 1, []),
            (9, 4, 2**63, [9]),
            (2**64 - 1, 2, 1, []),
        ],
    )
    def test_canonical_headers_end_where_the_chain_does(
        self, store: ChainStore, start: int, amount: int, step: int, numbers: list[int]
    ) -> None:
        store.commit(extend_blocks(store, blocks_of(LIGHT)))
        assert store.canonical_headers(start, amount, step) == [LIGHT.headers[number].header_rlp for number in numbers]

    def test_headers_alone_move_the_header_head_and_bodies_follow(self, store: ChainStore) -> None:
        store.commit(extend_headers(store, LIGHT.headers[1:]))
        assert store.heads() == Heads(LIGHT.head, GENESIS, GENESIS)
        assert not store.has_body(LIGHT.head.hash)
        store.commit(extend_blocks(store, blocks_of(LIGHT)))
        assert store.heads() == Heads(LIGHT.head, LIGHT.head, LIGHT.head)
        assert store.has_body(LIGHT.head.hash)

    def test_reorg_moves_the_index_in_one_commit_and_keeps_what_it_replaces(self, store: ChainStore) -> None:
        store.commit(extend_blocks(store, blocks_of(LIGHT)))
        store.commit(extend_blocks(store, blocks_of(HEAVY)))
        assert store.heads() == Heads(HEAVY.head, HEAVY.head, HEAVY.head)
        assert [store.canonical_hash(number) for number in range(7)] == [h.hash for h in HEAVY.headers] + [None]
        assert store.canonical_headers(0, 20) == [header.header_rlp for header in HEAVY.headers]
        assert store.header(LIGHT.head.hash) == LIGHT.head
        assert store.body_rlp(LIGHT.head.hash) == LIGHT.bodies[10].body_rlp
        assert store.total_difficulty(LIGHT.head.hash) == LIGHT.total_difficulty

    def test_forgotten_headers_leave_no_trace(self, store: ChainStore) -> None:
        store.commit(extend_headers(store, LIGHT.headers[1:]))
        state = SealState(5, LIGHT.headers[5].hash, b"state")
        store.commit(ChainUpdate(heads=store.heads(), seal_states=[state]))
        store.commit(roll_back(store, LIGHT.headers[4:]))
        assert store.heads().header == LIGHT.headers[3]
        for header in LIGHT.headers[4:]:
            assert store.header(header.hash) is None
            assert store.header_rlp(header.hash) is None
            assert store.number_of(header.hash) is None
            assert store.total_difficulty(header.hash) is None
            assert store.seal_state(header.hash) is None
            assert store.canonical_hash(header.number) is None

    def test_forgotten_headers_can_come_again(self, store: ChainStore) -> None:
        store.commit(extend_headers(store, LIGHT.headers[1:]))
        store.commit(roll_back(store, LIGHT.headers[4:]))
        store.commit(extend_headers(store, LIGHT.headers[4:]))
        assert store.heads().header == LIGHT.head
        assert store.canonical_hash(10) == LIGHT.head.hash

    def test_same_commit_twice_changes_nothing(self, store: ChainStore) -> None:
        update = extend_blocks(store, blocks_of(LIGHT), {LIGHT.headers[1].hash: RECEIPTS})
        store.commit(update)
        store.commit(update)
        assert store.heads() == Heads(LIGHT.head, LIGHT.head, LIGHT.head)
        assert store.canonical_headers(0, 20) == [header.header_rlp for header in LIGHT.headers]
        assert store.total_difficulty(LIGHT.head.hash) == LIGHT.total_difficulty

    def test_seal_states_are_kept_under_their_block_and_replaced(self, store: ChainStore) -> None:
        number, block_hash = 2, LIGHT.headers[2].hash
        update = extend_headers(store, LIGHT.headers[1:])
        store.commit(dataclasses.replace(update, seal_states=[SealState(number, block_hash, b"state")]))
        assert store.seal_state(block_hash) == b"state"
        assert store.seal_state(LIGHT.headers[3].hash) is None
        later = ChainUpdate(heads=store.heads(), seal_states=[SealState(number, block_hash, b"other")])
        store.commit(later)
        assert store.seal_state(block_hash) == b"other"

    def test_state_entries_are_read_back_by_their_hash(self, store: ChainStore) -> None:
        entries = [StateEntry(value, keccak256(value)) for value in (b"a node", b"code", b"a node above")]
        hashes = [entry.hash for entry in entries]
        assert store.has_state(hashes) == [False, False, False]
        store.commit(ChainUpdate(heads=store.heads(), state_entries=entries[:2]))
        assert store.state_entries([hashes[1], UNKNOWN, hashes[0], hashes[1]]) == [b"code", None, b"a node", b"code"]
        assert store.has_state([*reversed(hashes), hashes[0]]) == [False, True, True, True]
        store.commit(ChainUpdate(heads=store.heads(), state_entries=entries[1:]))
        assert store.has_state(hashes) == [True, True, True]
        assert store.has_state([]) == []

    def test_pivot_is_kept_until_a_commit_names_another(self, store: ChainStore) -> None:
        assert store.pivot() is None
        update = extend_blocks(store, blocks_of(LIGHT))
        store.commit(dataclasses.replace(update, pivot=LIGHT.headers[3].hash))
        assert store.pivot() == LIGHT.headers[3].hash
        store.commit(ChainUpdate(heads=store.heads()))
        assert store.pivot() == LIGHT.headers[3].hash
        store.commit(ChainUpdate(heads=store.heads(), pivot=LIGHT.headers[5].hash))
        assert store.pivot() == LIGHT.headers[5].hash

    def test_update_is_not_seen_before_it_is_committed(self, store: ChainStore) -> None:
        extend_blocks(store, blocks_of(LIGHT))
        assert store.heads() == Heads(GENESIS, GENESIS, GENESIS)
        assert store.header(LIGHT.headers[1].hash) is None


class DurableStoreContract(StoreContract):
    """What a store adds that outlives its process and serves several threads: any but the one of the simulations."""

    def test_last_commit_is_there_when_the_store_is_opened_again(self, tmp_path: Path) -> None:
        store = self.open_store(tmp_path / "store")
        store.commit(extend_blocks(store, blocks_of(LIGHT), {LIGHT.headers[3].hash: RECEIPTS}))
        store.commit(extend_blocks(store, blocks_of(HEAVY)))
        self.close_store(store)
        again = self.open_store(tmp_path / "store")
        assert again.heads() == Heads(HEAVY.head, HEAVY.head, HEAVY.head)
        assert again.canonical_headers(0, 20) == [header.header_rlp for header in HEAVY.headers]
        assert again.receipts_rlp(LIGHT.headers[3].hash) == RECEIPTS
        self.close_store(again)

    def test_nothing_of_a_commit_stays_when_it_fails_half_way(self, store: ChainStore) -> None:
        update = extend_blocks(store, blocks_of(LIGHT))
        seal_states = [SealState(1, LIGHT.headers[1].hash, None)]  # type: ignore[arg-type] # cannot be written
        with pytest.raises(Exception, match=r".+"):
            store.commit(dataclasses.replace(update, seal_states=seal_states))
        assert store.heads() == Heads(GENESIS, GENESIS, GENESIS)
        assert store.header(LIGHT.headers[1].hash) is None
        assert store.canonical_hash(1) is None
        store.commit(update)
        assert store.heads().full_block == LIGHT.head

    def test_reader_in_another_thread_sees_whole_commits(self, store: ChainStore) -> None:
        seen: list[int] = []
        wrong: list[str] = []
        done = threading.Event()

        def read() -> None:
            hashes = [header.hash for header in LONG.headers]
            while not done.is_set():
                count = len(store.canonical_headers(0, 1000))
                bodies = sum(body is not None for body in store.bodies(hashes))
                if (count - 1) % 20 or (bodies - 1) % 20:
                    wrong.append(f"{count} headers, {bodies} bodies")
                seen.append(count)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            for first in range(1, 401, 20):
                blocks = [LONG.block(number) for number in range(first, first + 20)]
                store.commit(extend_blocks(store, blocks))
        finally:
            done.set()
            reader.join()
        assert wrong == []
        assert seen == sorted(seen)
        assert store.canonical_hash(400) == BlockHash(LONG.head.hash)
