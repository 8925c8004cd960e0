"""What holds for every command: its help, its flags, its errors, its RPCs."""

from __future__ import annotations

import inspect
import json

import pytest
from blocksync.v1 import blocks_pb2, coordinator_pb2, transactions_pb2

from tests.architecture.imports import ROOT
from tests.support.every_command import ASKING, CONFIGURED, ENODE, PRINTING, arguments
from trisync.cli import command_group, main
from trisync.cli.command_list import COMMANDS, Listed

OPERATOR_SERVICES = (
    *(coordinator_pb2.DESCRIPTOR.services_by_name[name] for name in ("CoordinatorService",)),
    *blocks_pb2.DESCRIPTOR.services_by_name.values(),
    *transactions_pb2.DESCRIPTOR.services_by_name.values(),
)

CLICK_COMMANDS = command_group().commands


def name_of(listed: Listed) -> str:
    return listed.name


def flags_of(listed: Listed) -> set[str]:
    return {flag for parameter in CLICK_COMMANDS[listed.name].params for flag in parameter.opts}


def told(argv: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code, and the one line on stderr."""
    code = main(argv)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert shown.err.startswith("trisync: ")
    return code, shown.err


def test_every_rpc_of_operators_has_a_command():
    """One that is new needs a command, and its name in trisync/cli/command_list.py."""
    rpcs = {f"{service.name}.{method.name}" for service in OPERATOR_SERVICES for method in service.methods}
    assert {rpc for listed in COMMANDS for rpc in listed.rpcs} == rpcs


@pytest.mark.parametrize("listed", PRINTING, ids=name_of)
def test_every_command_that_prints_has_json(listed: Listed):
    assert "--json" in flags_of(listed)


@pytest.mark.parametrize("listed", ASKING, ids=name_of)
def test_every_command_that_asks_a_node_can_be_told_which(listed: Listed):
    assert {"--datadir", "--coordinator"} <= flags_of(listed)


@pytest.mark.parametrize("listed", COMMANDS, ids=name_of)
def test_every_command_has_a_summary_of_one_line_and_a_group(listed: Listed):
    assert listed.group
    assert listed.command.__doc__
    lines = inspect.cleandoc(listed.command.__doc__).splitlines()
    assert len(lines) == 1
    assert lines[0].endswith(".")
    assert len(lines[0]) <= 110


@pytest.mark.parametrize("listed", PRINTING, ids=name_of)
def test_help_has_summary_examples_and_a_word_on_every_flag(listed: Listed, capsys: pytest.CaptureFixture[str]):
    assert main([listed.name, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert listed.command.__doc__
    assert listed.command.__doc__.split(":")[0].split(",")[0] in shown
    for example in listed.examples:
        assert example.split("…")[0] in shown
    for parameter in CLICK_COMMANDS[listed.name].params:
        assert getattr(parameter, "help", None), parameter.name


@pytest.mark.parametrize("listed", COMMANDS, ids=name_of)
def test_every_command_is_documented(listed: Listed):
    assert f"trisync {listed.name}" in (ROOT / "docs" / "commands.md").read_text()


def test_overview_names_every_command_in_its_group(capsys: pytest.CaptureFixture[str]):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for listed in COMMANDS:
        assert f" {listed.name} " in shown
        assert f" {listed.group} " in shown


@pytest.mark.parametrize("listed", PRINTING, ids=name_of)
def test_unknown_flag_is_one_line(listed: Listed, capsys: pytest.CaptureFixture[str]):
    code, line = told([listed.name, *arguments(listed), "--no-such-flag"], capsys)
    assert (code, "--no-such-flag" in line) == (2, True)


@pytest.mark.parametrize("listed", CONFIGURED, ids=name_of)
def test_bad_value_is_one_line(listed: Listed, capsys: pytest.CaptureFixture[str], tmp_path):
    (tmp_path / "bad.toml").write_text("[all]\njson = 'yes'\n")
    code, line = told([listed.name, *arguments(listed), "--config", str(tmp_path / "bad.toml")], capsys)
    assert (code, 'json = "yes" in [all] of ' in line) == (2, True)
    code, line = told([listed.name, *arguments(listed), "--config", str(tmp_path / "none.toml")], capsys)
    assert (code, "cannot be read" in line) == (2, True)


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["blocks", "--from", "-1"], "--from"),
        (["blocks", "--from", "many"], "--from"),
        (["blocks", "--from", "1", "--cursor", "c"], "--from and --cursor exclude each other"),
        (["header", "latest"], "'latest'"),
        (["receipts", "0x12"], "'0x12'"),
        (["hash", ""], "''"),
        (["best-peer", "--limit", "0"], "--limit"),
        (["propagation", "--newest", "0"], "--newest"),
        (["disconnects", "--side", "nobody"], "--side"),
        (["completion", "tcsh"], "tcsh"),
    ],
)
def test_bad_value_of_a_flag_is_one_line(argv: list[str], named: str, capsys: pytest.CaptureFixture[str]):
    code, line = told(argv, capsys)
    assert (code, named in line) == (2, True)


@pytest.mark.parametrize("listed", ASKING, ids=name_of)
def test_node_that_does_not_run_is_one_line(listed: Listed, capsys: pytest.CaptureFixture[str], tmp_path):
    code, line = told([listed.name, *arguments(listed), "--datadir", str(tmp_path)], capsys)
    assert (code, "no coordinator runs on" in line) == (1, True)


@pytest.mark.parametrize("listed", ASKING, ids=name_of)
def test_address_where_nobody_is_is_one_line(listed: Listed, capsys: pytest.CaptureFixture[str], tmp_path):
    code, line = told([listed.name, *arguments(listed), "--coordinator", f"unix:{tmp_path}/none.sock"], capsys)
    assert (code, "does not answer" in line) == (1, True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("trisync ", {"up", "watch", "completion", "blocks"}),
        ("trisync wat", {"watch", "watch-tx"}),
        ("trisync up --network ", {"mainnet", "mordor", "sepolia"}),
        ("trisync up --network mo", {"mordor"}),
        ("trisync up --syncmode ", {"full", "fast", "light"}),
        ("trisync verify --seal-check c", {"clique"}),
        ("trisync up --log-level ", {"debug", "info", "warning", "error"}),
        ("trisync doctor --network cl", {"classic"}),
        ("trisync disconnects --side ", {"us", "them"}),
        ("trisync disconnects --offence bad", {"bad_head"}),
        ("trisync status --coord", {"--coordinator"}),
        ("trisync completion ", {"bash", "zsh", "fish"}),
    ],
)
def test_shells_complete_commands_flags_and_values(
    words: str, expected: set[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("_TRISYNC_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    with pytest.raises(SystemExit) as end:
        main([])
    found = set(capsys.readouterr().out.split())
    assert end.value.code == 0
    assert found >= expected
    assert all(one.startswith(words.rsplit(" ", maxsplit=1)[-1]) for one in found)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_and_nothing_is_written(
    shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path
):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["completion", shell]) == 0
    assert "_TRISYNC_COMPLETE=complete_" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_orders_of_people_and_programs_differ_in_nothing_but_form(capsys: pytest.CaptureFixture[str]):
    """An enode that is none is refused before any node is asked, with --json too."""
    for more in ([], ["--json"]):
        code, line = told(["add-peer", ENODE[:-40], *more], capsys)
        assert (code, "enode://" in line) == (2, True)


def test_settings_are_printed_by_every_command_that_takes_a_file(capsys: pytest.CaptureFixture[str], tmp_path):
    (tmp_path / "some.toml").write_text('[all]\njson = true\n[coordinator]\ndatadir = "/some"\n')
    for listed in CONFIGURED:
        assert main([listed.name, *arguments(listed), "--config", str(tmp_path / "some.toml"), "--print-config"]) == 0
        shown = capsys.readouterr().out
        assert "json = true" in shown
        assert ('datadir = "/some"' in shown) == ("--datadir" in flags_of(listed))
        assert json.dumps(str(tmp_path))[1:-1] in shown
