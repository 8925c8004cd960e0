"""`up` as the keeper of its services, shown with services that do nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.deadlines import until
from trisync.cli.child import ChildFailed
from trisync.cli.data_dir import DataDir, DataDirLock
from trisync.cli.failures import CommandFailed
from trisync.cli.plan import ServicePlan, StackPlan
from trisync.cli.stack import Stack

pytestmark = pytest.mark.integration


def fake_plan(data_dir: DataDir, name: str, behaviour: str = "serve") -> ServicePlan:
    run_dir = data_dir.run_dir / name
    flags = ("--run-dir", str(run_dir), "--behaviour", behaviour, "--stop-with-parent")
    stopped = ("--stopped-file", str(data_dir.path / f"{name}-stopped"))
    return ServicePlan(
        name, "fake", "tests.support.fake_service", run_dir, data_dir.logs_dir / f"{name}.log", (*flags, *stopped)
    )


@contextlib.asynccontextmanager
async def fake_stack(path: Path, **behaviours: str) -> AsyncIterator[tuple[Stack, list[str]]]:
    """A stack that is stopped, or killed, whatever happens; `said` are the lines for the user."""
    data_dir, said = DataDir(path), list[str]()
    data_dir.prepare()
    lock = await DataDirLock.acquire(data_dir)
    plans = [
        fake_plan(data_dir, name, behaviours.get(name, "serve")) for name in ("broadcaster", "coordinator", "gateway")
    ]
    stack = Stack(StackPlan(plans[1], plans[0], (plans[2],), "unix:/none"), lock.descriptor, said.append)
    try:
        yield stack, said
    finally:
        await stack.stop()
        lock.release()


def test_all_services_are_started_and_stopped_cleanly(tmp_path: Path):
    async def scenario() -> None:
        async with fake_stack(tmp_path) as (stack, said):
            await stack.start()
            assert all(child.is_running for child in stack.children)
            assert stack.enodes == ["enode://fake"]
            assert await stack.stop()
            assert not any(child.is_running for child in stack.children)
            assert said == []

    asyncio.run(scenario())
    assert len(list(tmp_path.glob("*-stopped"))) == 3


@pytest.mark.parametrize("name", ["coordinator", "broadcaster", "gateway"])
def test_failed_start_gives_the_services_own_reason_and_ends_the_others(tmp_path: Path, name: str):
    async def scenario() -> None:
        async with fake_stack(tmp_path, **{name: "refuse"}) as (stack, _):
            with pytest.raises(ChildFailed, match="fake: cannot listen on") as failure:
                await stack.start()
            assert failure.value.exit_code == 1
            await stack.stop()
            assert not any(child.is_running for child in stack.children)

    asyncio.run(scenario())


def test_killed_service_is_started_again_and_that_is_said(tmp_path: Path):
    async def scenario() -> None:
        async with fake_stack(tmp_path) as (stack, said):
            await stack.start()
            keeping = asyncio.create_task(stack.supervise())
            first = stack.coordinator.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            await until(
                lambda: stack.coordinator.pid != first and stack.coordinator.facts.get("pid") != first, "a new one"
            )
            assert said == ["coordinator was killed by signal 9; starting it again in 0.2 s"]
            assert stack.broadcaster.is_running
            keeping.cancel()

    asyncio.run(scenario())


def test_coordinator_killed_while_the_others_start_is_started_again(tmp_path: Path):
    async def scenario() -> None:
        async with fake_stack(tmp_path) as (stack, said):
            gateway = stack.gateways[0]
            gateway.plan = replace(gateway.plan, arguments=(*gateway.plan.arguments, "--go-file", str(tmp_path / "go")))
            starting = asyncio.create_task(stack.start())
            await until(lambda: gateway.is_running, "the gateway's process")
            first = stack.coordinator.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            await until(lambda: stack.coordinator.facts.get("pid") not in (None, first), "a new coordinator")
            assert not starting.done()
            (tmp_path / "go").touch()
            await starting
            assert said == ["coordinator was killed by signal 9; starting it again in 0.2 s"]

    asyncio.run(scenario())


def test_service_that_cannot_start_again_ends_the_stack(tmp_path: Path):
    async def scenario() -> None:
        async with fake_stack(tmp_path) as (stack, _):
            await stack.start()
            keeping = asyncio.create_task(stack.supervise())
            stack.gateways[0].plan = replace(stack.gateways[0].plan, arguments=("--no-such-flag",))
            stack.gateways[0].terminate()
            with pytest.raises(ChildFailed, match="--no-such-flag") as failure:
                async with asyncio.timeout(30):
                    await keeping
            assert failure.value.exit_code == 2

    asyncio.run(scenario())


def test_service_that_does_not_stop_is_killed_within_five_seconds(tmp_path: Path):
    async def scenario() -> None:
        async with fake_stack(tmp_path, gateway="hang") as (stack, said):
            await stack.start()
            started = asyncio.get_running_loop().time()
            assert not await stack.stop()
            assert asyncio.get_running_loop().time() - started < 5.5
            assert not any(child.is_running for child in stack.children)
            assert said == ["gateway did not stop in time and was killed"]

    asyncio.run(scenario())


def test_data_directory_in_use_is_refused_while_any_service_of_it_lives(tmp_path: Path):
    async def scenario() -> None:
        async with fake_stack(tmp_path) as (stack, _):
            await stack.start()
            with pytest.raises(CommandFailed, match=f"in use by another trisync .process {os.getpid()}"):
                await DataDirLock.acquire(DataDir(tmp_path))
        lock = await DataDirLock.acquire(DataDir(tmp_path))
        lock.release()

    asyncio.run(scenario())


def test_log_of_a_service_has_its_lines(tmp_path: Path):
    async def scenario() -> None:
        async with fake_stack(tmp_path) as (stack, _):
            await stack.start()
            await until(lambda: "ready" in (tmp_path / "logs/gateway.log").read_text(), "a line in the log")

    asyncio.run(scenario())
