"""Every command that asks a node, against one that answers; and `trisync watch` as people and programs use it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.every_command import ASKING, arguments
from tests.support.operator_stand_in import OperatorStandIn
from trisync.cli import main
from trisync.cli.command_list import Listed

pytestmark = pytest.mark.integration

PATIENCE_S = 20.0
TRISYNC = [sys.executable, "-m", "trisync.cli"]

ENDING = [listed for listed in ASKING if listed.name != "watch"]
AGAIN = {"propagation": ["01" * 32]}
"""What else a command is called with to make all its calls."""


@pytest.fixture
def node() -> Iterator[OperatorStandIn]:
    with OperatorStandIn() as standing:
        yield standing


@pytest.mark.parametrize("listed", ENDING, ids=lambda listed: listed.name)
def test_command_makes_the_calls_that_it_is_listed_with_and_prints_them(
    listed: Listed, node: OperatorStandIn, capsys: pytest.CaptureFixture[str]
):
    where = ["--coordinator", node.address]
    for given in (arguments(listed), *([AGAIN[listed.name]] if listed.name in AGAIN else [])):
        assert main([listed.name, *given, *where]) == 0
        assert capsys.readouterr().out.strip()
        assert main([listed.name, *given, *where, "--json"]) == 0
        for line in capsys.readouterr().out.splitlines():
            assert isinstance(json.loads(line), dict)
    assert node.asked == set(listed.rpcs)


def test_receipts_of_every_age_are_told(node: OperatorStandIn, capsys: pytest.CaptureFixture[str]):
    assert main(["receipts", "2", "--coordinator", node.address]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(": 3 receipts")
    assert lines[1] == f"0  state root 0x{'07' * 32}, 21000 gas up to here, 0 logs"
    assert lines[2:] == [
        "1  succeeded, 42000 gas up to here, 1 logs, type 2",
        "2  failed, 63000 gas up to here, 0 logs",
    ]


def test_blocks_end_where_they_are_told_to(node: OperatorStandIn, capsys: pytest.CaptureFixture[str]):
    assert main(["blocks", "--to", "1", "--coordinator", node.address]) == 0
    assert capsys.readouterr().out == ""
    assert main(["blocks", "--coordinator", node.address, "--json"]) == 0
    steps = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(step["step"], step["cursor"]) for step in steps] == [("apply", "first"), ("undo", "second")]


def test_reader_that_has_enough_ends_a_command_quietly(node: OperatorStandIn):
    blocks = subprocess.Popen(
        [*TRISYNC, "blocks", "--coordinator", node.address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert blocks.stdout is not None
    blocks.stdout.close()
    with blocks:
        assert blocks.wait(PATIENCE_S) == 1
        assert blocks.stderr is not None
        assert blocks.stderr.read() == b""


def test_watch_makes_its_calls_and_ends_well_on_ctrl_c(node: OperatorStandIn, capsys: pytest.CaptureFixture[str]):
    wanted = next(listed for listed in ASKING if listed.name == "watch").rpcs

    def interrupt() -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not node.asked >= set(wanted) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    assert main(["watch", "--coordinator", node.address]) == 0
    thread.join()
    assert node.asked == {*wanted, "CoordinatorService.GetStatus"}
    assert capsys.readouterr().out == "looking for peers: block 2, no peers\n"


@contextlib.contextmanager
def going_on(command_name: str, address: str, *more: str, **where: Any) -> Iterator[subprocess.Popen[str]]:
    command = [*TRISYNC, command_name, "--coordinator", address, *more]
    process = subprocess.Popen(command, text=True, env={**os.environ, "TERM": "xterm"}, **where)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_watch_goes_on_when_the_coordinator_comes_back(tmp_path: Path):
    address = f"unix:{tmp_path}/c.sock"
    with contextlib.ExitStack() as first:
        first.enter_context(OperatorStandIn(address))
        with going_on("watch", address, "--json", stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            lines = map(json.loads, process.stdout)
            assert next(lines)["connection"] == "live"
            first.close()
            away = next(line for line in lines if line["connection"] != "live")
            assert (away["connection"], away["status"]["network_id"]) == ("reconnecting", 7)
            with OperatorStandIn(address):
                assert next(line for line in lines if line["connection"] == "live")["status"]["network_id"] == 7
                process.send_signal(signal.SIGINT)
                assert process.wait(PATIENCE_S) == 0


def test_followed_blocks_go_on_after_the_last_step_when_the_coordinator_comes_back(tmp_path: Path):
    address = f"unix:{tmp_path}/c.sock"
    with contextlib.ExitStack() as first:
        first.enter_context(OperatorStandIn(address))
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with going_on("blocks", address, "--follow", "--json", **pipes) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            steps = map(json.loads, process.stdout)
            assert [next(steps)["cursor"], next(steps)["cursor"]] == ["first", "second"]
            first.close()
            assert process.stderr.readline().endswith("going on after the last step when it is back\n")
            with OperatorStandIn(address) as second:
                assert next(steps)["step"] == "apply"
                assert set(second.cursors) == {"second"}
                process.send_signal(signal.SIGINT)
                assert process.wait(PATIENCE_S) == 0
            assert process.stderr.read() == ""


def test_followed_blocks_are_not_waited_for_where_no_coordinator_ever_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["blocks", "--follow", "--coordinator", f"unix:{tmp_path}/c.sock"]) == 1
    assert "does not answer" in capsys.readouterr().err


def test_watch_draws_on_a_terminal_and_leaves_it_as_it_was(node: OperatorStandIn):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (24, 80))
    with going_on("watch", node.address, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        seen = read_until(ours, "network 7")
        process.send_signal(signal.SIGINT)
        seen += read_until(ours, "\x1b[?1049l")
        assert process.wait(PATIENCE_S) == 0
    os.close(ours)
    assert "\x1b[?1049h" in seen
    drawn = max(seen.split("\x1b[H"), key=len).split("\x1b[?")[0]
    frame = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn).split("\r\n")
    assert len(frame) == 24
    assert {len(line) for line in frame} == {80}


def read_until(terminal: int, words: str) -> str:
    seen, deadline = "", time.monotonic() + PATIENCE_S
    while words not in seen:
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"{words!r} did not come: {seen!r}"
        seen += os.read(terminal, 65536).decode(errors="replace")
    return seen


def test_bash_completes_with_the_printed_script(tmp_path: Path):
    (tmp_path / "trisync").write_text(f'#!/bin/sh\nexec {sys.executable} -m trisync.cli "$@"\n')
    (tmp_path / "trisync").chmod(0o755)
    script = "\n".join(
        [
            "source <(trisync completion bash); COMP_WORDS=(trisync up --network mo); COMP_CWORD=3",
            'spec=$(complete -p trisync); name=${spec##*-F }; ${name%% *} trisync; echo "${COMPREPLY[@]}"',
        ]
    )
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run(["bash", "-c", script], env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("mordor\n", "")
