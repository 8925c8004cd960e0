"""What the command line answers before anything is started."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trisync.cli import main

GENESIS = {"config": {"chainId": 77}, "gasLimit": "0x1000", "difficulty": "0x1", "alloc": {}}


class Executed(Exception):
    """Raised in place of becoming the store command."""


@pytest.fixture
def genesis(tmp_path: Path) -> Path:
    path = tmp_path / "genesis.json"
    path.write_text(json.dumps(GENESIS))
    return path


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    command: list[str] = []

    def become(path: str, arguments: list[str]) -> None:
        command.extend(arguments)
        raise Executed

    monkeypatch.setattr("os.execv", become)
    return command


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["up", "--static-peer", "enode://oops"], "--static-peer: 'enode://oops'"),
        (["up", "--network", "nowhere"], "'nowhere'"),
        (["up", "--network", "mainnet", "--genesis", "g.json"], "exclude each other"),
        (["up", "--networkid", "0"], "--networkid 0"),
        (["up", "--port", "70000"], "--port 70000"),
        (["up", "--port", "many"], "--port"),
        (["up", "--syncmode", "snap"], "--syncmode"),
        (["up", "--seal-check", "maybe"], "--seal-check"),
        (["up", "--fan-out", "some"], "--fan-out"),
        (["up", "--until", "tomorrow"], "--until 'tomorrow'"),
        (["up", "--no-such-flag"], "--no-such-flag"),
        (["import"], "FILES"),
        (["nonsense"], "nonsense"),
        (["up", "--syncmode", "snap"], ": 'snap' is not one of"),
        (["best-peer", "--limit", "0"], ": '0' should be greater than or equal to 1; see --help"),
        (["blocks", "--from", "many"], ": 'many' should be a valid integer"),
        (["blocks", "--from", "10", "--to", "5", "--coordinator", "127.0.0.1:1"], "--from 10 is above --to 5"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(argv: list[str], told: str, capsys: pytest.CaptureFixture[str]):
    assert main(argv) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert told.lower() in shown.err.lower()
    assert shown.err.count("\n") == 1


def test_complaint_that_ends_with_a_question_has_nothing_behind_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "t.toml").write_text("[gateway]\nping_interval = 3\n")
    assert main(["up", "--config", str(tmp_path / "t.toml")]) == 2
    assert capsys.readouterr().err.endswith("is 'ping-interval' meant?\n")


def test_genesis_that_cannot_be_read_is_one_line_and_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["init", "--genesis", str(tmp_path / "none.json")]) == 1
    shown = capsys.readouterr().err
    assert "none.json" in shown
    assert shown.count("\n") == 1


def test_data_directory_that_is_a_file_is_one_line_and_exit_code_1(genesis: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["up", "--genesis", str(genesis), "--datadir", str(genesis)]) == 1
    assert f"--datadir {genesis} cannot be used" in capsys.readouterr().err


def test_question_to_a_node_that_does_not_run_is_one_line_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    for command in ("status", "peers", "disconnects", "best-peer", "sync", "propagation", "rank-peers"):
        assert main([command, "--datadir", str(tmp_path)]) == 1
        assert "no coordinator runs on" in capsys.readouterr().err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for command in ("up", "init", "import", "export", "verify", "status", "peers", "best-peer", "sync", "disconnects"):
        assert f" {command} " in shown


def test_import_becomes_the_coordinators_command_with_the_chain_chosen(genesis: Path, executed: list[str]):
    with pytest.raises(Executed):
        main(["import", "--datadir", "/d", "--genesis", str(genesis), "--seal-check", "none", "a.rlp", "b.era1"])
    assert executed[1:] == [
        *("-m", "services.sync_coordinator.commands", "import", "--datadir", "/d", "--genesis", str(genesis)),
        *("--networkid", "77", "--seal-check", "none", "a.rlp", "b.era1"),
    ]


def test_network_id_comes_from_flag_network_or_genesis(genesis: Path, executed: list[str]):
    for argv, expected in (
        (["--network", "classic"], "1"),
        (["--network", "mordor"], "7"),
        (["--genesis", str(genesis)], "77"),
        (["--genesis", str(genesis), "--networkid", "5"], "5"),
        ([], "1"),
    ):
        executed.clear()
        with pytest.raises(Executed):
            main(["init", "--datadir", "/d", *argv])
        assert executed[executed.index("--networkid") + 1] == expected


def test_variables_stand_in_for_flags(genesis: Path, executed: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TRISYNC_DATADIR", "/from/variable")
    monkeypatch.setenv("TRISYNC_GENESIS", str(genesis))
    with pytest.raises(Executed):
        main(["export", "dump.rlp.gz", "5"])
    assert executed[executed.index("--datadir") + 1] == "/from/variable"
    assert executed[-2:] == ["dump.rlp.gz", "5"]


def test_repeatable_variable_is_split_at_commas(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("TRISYNC_STATIC_PEER", "first,second")
    assert main(["up"]) == 2
    assert "'first'" in capsys.readouterr().err
