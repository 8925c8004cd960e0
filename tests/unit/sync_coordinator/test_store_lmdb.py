from __future__ import annotations

from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.shared.ethwire.types import BlockHash, StateEntry
from services.sync_coordinator.core.fork_choice import ChainUpdate, extend_blocks, extend_headers, roll_back
from services.sync_coordinator.store.lmdb_store import LmdbChainStore
from services.sync_coordinator.store.tables import Table
from tests.support.chain_maker import made_chain, made_genesis
from tests.support.memory_chain import MemoryChain
from tests.support.state_trie import seeded_state

GENESIS = made_genesis().head
LIGHT = made_chain(10, branch=1, difficulty=100)
HEAVY = made_chain(5, branch=2, difficulty=1000)
UNKNOWN = made_chain(1, branch=99).head.hash


@pytest.fixture
def store(tmp_path):
    store = LmdbChainStore.open(tmp_path / "chain", GENESIS)
    yield store
    store.close()


def add_blocks(store, chain, first=1, last=None, receipts=None):
    blocks = [chain.block(number) for number in range(first, 1 + (last or chain.head.number))]
    store.commit(extend_blocks(store, blocks, receipts))


def test_new_store_holds_the_genesis_block(store):
    assert set(store.heads()) == {GENESIS}
    assert store.canonical_hash(0) == GENESIS.hash
    assert store.total_difficulty(GENESIS.hash) == GENESIS.difficulty
    assert store.body_rlp(GENESIS.hash) == b"\xc2\xc0\xc0"
    assert store.canonical_hash(1) is None


def test_size_and_commits_are_told(tmp_path):
    store = LmdbChainStore.open(tmp_path / "chain", GENESIS)
    took: list[float] = []
    store.on_commit(took.append)
    before = store.size()
    add_blocks(store, LIGHT)
    after = store.size()
    store.close()
    assert len(took) == 1
    assert 0 < took[0] < 60
    assert 0 < before.used_bytes < after.used_bytes <= after.limit_bytes
    assert after.used_bytes == (tmp_path / "chain" / "data.mdb").stat().st_size
    assert after.free_disk_bytes > 0


def test_everything_is_read_back_when_the_store_is_opened_again(tmp_path):
    store = LmdbChainStore.open(tmp_path / "chain", GENESIS)
    add_blocks(store, LIGHT, receipts={LIGHT.headers[3].hash: b"\xc1\xc0"})
    store.close()
    again = LmdbChainStore.open(tmp_path / "chain", GENESIS)
    assert set(again.heads()) == {LIGHT.head}
    for header, body in zip(LIGHT.headers, LIGHT.bodies, strict=True):
        assert again.header(header.hash) == header
        assert again.header_rlp(header.hash) == header.header_rlp
        assert again.body_rlp(header.hash) == body.body_rlp
        assert again.number_of(header.hash) == header.number
        assert again.canonical_hash(header.number) == header.hash
    assert again.total_difficulty(LIGHT.head.hash) == LIGHT.total_difficulty
    assert again.receipts_rlp(LIGHT.headers[3].hash) == b"\xc1\xc0"
    assert again.receipts_rlp(LIGHT.headers[4].hash) is None
    again.close()


def test_everything_is_kept_when_a_commit_is_not_in_number_order(store):
    add_blocks(store, LIGHT)
    receipts = [(LIGHT.headers[number], bytes([0xC1, number])) for number in (5, 7, 3, 9, 4)]
    store.commit(ChainUpdate(heads=store.heads(), receipts=receipts))
    assert [store.receipts_rlp(header.hash) for header, _ in receipts] == [stored for _, stored in receipts]


def test_unknown_hash_reads_as_nothing(store):
    assert store.header(UNKNOWN) is None
    assert store.header_rlp(UNKNOWN) is None
    assert store.body_rlp(UNKNOWN) is None
    assert store.number_of(UNKNOWN) is None
    assert store.total_difficulty(UNKNOWN) is None
    assert not store.has_body(UNKNOWN)
    assert store.bodies([UNKNOWN, GENESIS.hash]) == [None, b"\xc2\xc0\xc0"]
    assert store.receipts([UNKNOWN]) == [None]
    assert store.state_entries([UNKNOWN]) == [None]


def test_state_entries_and_pivot_are_read_back_when_the_store_is_opened_again(tmp_path):
    state = seeded_state(1, 300)
    entries = [StateEntry(value, entry_hash) for entry_hash, value in state.entries.items()]
    store = LmdbChainStore.open(tmp_path / "chain", GENESIS)
    assert store.pivot() is None
    store.commit(ChainUpdate(heads=store.heads(), state_entries=entries[:400]))
    assert store.pivot() is None
    store.commit(ChainUpdate(heads=store.heads(), state_entries=entries[350:], pivot=GENESIS.hash))
    store.commit(ChainUpdate(heads=store.heads()))
    store.close()
    again = LmdbChainStore.open(tmp_path / "chain", GENESIS)
    assert again.pivot() == GENESIS.hash
    assert again.state_entries([*state.entries, UNKNOWN]) == [*state.entries.values(), None]
    assert again.has_state([entries[5].hash, UNKNOWN, entries[5].hash, state.root]) == [True, False, True, True]
    assert again.has_state([]) == []
    again.close()


