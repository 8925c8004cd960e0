"""Real worker processes: verdicts, crashes, cancellation, and that nothing is left running."""

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest

from services.shared.chainspec.networks import network
from services.shared.ethwire.headers import with_hash
from services.sync_coordinator.core.rule_broken import RuleBroken
from services.sync_coordinator.edges.seal_workers import SealWorkers, SealWorkersFailed
from tests.support.chain_vectors import headers_of

pytestmark = pytest.mark.integration

SPEC = network("mainnet").spec
HEADERS = [header for header in headers_of("mainnet") if header.number < 30_000]

PARENT_THAT_DIES = """
import asyncio, os, signal
from tests.integration.test_seal_workers import HEADERS, SPEC, SealWorkers

async def main():
    seals = SealWorkers(SPEC, 1)
    await seals.check(HEADERS[:1])
    print(*seals.pids, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@asynccontextmanager
async def workers(count):
    seals = SealWorkers(SPEC, count)
    try:
        yield seals
    finally:
        await seals.close()
        assert seals.pids == []


def forged(header):
    return with_hash(header._replace(nonce=bytes(8)))


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_real_seals_pass_and_the_lowest_wrong_one_is_named():
    async def scenario():
        async with workers(2) as seals:
            await seals.check([])
            assert seals.pids == []
            await seals.check(HEADERS * 2)
            bad = [forged(HEADERS[3]), forged(HEADERS[-1])]
            with pytest.raises(RuleBroken) as caught:
                await seals.check([*reversed(HEADERS), *bad])
            assert (caught.value.rule, caught.value.number) == ("seal", HEADERS[3].number)
            assert len(seals.pids) == 1

    asyncio.run(scenario())


def test_header_whose_seal_cannot_be_judged_is_refused_after_lower_ones_passed():
    async def scenario():
        async with workers(1) as seals:
            weightless = with_hash(HEADERS[5]._replace(difficulty=0))
            with pytest.raises(RuleBroken, match="the difficulty is 0"):
                await seals.check([*HEADERS[:3], weightless])
            with pytest.raises(RuleBroken, match="proof of work is wrong"):
                await seals.check([weightless, forged(HEADERS[0])])

    asyncio.run(scenario())


def test_killed_worker_is_replaced_and_its_chunk_checked_again():
    async def scenario():
        async with workers(1) as seals:
            await seals.check(HEADERS[:1])
            (first,) = seals.pids
            running = asyncio.create_task(seals.check(HEADERS * 4))
            await asyncio.sleep(0)
            os.kill(first, signal.SIGKILL)
            await running
            (second,) = seals.pids
            assert second != first
            assert not is_running(first)

    asyncio.run(scenario())


def test_worker_ignores_interrupt_and_terminate():
    async def scenario():
        async with workers(1) as seals:
            await seals.check(HEADERS[:1])
            (pid,) = seals.pids
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGTERM)
            await seals.check(HEADERS[:4])
            assert seals.pids == [pid]
            assert os.getsid(pid) != os.getsid(0)

    asyncio.run(scenario())


def test_cancelled_check_leaves_the_workers_usable():
    async def scenario():
        async with workers(1) as seals:
            await seals.check(HEADERS[:1])
            (pid,) = seals.pids
            cancelled = asyncio.create_task(seals.check([forged(header) for header in HEADERS * 4]))
            waiting = asyncio.create_task(seals.check(HEADERS[:2]))
            for _ in range(5):
                await asyncio.sleep(0)
            cancelled.cancel()
            await waiting
            await seals.check(HEADERS[:8])
            assert seals.pids == [pid]
            assert cancelled.cancelled()

    asyncio.run(scenario())


def test_check_after_close_fails_without_starting_a_worker():
    async def scenario():
        async with workers(1) as seals:
            await seals.close()
            with pytest.raises(SealWorkersFailed, match="closed"):
                await seals.check(HEADERS[:1])

    asyncio.run(scenario())


def test_worker_that_dies_twice_fails_the_check_but_blames_no_block(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")

    async def scenario():
        async with workers(1) as seals:
            with pytest.raises(SealWorkersFailed, match="a seal worker ended with status 1"):
                await seals.check(HEADERS[:1])

    asyncio.run(scenario())


def test_worker_ends_when_its_parent_is_killed():
    """The worker shares its parent's stderr, so reading that to its end waits for both."""
    command = [sys.executable, "-c", PARENT_THAT_DIES]
    parent = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert parent.returncode == -signal.SIGKILL, parent.stderr
    assert int(parent.stdout) > 0
