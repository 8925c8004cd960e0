"""How a service lives as a process: signals, exit codes, its ready file, the death of its parent."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.shared.runtime.ready_file import read_ready
from tests.support.deadlines import until

pytestmark = pytest.mark.integration

END_WITHIN_S = 10.0


@contextlib.asynccontextmanager
async def fake_service(run_dir: Path, *flags: str) -> AsyncIterator[Process]:
    command = [sys.executable, "-m", "tests.support.fake_service", "--run-dir", str(run_dir), *flags]
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stderr=PIPE)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def ready(run_dir: Path, process: Process) -> None:
    facts = await until(lambda: read_ready(run_dir, "fake"), "a ready file")
    assert facts is not None
    assert facts["pid"] == process.pid


async def ended(process: Process) -> tuple[int, list[str]]:
    async with asyncio.timeout(END_WITHIN_S):
        _, stderr = await process.communicate()
    assert process.returncode is not None
    return process.returncode, stderr.decode().splitlines()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_is_a_clean_stop_with_exit_code_0(tmp_path: Path, number: signal.Signals):
    async def scenario() -> None:
        async with fake_service(tmp_path, "--stopped-file", str(tmp_path / "stopped")) as process:
            await ready(tmp_path, process)
            process.send_signal(number)
            code, _ = await ended(process)
            assert (code, (tmp_path / "stopped").read_text()) == (0, "stopped\n")
            assert read_ready(tmp_path, "fake") is None

    asyncio.run(scenario())


def test_second_signal_ends_at_once(tmp_path: Path):
    async def scenario() -> None:
        async with fake_service(tmp_path, "--behaviour", "stay") as process:
            await ready(tmp_path, process)
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGTERM)
            code, _ = await ended(process)
            assert code == 130

    asyncio.run(scenario())


def test_service_that_does_not_stop_is_cancelled_in_time(tmp_path: Path):
    async def scenario() -> None:
        async with fake_service(tmp_path, "--behaviour", "stay") as process:
            await ready(tmp_path, process)
            started = asyncio.get_running_loop().time()
            process.send_signal(signal.SIGTERM)
            code, lines = await ended(process)
            assert code == 1
            assert asyncio.get_running_loop().time() - started < 6
            assert "stopping takes too long" in "\n".join(lines)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("flags", "code", "line"),
    [
        (["--behaviour", "refuse"], 1, "fake: cannot listen on 127.0.0.1:1: address already in use"),
        (["--behaviour", "dance"], 2, "fake: --behaviour 'dance' is not one of serve, refuse, fail, stay, hang"),
    ],
)
def test_refused_start_is_one_line_and_its_exit_code(tmp_path: Path, flags: list[str], code: int, line: str):
    async def scenario() -> None:
        async with fake_service(tmp_path, *flags) as process:
            assert await ended(process) == (code, [line])

    asyncio.run(scenario())


def test_bug_is_a_traceback_and_exit_code_1(tmp_path: Path):
    async def scenario() -> None:
        async with fake_service(tmp_path, "--behaviour", "fail", "--log-json") as process:
            code, lines = await ended(process)
            assert code == 1
            assert "RuntimeError: a bug" in lines[-1]

    asyncio.run(scenario())


def test_service_stops_when_its_parent_closes_the_pipe(tmp_path: Path):
    async def scenario() -> None:
        async with fake_service(tmp_path, "--stop-with-parent") as process:
            await ready(tmp_path, process)
            assert process.stdin is not None
            process.stdin.close()
            code, _ = await ended(process)
            assert code == 0

    asyncio.run(scenario())


def test_service_without_a_pipe_stops_when_its_parent_is_gone(tmp_path: Path):
    async def scenario() -> None:
        command = f"{sys.executable} -m tests.support.fake_service --run-dir {tmp_path} --stop-with-parent"
        shell = await asyncio.create_subprocess_shell(f"{command} </dev/null & read line", stdin=PIPE)
        await until(lambda: read_ready(tmp_path, "fake"), "a ready file")
        shell.kill()
        await shell.wait()
        await until(lambda: read_ready(tmp_path, "fake") is None, "the end of the service", within_s=END_WITHIN_S)

    asyncio.run(scenario())