def test_side_blocks_stay_readable_by_hash_when_a_heavier_branch_takes_over(store):
    add_blocks(store, LIGHT)
    add_blocks(store, HEAVY)
    assert set(store.heads()) == {HEAVY.head}
    assert store.canonical_hash(6) is None
    assert store.canonical_headers(0, 20) == [header.header_rlp for header in HEAVY.headers]
    assert store.header(LIGHT.head.hash) == LIGHT.head
    assert store.body_rlp(LIGHT.head.hash) == LIGHT.bodies[10].body_rlp
    assert store.total_difficulty(LIGHT.head.hash) == LIGHT.total_difficulty


@pytest.mark.parametrize(
    ("start", "amount", "step", "numbers"),
    [
        (0, 3, 1, [0, 1, 2]),
        (8, 5, 1, [8, 9, 10]),
        (1, 4, 3, [1, 4, 7, 10]),
        (4, 9, -2, [4, 2, 0]),
        (11, 3, 1, []),
        (5, 0, 1, []),
        (9, 4, 2**63, [9]),
        (2**64 - 1, 2, 1, []),
        (2**64, 1, 1, []),
    ],
)
def test_canonical_headers_are_read_in_steps_until_the_chain_ends(store, start, amount, step, numbers):
    add_blocks(store, LIGHT)
    assert store.canonical_headers(start, amount, step) == [LIGHT.headers[number].header_rlp for number in numbers]


@pytest.mark.parametrize("number", [-1, 11, 2**64 - 1, 2**64])
def test_canonical_hash_is_nothing_when_the_number_is_outside_the_chain(store, number):
    add_blocks(store, LIGHT)
    assert store.canonical_hash(number) is None


def test_headers_without_bodies_move_the_header_head_only(store):
    store.commit(extend_headers(store, LIGHT.headers[1:]))
    assert store.heads().header == LIGHT.head
    assert store.heads().full_block == GENESIS
    assert not store.has_body(LIGHT.head.hash)


def test_forgotten_headers_leave_no_trace(store):
    store.commit(extend_headers(store, LIGHT.headers[1:]))
    store.commit(roll_back(store, LIGHT.headers[4:]))
    assert store.heads().header == LIGHT.headers[3]
    assert store.header(LIGHT.headers[4].hash) is None
    assert store.number_of(LIGHT.headers[4].hash) is None
    assert store.canonical_hash(4) is None
    with store.snapshot() as snapshot:
        counts = {table: snapshot.count(table) for table in Table}
    assert {counts[table] for table in (Table.HEADERS, Table.TOTAL_DIFFICULTY, Table.NUMBERS, Table.CANONICAL)} == {4}


def test_nothing_of_a_commit_stays_when_it_fails_half_way(store):
    broken = extend_blocks(store, [LIGHT.block(1)])
    broken = ChainUpdate(heads=broken.heads, headers=broken.headers, canonical=[(1, cast(BlockHash, None))])
    with pytest.raises(TypeError):
        store.commit(broken)
    assert store.heads().header == GENESIS
    assert store.header(LIGHT.headers[1].hash) is None


def test_map_grows_when_it_is_full(tmp_path):
    store = LmdbChainStore.open(tmp_path / "chain", GENESIS, map_bytes=1 << 17)
    chain = made_chain(600)
    for first in range(1, 601, 100):
        add_blocks(store, chain, first, first + 99)
    assert store.canonical_headers(0, 1000) == [header.header_rlp for header in chain.headers]
    assert (tmp_path / "chain" / "data.mdb").stat().st_size > 1 << 17
    store.close()


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 12), st.booleans()), max_size=12))
def test_store_agrees_with_one_in_memory_whatever_is_added(tmp_path_factory, additions):
    store = LmdbChainStore.open(tmp_path_factory.mktemp("store") / "chain", GENESIS)
    memory = MemoryChain()
    chains = {branch: made_chain(12, branch=branch, difficulty=100 * branch) for branch in (1, 2, 3)}
    for branch, upto, whole in additions:
        headers = chains[branch].headers[1 : upto + 1]
        if whole:
            blocks = [chains[branch].block(header.number) for header in headers]
            store.commit(extend_blocks(store, blocks))
            memory.add_blocks(blocks)
        else:
            store.commit(extend_headers(store, headers))
            memory.add_headers(headers)
    assert store.heads() == memory.heads()
    for number in range(14):
        assert store.canonical_hash(number) == memory.canonical_hash(number)
    for chain in chains.values():
        for header in chain.headers:
            assert store.header(header.hash) == memory.header(header.hash)
            assert store.total_difficulty(header.hash) == memory.total_difficulty(header.hash)
            assert store.has_body(header.hash) == memory.has_body(header.hash)
    store.close()
