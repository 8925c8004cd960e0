"""What is left when processes are killed with kill -9 in the middle of a sync of real mainnet blocks."""

from __future__ import annotations

import asyncio
import contextlib
import random
from asyncio.subprocess import Process
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from tests.support.chain_peers import BodyGate, honest
from tests.support.deadlines import until
from tests.support.mainnet import HEAD_HASH, HEAD_NUMBER, NETWORK_ID, mainnet_chain
from tests.support.processes import (
    PROC,
    descendants,
    has_ended,
    kill,
    mainnet_stack,
    outcome_of,
    ready_pid,
    run_trisync,
    trisync,
)
from tests.support.scripted_peer import ScriptedListener
from tests.support.stack import in_one_loop
from tests.support.wire import local_node
from trisync.cli.data_dir import DataDir
from trisync.cli.stack import Stack
from trisync.client import AsyncCoordinator, CoordinatorError

pytestmark = pytest.mark.integration

KILLS: Final = 10
LONGEST_S: Final = 0.4
"""A kill comes at most so long after the first answer in a process's life: it takes about that for its share."""


def gated_mainnet() -> BodyGate:
    chain = mainnet_chain()
    return BodyGate(chain, 0, honest(chain, status=chain.status(NETWORK_ID)))


async def head_before_kill(stack: Stack, gate: BodyGate, delay_s: float) -> int:
    """Kill the coordinator `delay_s` after the peer's next answer; the last head it told of."""
    before, loop = gate.answered, asyncio.get_running_loop()
    head = 0
    async with AsyncCoordinator(stack.plan.coordinator_address) as client:
        await until(lambda: gate.answered > before, "an answer of the peer")
        loop.call_later(delay_s, kill, stack.coordinator.pid)
        end = asyncio.create_task(stack.coordinator.wait_end())
        while not end.done():
            try:
                head = (await client.status()).full_block_head.number
            except CoordinatorError:
                break
        await end
    return head


async def restarted_head(stack: Stack) -> int:
    """Start the coordinator again; the head it finds in its store."""
    await stack.coordinator.start()
    await stack.coordinator.wait_ready()
    head = stack.coordinator.facts["head"]
    assert isinstance(head, int)
    return head


async def check_whole(datadir: Path) -> None:
    """The store has all of the chain, and no service met a bug on the way."""
    logs = [log.read_text() for log in DataDir(datadir).logs_dir.glob("*.log")]
    assert [log for log in logs if "Traceback" in log] == []
    verified = await run_trisync("verify", "--datadir", datadir, "--network", "mainnet", "--seal-check", "none")
    assert verified.out == [f"verified {HEAD_NUMBER + 1} blocks, head {HEAD_NUMBER} {HEAD_HASH}"]
    assert verified.exit_code == 0


def up_from(alice: ScriptedListener, datadir: Path, *more: str) -> contextlib.AbstractAsyncContextManager[Process]:
    """`trisync up` on mainnet that syncs from alice."""
    flags = ("--network", "mainnet", "--host", "127.0.0.1", "--port", 0, "--nodiscover", "--force-sync-cycle", 0.5)
    return trisync("up", "--datadir", datadir, *flags, "--static-peer", alice.enode, *more)


async def until_head_of(datadir: Path, least: int) -> None:
    """Wait until a running stack has imported this many blocks."""
    async with AsyncCoordinator(DataDir(datadir).coordinator_address()) as client:

        async def is_there() -> bool:
            try:
                return (await client.status()).head.number >= least
            except CoordinatorError:
                return False

        await until(is_there, f"head {least}")


@in_one_loop
async def test_sync_resumes_from_what_was_committed_when_the_coordinator_is_killed_ten_times(tmp_path: Path) -> None:
    rng = random.Random(2)
    gate = gated_mainnet()
    async with (
        ScriptedListener(local_node("alice"), gate.answer) as alice,
        mainnet_stack(tmp_path, static_peers=(str(alice.enode),), force_sync_cycle=0.5) as stack,
    ):
        peer = await alice.next_peer()
        committed = 0
        for number in range(1, KILLS + 1):
            gate.limit = HEAD_NUMBER * number // (KILLS + 1)
            gate.release(peer)
            told = await head_before_kill(stack, gate, rng.uniform(0, LONGEST_S))
            head = await restarted_head(stack)
            # Empty blocks need no answer, so the head may be a little past the limit; it never gets to the end.
            assert max(committed, told) <= head < HEAD_NUMBER
            committed = head
        assert committed > 0, "every kill came before anything was imported"
        gate.limit = None
        gate.release(peer)
        await until_head_of(tmp_path, HEAD_NUMBER)
        async with AsyncCoordinator(stack.plan.coordinator_address) as client:
            assert (await client.status()).progress.starting_block == committed
        assert peer.is_connected
        assert alice.peers == [peer]
    await check_whole(tmp_path)


@in_one_loop
async def test_up_reaches_its_goal_when_gateway_and_broadcaster_are_killed_in_the_middle(tmp_path: Path) -> None:
    gate = gated_mainnet()
    gate.limit = 3000
    async with (
        ScriptedListener(local_node("alice"), gate.answer) as alice,
        up_from(alice, tmp_path, "--seal-check", "none", "--until", "head", "--json") as up,
    ):
        await alice.next_peer()
        run_dir = DataDir(tmp_path).run_dir
        await until_head_of(tmp_path, 1000)
        for directory, service in ((run_dir, "broadcaster"), (run_dir / "gateway-0", "peer_gateway")):
            killed = await ready_pid(directory, service)
            kill(killed)
            await until(partial(has_ended, killed), f"the end of the {service}")
        gate.limit = None
        gate.held.clear()
        ended = await outcome_of(up)
    assert ended.exit_code == 0, ended.err
    assert (ended.last_json["head_number"], ended.last_json["head_hash"]) == (HEAD_NUMBER, HEAD_HASH)
    for service in ("broadcaster", "gateway-0"):
        assert any(line.startswith(f"{service} was killed by signal 9; starting it again") for line in ended.err)
    await check_whole(tmp_path)


@pytest.mark.skipif(not PROC.is_dir(), reason="/proc is needed to find what a process started")
@in_one_loop
async def test_nothing_is_left_running_when_up_itself_is_killed(tmp_path: Path) -> None:
    gate = gated_mainnet()
    gate.limit = 200
    async with (
        ScriptedListener(local_node("alice"), gate.answer) as alice,
        up_from(alice, tmp_path, "--seal-check", "ethash", "--seal-workers", "1") as up,
    ):
        peer = await alice.next_peer()
        # Three services, a worker that checks seals.
        started = await until(lambda: found if len(found := descendants(up.pid)) >= 4 else None, "a seal worker")
        await until_head_of(tmp_path, 1)
        kill(up.pid)
        await until(lambda: all(map(has_ended, started)), "the end of every process")
        assert not (await peer.disconnected()).by_us
    verified = await run_trisync("verify", "--datadir", tmp_path, "--network", "mainnet")
    assert verified.exit_code == 0, verified.err
