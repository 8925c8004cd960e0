"""Whole stacks on a clique network: synced from a peer, killed in the middle, and told of new blocks."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.shared.ethwire.bodies import EMPTY_BODY_RLP
from services.shared.ethwire.messages import NewBlock
from services.sync_coordinator.core.clique_snapshot import STORE_INTERVAL
from tests.support.chain_peers import dial_in, honest
from tests.support.clique_chain import (
    NETWORK_ID,
    CliqueMaker,
    address_of,
    child_of,
    clique_genesis,
    extend_in_turns,
    taking_turns,
    write_clique_genesis,
)
from tests.support.deadlines import until
from tests.support.processes import kill, outcome_of, ready_pid, run_trisync, trisync
from tests.support.scripted_chain import ScriptedChain
from tests.support.scripted_peer import ScriptedListener
from tests.support.stack import in_one_loop, running_stack
from tests.support.wire import local_node
from trisync.cli.data_dir import DataDir
from trisync.cli.failures import CommandFailed
from trisync.client import AsyncCoordinator, CoordinatorError

pytestmark = pytest.mark.integration

EPOCH = 700
LENGTH = 2 * STORE_INTERVAL + 200
LONG = 8 * STORE_INTERVAL
"""Takes a few seconds to sync, so that a kill comes in the middle."""

GENESIS = clique_genesis("ABC", epoch=EPOCH)


def voted_in(count: int) -> CliqueMaker:
    """A chain on which D is voted in, and then A out, before the first snapshot is kept."""
    maker = CliqueMaker(GENESIS)
    while address_of("D") not in maker.snapshot.signers:
        maker.grow(maker.may_sign("ABC")[0], "D", add=True)
    while address_of("A") in maker.snapshot.signers:
        maker.grow(maker.may_sign("BCD")[0], "A")
    extend_in_turns(maker, "BCD", count - maker.headers[-1].number)
    return maker


def served(maker: CliqueMaker) -> ScriptedChain:
    return ScriptedChain((header.header_rlp, EMPTY_BODY_RLP) for header in maker.headers)


@pytest.mark.parametrize("mode", ["full", "light"])
def test_clique_chain_is_synced_and_followed(tmp_path: Path, mode: str) -> None:
    genesis = write_clique_genesis(tmp_path / "genesis.json", "ABC", epoch=EPOCH)
    maker = voted_in(LENGTH)

    @in_one_loop
    async def scenario() -> None:
        async with running_stack(genesis=genesis, seal_check="auto", syncmode=mode) as stack:
            alice = await dial_in(stack.enode, "alice", served(maker), network_id=NETWORK_ID)
            status = await stack.until_head(maker.headers[-1])
            assert status.seal_check == "clique"
            extend_in_turns(maker, "BCD", 1)
            total_difficulty = sum(header.difficulty for header in maker.headers)
            alice.answer = served(maker).answer
            alice.send(NewBlock(maker.headers[-1].header_rlp, EMPTY_BODY_RLP, total_difficulty))
            await stack.until_head(maker.headers[-1])

    scenario()


@in_one_loop
async def test_peer_whose_newest_block_a_stranger_sealed_is_dropped(tmp_path: Path) -> None:
    genesis = write_clique_genesis(tmp_path / "genesis.json", "ABC", epoch=EPOCH)
    maker = taking_turns(GENESIS, "ABC", 50)
    forged = maker.forked(50, maker.snapshot)
    forged.headers.append(child_of(maker.headers[-1], "F", difficulty=2))
    async with running_stack(genesis=genesis, seal_check="clique") as stack:
        mallory = await dial_in(stack.enode, "mallory", served(forged), network_id=NETWORK_ID)
        await mallory.disconnected()
        await stack.until_status(lambda now: now.head.number == 50, "what was right of it")


async def until_head_of(datadir: Path, least: int) -> None:
    async def is_there() -> bool:
        try:
            async with AsyncCoordinator(DataDir(datadir).coordinator_address()) as client:
                return (await client.status()).head.number >= least
        except (CoordinatorError, CommandFailed):
            return False

    await until(is_there, f"head {least}")


@in_one_loop
async def test_killed_sync_goes_on_from_the_right_snapshot(tmp_path: Path) -> None:
    genesis = write_clique_genesis(tmp_path / "genesis.json", "ABC", epoch=EPOCH)
    maker = voted_in(LONG)
    datadir = tmp_path / "data"
    on_chain = ("--datadir", datadir, "--genesis", genesis)
    flags = ("--host", "127.0.0.1", "--port", 0, "--nodiscover", "--force-sync-cycle", 0.5, "--until", "head", "--json")
    chain = served(maker)
    async with ScriptedListener(local_node("alice"), honest(chain, status=chain.status(NETWORK_ID))) as alice:
        up_flags = ("up", *on_chain, *flags, "--networkid", NETWORK_ID, "--static-peer", alice.enode)
        async with trisync(*up_flags) as up:
            for least in (1, STORE_INTERVAL + 1):
                await until_head_of(datadir, least)
                kill(await ready_pid(DataDir(datadir).run_dir, "coordinator"))
            ended = await outcome_of(up)
        assert ended.exit_code == 0, ended.err
        assert ended.last_json["head_hash"] == "0x" + maker.headers[-1].hash.hex()
        assert sum("coordinator was killed by signal 9; starting it again" in line for line in ended.err) == 2
    verified = await run_trisync("verify", *on_chain)
    assert verified.out == [f"verified {LONG + 1} blocks, head {LONG} 0x{maker.headers[-1].hash.hex()}"]
