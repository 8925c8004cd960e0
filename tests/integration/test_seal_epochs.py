"""Real worker processes at the edges of ethash epochs: each epoch's cache is built once, by one process."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence

import pytest

from bench.made_seals import PARENTLESS, sealed
from services.shared.chainspec.networks import network
from services.shared.chainspec.spec import ChainSpec
from services.shared.ethwire.bodies import body_roots
from services.shared.ethwire.headers import decode_header, with_hash
from services.shared.ethwire.rlp_slices import join_list
from services.shared.ethwire.types import Block, Header
from services.sync_coordinator.core.chain_rules import ChainRules
from services.sync_coordinator.core.rule_broken import RuleBroken
from services.sync_coordinator.core.seal_frames import EXIT_UNFIT
from services.sync_coordinator.edges.block_import import BlockImport
from services.sync_coordinator.edges.seal_workers import SealWorkers, SealWorkersFailed
from services.sync_coordinator.store.lmdb_store import LmdbChainStore
from tests.support.deadlines import until
from tests.support.vectors import load_vectors

pytestmark = pytest.mark.integration

SPEC = ChainSpec(chain_id=1337, homestead_block=0, byzantium_block=0, fixed_difficulty=1)
EDGE = 30_000
START = sealed(PARENTLESS._replace(number=EDGE - 40))
"""Where the chain begins: a genesis block of that number, so that the edge is near."""

CLASSIC = network("classic").spec


def child(parent: Header, *, branch: int = 0, uncles: Sequence[Header] = ()) -> Block:
    body = body_roots(join_list([join_list([]), join_list([uncle.header_rlp for uncle in uncles])]))
    header = parent._replace(
        parent_hash=parent.hash,
        number=parent.number + 1,
        timestamp=parent.timestamp + 13,
        coinbase=branch.to_bytes(20),
        uncles_hash=body.uncles_hash,
    )
    return Block(sealed(header), body.body_rlp)


def grow(parent: Header, last: int, *, branch: int = 0, uncles: Sequence[Header] = ()) -> list[Block]:
    """Blocks up to number `last`; each names an uncle, as long as there are some."""
    blocks: list[Block] = []
    waiting = list(uncles)
    while parent.number < last:
        named = [waiting.pop(0)] if waiting else []
        blocks.append(child(parent, branch=branch, uncles=named))
        parent = blocks[-1].header
    return blocks


@pytest.fixture
def started(monkeypatch):
    """The arguments of every worker process that was started."""
    commands: list[tuple[str, ...]] = []
    start = asyncio.create_subprocess_exec

    async def recorded(*command, **options):
        commands.append(command[3:])
        return await start(*command, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", recorded)
    return commands


def test_each_epoch_is_built_once_when_uncles_and_reorgs_lie_on_both_sides_of_its_edge(tmp_path, started):
    below = grow(START, EDGE - 1)
    uncles = [child(below[number].header, branch=2).header for number in range(-7, -1)]
    side_below = grow(below[-10].header, EDGE - 1, branch=1)
    main = below + grow(below[-1].header, EDGE + 20, uncles=uncles)
    side = side_below + grow(side_below[-1].header, EDGE + 25, branch=1)
    fork = grow(side[-15].header, EDGE + 40, branch=3)

    async def scenario() -> None:
        store = LmdbChainStore.open(tmp_path / "chain", START)
        seals = SealWorkers(SPEC, 2)
        block_import = BlockImport(store, ChainRules(SPEC), seals)
        try:
            for branch in (main, side, fork):
                outcome = await block_import.import_blocks(branch)
                assert outcome.heads.full_block == branch[-1].header
            late = [child(side_below[-3].header, branch=4).header, *[block.header for block in side_below]]
            await seals.check(late)
            assert len(seals.pids) == 2
        finally:
            block_import.close()
            await seals.close()
            store.close()

    asyncio.run(scenario())
    assert sorted(started) == [("2", "0", "0"), ("2", "1", "1")]


def test_caches_at_the_head_are_built_before_the_first_block_comes(started):
    first = grow(START._replace(number=EDGE - 1), EDGE)[0]

    async def scenario() -> None:
        seals = SealWorkers(SPEC, 2)
        try:
            seals.prepare(EDGE - 10)
            await until(lambda: len(seals.pids) == 2, "workers for both epochs")
            await seals.check([first.header])
        finally:
            await seals.close()

    asyncio.run(scenario())
    assert started == [("2", "0", "0"), ("2", "1", "1")]


def test_wrong_seal_beyond_the_edge_is_found_by_the_worker_that_was_started_ahead(started):
    below, above = grow(START, EDGE - 1), grow(START._replace(number=EDGE - 1), EDGE + 20)
    headers = [block.header for block in (*below, *above)]
    bad = with_hash(headers[-5]._replace(mix_hash=bytes(32)))

    async def scenario() -> None:
        seals = SealWorkers(SPEC, 2)
        try:
            await seals.check(headers)
            with pytest.raises(RuleBroken) as caught:
                await seals.check([*headers[:-5], bad, *headers[-4:]])
            assert (caught.value.rule, caught.value.number) == ("seal", bad.number)
        finally:
            await seals.close()

    asyncio.run(scenario())
    assert len(started) == 2


def test_worker_that_died_after_it_was_started_ahead_is_started_again_when_its_epoch_comes(started):
    below, above = grow(START, EDGE - 1), grow(START._replace(number=EDGE - 1), EDGE + 5)

    async def scenario() -> None:
        seals = SealWorkers(SPEC, 2)
        try:
            await seals.check([block.header for block in below])
            await until(lambda: len(seals.pids) == 2, "a worker for the next epoch")
            _, ahead = seals.pids
            os.kill(ahead, signal.SIGKILL)
            await seals.check([block.header for block in above])
        finally:
            await seals.close()

    asyncio.run(scenario())
    assert started == [("2", "0", "0"), ("2", "1", "1"), ("2", "1", "1")]


def test_first_classic_header_of_long_epochs_is_accepted_and_a_forged_one_refused(started):
    (header,) = [decode_header(bytes.fromhex(rlp)) for rlp in load_vectors("ethash/ecip1099.json")["classic_headers"]]
    forged = with_hash(header._replace(nonce=bytes(8)))

    async def scenario() -> None:
        seals = SealWorkers(CLASSIC, 2)
        try:
            await seals.check([header] * 20)
            with pytest.raises(RuleBroken, match="proof of work is wrong"):
                await seals.check([forged])
        finally:
            await seals.close()

    asyncio.run(scenario())
    assert header.number == CLASSIC.ecip1099_block
    assert started == [("2", "195", "390")]


def test_library_that_cannot_check_long_epochs_blames_no_block_and_says_so(monkeypatch):
    async def unfit(command, *_, **options):
        return await start("/bin/sh", "-c", f"exit {EXIT_UNFIT}", **options)

    start = asyncio.create_subprocess_exec
    monkeypatch.setattr(asyncio, "create_subprocess_exec", unfit)

    async def scenario() -> None:
        seals = SealWorkers(CLASSIC, 1)
        try:
            with pytest.raises(SealWorkersFailed, match="this ethash library cannot check seals of ECIP-1099 epochs"):
                await seals.check([with_hash(START._replace(number=11_700_000))])
        finally:
            await seals.close()

    asyncio.run(scenario())
