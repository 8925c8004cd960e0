"""Published chains that compete: the heavier one is the chain, whatever the order in which its blocks arrive."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Sequence

import pytest

from services.shared.chainspec.genesis import Genesis, genesis_from_json
from services.shared.ethwire.bodies import split_block
from services.shared.ethwire.headers import decode_header
from services.shared.ethwire.rlp_slices import split_items
from services.shared.ethwire.types import Block
from services.sync_coordinator.core.chain_rules import ChainRules
from services.sync_coordinator.edges.block_import import BlockImport
from services.sync_coordinator.store.lmdb_store import LmdbChainStore
from tests.support.chain_vectors import load_gz
from tests.support.ruled_chain import ListedSeals

BESU, HIVE = load_gz("chains/fork_pairs.json.gz")
SEEDS = range(20)


def blocks_of(dump: str) -> list[Block]:
    """Block 0 left out, which every store has."""
    content = bytes.fromhex(dump)
    blocks = [split_block(block_rlp) for block_rlp in split_items(content, 0, len(content))]
    return [
        Block(header, body_rlp)
        for header, body_rlp in ((decode_header(header_rlp), body_rlp) for header_rlp, body_rlp in blocks)
        if header.number
    ]


GENESIS = {case["name"]: genesis_from_json(case["name"], case["genesis"]) for case in (BESU, HIVE)}
COMMON, OUTDATED, UPGRADED = (blocks_of(BESU["dumps"][name]) for name in ("common", "fork-outdated", "fork-upgraded"))
COMPETING = {name: blocks_of(dump) for name, dump in HIVE["dumps"].items()}
HEAVIEST = COMPETING["blocks_2_td_393504"][-1].header


def import_all(store: LmdbChainStore, genesis: Genesis, batches: Sequence[Sequence[Block]]) -> None:
    async def main() -> None:
        block_import = BlockImport(store, ChainRules(genesis.spec), ListedSeals())
        try:
            for batch in batches:
                await block_import.import_blocks(batch)
        finally:
            block_import.close()

    asyncio.run(main())


@pytest.fixture
def besu(tmp_path):
    with_genesis = GENESIS[BESU["name"]]
    store = LmdbChainStore.open(tmp_path / "chain", with_genesis.header)
    yield store
    store.close()


def arrival(seed: int, *branches: Sequence[Block]) -> list[list[Block]]:
    """One block after the other, by chance from any branch, each branch in its order."""
    rng = random.Random(seed)
    left = [list(branch) for branch in branches]
    order: list[list[Block]] = []
    while any(left):
        order.append([rng.choice([branch for branch in left if branch]).pop(0)])
    return order


def is_canonical(store: LmdbChainStore, branch: Sequence[Block]) -> bool:
    return all(store.canonical_hash(block.header.number) == block.header.hash for block in branch)


def test_both_forks_grow_from_the_common_blocks():
    assert OUTDATED[: len(COMMON)] == UPGRADED[: len(COMMON)] == COMMON
    assert OUTDATED[-1].header != UPGRADED[-1].header


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("heavier", "lighter"), [(OUTDATED, UPGRADED[:-1]), (UPGRADED, OUTDATED[:-1])], ids=["outdated", "upgraded"]
)
def test_heavier_fork_is_the_chain_whatever_the_order_of_its_blocks(besu, heavier, lighter, seed):
    import_all(besu, GENESIS[BESU["name"]], arrival(seed, heavier, lighter))
    assert set(besu.heads()) == {heavier[-1].header}
    assert is_canonical(besu, heavier)
    assert all(besu.body_rlp(block.header.hash) == block.body_rlp for block in lighter)


@pytest.mark.parametrize(("first", "second"), [(OUTDATED, UPGRADED), (UPGRADED, OUTDATED)])
def test_fork_that_came_first_stays_when_the_other_is_as_heavy(besu, first, second):
    import_all(besu, GENESIS[BESU["name"]], [COMMON, first, second])
    weights = [besu.total_difficulty(branch[-1].header.hash) for branch in (first, second)]
    assert weights[0] == weights[1]
    assert is_canonical(besu, first)


@pytest.mark.parametrize(
    "order", list(itertools.permutations(COMPETING)), ids=lambda order: " ".join(n[-6:] for n in order)
)
def test_highest_total_difficulty_wins_whatever_the_order_of_the_dumps(tmp_path, order):
    genesis = GENESIS[HIVE["name"]]
    store = LmdbChainStore.open(tmp_path / "chain", genesis.header)
    import_all(store, genesis, [COMPETING[name] for name in order])
    assert set(store.heads()) == {HEAVIEST}
    assert store.total_difficulty(HEAVIEST.hash) == genesis.header.difficulty + 393504
    store.close()
