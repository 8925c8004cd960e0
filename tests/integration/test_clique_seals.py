"""Clique chains through the real importer, store and seal workers: what is kept, and what a restart finds."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import lmdb
import pytest

from services.shared.ethwire.bodies import EMPTY_BODY_RLP, join_block
from services.shared.ethwire.headers import with_hash
from services.shared.ethwire.types import Block
from services.sync_coordinator.core.chain_rules import ChainRules
from services.sync_coordinator.core.clique_codec import decode_snapshot, encode_snapshot
from services.sync_coordinator.core.clique_snapshot import STORE_INTERVAL
from services.sync_coordinator.core.rule_broken import RuleBroken
from services.sync_coordinator.edges.block_import import BlockImport
from services.sync_coordinator.edges.clique_seals import CliqueSeals, SealHistoryBroken
from services.sync_coordinator.edges.seal_pool import SealPool
from services.sync_coordinator.edges.seal_workers import NoSeal, SealCheck
from services.sync_coordinator.store.dumps import write_dump
from services.sync_coordinator.store.lmdb_store import LmdbChainStore, store_path
from services.sync_coordinator.store.problems import Problem
from services.sync_coordinator.store.tables import Table, block_key
from services.sync_coordinator.store.verify import StoreCheck
from tests.support.clique_chain import (
    CliqueMaker,
    address_of,
    clique_genesis,
    extend_in_turns,
    sealed,
    taking_turns,
    write_clique_genesis,
)
from tests.support.deadlines import DEADLINE_S

pytestmark = pytest.mark.integration

GENESIS = clique_genesis("ABC", epoch=500)
RULES = ChainRules(GENESIS.spec)
LENGTH = 2 * STORE_INTERVAL + 100
CHAIN = taking_turns(GENESIS, "ABC", LENGTH)
BLOCKS = CHAIN.blocks()


@asynccontextmanager
async def importing(path: Path, seals: SealCheck | None = None):
    """A store at `path`, its importer, and a seal check that is new to it."""
    store = LmdbChainStore.open(path, GENESIS.header)
    checks = seals or CliqueSeals(GENESIS.spec.clique_epoch_blocks, SealPool(2))
    block_import = BlockImport(store, RULES, checks, clock=lambda: 4e9)
    try:
        yield store, block_import, checks
    finally:
        block_import.close()
        await checks.close()
        store.close()


def in_a_loop(scenario: Callable[[Path], Coroutine[Any, Any, None]]) -> Callable[[Path], None]:
    def test(tmp_path: Path) -> None:
        asyncio.run(scenario(tmp_path / "chain"))

    test.__name__ = scenario.__name__
    return test


async def import_all(path: Path, blocks: Sequence[Block], seals: SealCheck | None = None) -> None:
    async with importing(path, seals) as (_, block_import, _):
        await block_import.import_blocks(blocks)


async def problems_of(path: Path) -> list[Problem]:
    found: list[Problem] = []
    store = LmdbChainStore.open(path, GENESIS.header, read_only=True)
    seals = CliqueSeals(GENESIS.spec.clique_epoch_blocks, SealPool(1))
    try:
        with store.snapshot() as snapshot:
            await StoreCheck(snapshot, RULES, seals, found.append).run(lambda *_: None)
    finally:
        await seals.close()
        store.close()
    return found


def edit(path: Path, table: Table, key: bytes, change: Callable[[bytes], bytes | None]) -> None:
    """Changes or, with None, deletes a value in a closed store."""
    with closing(lmdb.open(str(path), max_dbs=len(Table), map_size=1 << 30)) as env:
        database = env.open_db(table.value)
        with env.begin(write=True, db=database) as txn:
            changed = change(bytes(txn.get(key, b"")))
            if changed is None:
                txn.delete(key)
            else:
                txn.put(key, changed)


def state_key(number: int) -> bytes:
    return block_key(number, CHAIN.headers[number].hash)


@in_a_loop
async def test_every_1024th_snapshot_is_kept_with_its_block(path):
    async with importing(path) as (store, block_import, seals):
        await block_import.import_blocks(BLOCKS)
        assert store.heads().full_block == CHAIN.headers[-1]
        kept = [header.number for header in CHAIN.headers if store.seal_state(header.hash) is not None]
        assert kept == [STORE_INTERVAL, 2 * STORE_INTERVAL]
        assert decode_snapshot(store.seal_state(CHAIN.headers[STORE_INTERVAL].hash)).number == STORE_INTERVAL
        assert await seals.snapshot_of(CHAIN.headers[-1].hash) == CHAIN.snapshot
    assert await problems_of(path) == []


@in_a_loop
async def test_restart_asks_for_no_header_below_the_kept_snapshot(path):
    await import_all(path, BLOCKS)
    edit(path, Table.HEADERS, state_key(2 * STORE_INTERVAL - 1), lambda _: None)
    async with importing(path) as (_, _, seals):
        assert await seals.snapshot_of(CHAIN.headers[-1].hash) == CHAIN.snapshot


@pytest.mark.parametrize("change", [lambda value: value[:-1] + b"\0", lambda _: None], ids=["damaged", "gone"])
def test_snapshot_that_is_not_right_in_the_store_is_made_again(tmp_path, change):
    async def scenario(path):
        await import_all(path, BLOCKS[:-1])
        key = state_key(2 * STORE_INTERVAL)
        edit(path, Table.SEAL_STATES, key, change)
        if change(b"x") is not None:
            assert [problem.rule for problem in await problems_of(path)] == ["seal-state"]
        await import_all(path, BLOCKS[-1:])
        assert await problems_of(path) == []
        async with importing(path) as (store, _, seals):
            assert store.seal_state(key[8:]) is not None
            assert await seals.snapshot_of(CHAIN.headers[-1].hash) == CHAIN.snapshot

    asyncio.run(scenario(tmp_path / "chain"))


def test_command_warns_of_a_damaged_snapshot_on_stderr_and_keeps_stdout_for_its_result(tmp_path: Path):
    stored, later = BLOCKS[: STORE_INTERVAL + 5], BLOCKS[STORE_INTERVAL + 5 : STORE_INTERVAL + 10]
    path = store_path(tmp_path)
    path.mkdir(parents=True)
    asyncio.run(import_all(path, stored))
    edit(path, Table.SEAL_STATES, state_key(STORE_INTERVAL), lambda value: value[:-1] + b"\0")
    genesis, dump = write_clique_genesis(tmp_path / "genesis.json", "ABC", epoch=500), tmp_path / "later.rlp"
    write_dump(dump, [join_block(block.header.header_rlp, block.body_rlp) for block in later])
    command = [sys.executable, "-m", "services.sync_coordinator.commands", "import"]
    flags = ["--datadir", str(tmp_path), "--genesis", str(genesis), str(dump)]
    ended = subprocess.run([*command, *flags], capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert ended.returncode == 0, ended.stderr
    [said] = ended.stdout.splitlines()
    assert said.startswith("imported 5 blocks in ")
    [warning] = ended.stderr.splitlines()
    assert "damaged seal state in the store" in warning


@in_a_loop
async def test_plausible_but_wrong_snapshot_is_found_by_verify(path):
    await import_all(path, BLOCKS)

    def admit_a_stranger(value: bytes) -> bytes:
        kept = decode_snapshot(value)
        return encode_snapshot(kept._replace(signers=tuple(sorted((*kept.signers, address_of("F"))))))

    edit(path, Table.SEAL_STATES, state_key(STORE_INTERVAL), admit_a_stranger)
    [problem] = await problems_of(path)
    assert (problem.number, problem.rule) == (STORE_INTERVAL, "seal-state")


@in_a_loop
async def test_snapshot_of_no_block_is_found_by_verify(path):
    await import_all(path, BLOCKS[:10])
    edit(path, Table.SEAL_STATES, block_key(STORE_INTERVAL, bytes(32)), lambda _: b"stray")
    assert [problem.rule for problem in await problems_of(path)] == ["seal_states"]


@in_a_loop
async def test_blocks_before_a_bad_seal_are_kept_and_the_bad_one_is_named(path):
    bad = sealed(CHAIN.headers[701], "F")
    broken = [*BLOCKS[:700], Block(bad, EMPTY_BODY_RLP)]
    async with importing(path) as (store, block_import, _):
        with pytest.raises(RuleBroken, match="is not one of the 3 signers") as caught:
            await block_import.import_blocks(broken)
        assert (caught.value.number, caught.value.rule, caught.value.block_hash) == (701, "signer", bad.hash)
        assert store.heads().full_block == CHAIN.headers[700]
        await block_import.import_blocks(BLOCKS[700:])
        assert store.heads().full_block == CHAIN.headers[-1]


@in_a_loop
async def test_heavier_branch_with_other_signers_is_adopted_and_both_can_be_extended(path):
    fork_at = 300
    below = taking_turns(GENESIS, "ABC", fork_at)
    side = below.forked(fork_at, below.snapshot)
    voters = side.may_sign("ABC")
    side.grow(voters[0], "D", add=True, branch=1)
    side.grow(side.may_sign("ABC")[0], "D", add=True, branch=1)
    assert address_of("D") in side.snapshot.signers
    extend_in_turns(side, "ABCD", 150, branch=1)
    ours = taking_turns(GENESIS, "ABC", fork_at + 20)
    async with importing(path) as (store, block_import, seals):
        await block_import.import_blocks(ours.blocks())
        await block_import.import_blocks(side.blocks())
        assert store.heads().full_block == side.headers[-1]
        assert await seals.snapshot_of(ours.headers[-1].hash) == ours.snapshot
    async with importing(path) as (_, block_import, seals):
        ours_on, side_on = ours.forked(fork_at + 20, ours.snapshot), side.forked(len(side.headers) - 1, side.snapshot)
        extend_in_turns(ours_on, "ABC", 5)
        extend_in_turns(side_on, "ABCD", 5, branch=1)
        await block_import.import_blocks(ours_on.blocks())
        await block_import.import_blocks(side_on.blocks())
        assert await seals.snapshot_of(ours_on.headers[-1].hash) == ours_on.snapshot
        assert await seals.snapshot_of(side_on.headers[-1].hash) == side_on.snapshot
    assert await problems_of(path) == []


@in_a_loop
async def test_headers_alone_are_judged_like_blocks_and_a_rollback_forgets_their_snapshots(path):
    async with importing(path) as (store, block_import, _):
        await block_import.import_headers(CHAIN.headers[1 : STORE_INTERVAL + 10])
        assert store.seal_state(CHAIN.headers[STORE_INTERVAL].hash) is not None
        await block_import.roll_back(CHAIN.headers[STORE_INTERVAL - 5 : STORE_INTERVAL + 10])
        assert store.seal_state(CHAIN.headers[STORE_INTERVAL].hash) is None
        with pytest.raises(RuleBroken, match="is not one of the 3 signers"):
            await block_import.import_headers([sealed(CHAIN.headers[STORE_INTERVAL - 5], "F")])
    assert await problems_of(path) == []


@in_a_loop
async def test_store_that_was_filled_without_seal_checks_is_judged_before_it_grows(path):
    await import_all(path, BLOCKS[:-1], NoSeal())
    async with importing(path) as (store, block_import, _):
        await block_import.import_blocks(BLOCKS[-1:])
        assert store.seal_state(CHAIN.headers[STORE_INTERVAL].hash) is not None
        assert store.seal_state(CHAIN.headers[2 * STORE_INTERVAL].hash) is not None
    assert await problems_of(path) == []


@in_a_loop
async def test_nobody_is_blamed_when_what_is_stored_was_never_judged_and_is_bad(path):
    forged = CliqueMaker(clique_genesis("ABC", epoch=500))
    forged.grow("A")
    stray = sealed(forged.headers[1], "F")
    child = with_hash(CHAIN.headers[2]._replace(parent_hash=stray.hash))
    await import_all(path, [Block(stray, EMPTY_BODY_RLP)], NoSeal())
    async with importing(path) as (store, block_import, _):
        with pytest.raises(SealHistoryBroken, match="a stored block was never judged and is bad: block 1 "):
            await block_import.import_blocks([Block(child, EMPTY_BODY_RLP)])
        assert store.heads().full_block == stray
    assert [(problem.number, problem.rule) for problem in await problems_of(path)] == [(1, "signer")]


@in_a_loop
async def test_killed_worker_is_replaced_and_no_signer_is_lost(path):
    async with importing(path) as (store, block_import, seals):
        await block_import.import_blocks(BLOCKS[:100])
        running = asyncio.create_task(block_import.import_blocks(BLOCKS[100:]))
        await asyncio.sleep(0)
        for pid in seals.pids:
            os.kill(pid, signal.SIGKILL)
        await running
        assert store.heads().full_block == CHAIN.headers[-1]


@in_a_loop
async def test_cancelled_questions_do_not_mix_up_later_answers(path):
    async with importing(path) as (store, block_import, seals):
        await block_import.import_blocks(BLOCKS[:1])
        for turns in range(40):
            cancelled = asyncio.create_task(seals.check(CHAIN.headers[2:600]))
            for _ in range(turns):
                await asyncio.sleep(0)
            cancelled.cancel()
            await asyncio.gather(cancelled, return_exceptions=True)
        await block_import.import_blocks(BLOCKS)
        assert store.heads().full_block == CHAIN.headers[-1]
