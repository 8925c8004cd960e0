from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from services.shared.runtime.config import field_docstrings, read_config
from services.shared.runtime.faults import ConfigInvalid


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleConfig:
    """A service for the tests."""

    datadir: Path
    """Where the store is;
    100% of it."""

    mode: Literal["full", "light"] = "full"
    max_peers: int = 25
    cycle_s: float = 10.0
    static_peer: tuple[str, ...] = ()
    genesis: Path | None = None
    networkid: int | None = 7
    log_json: bool = False

    def __post_init__(self) -> None:
        if self.max_peers < 1:
            raise ValueError(f"--max-peers {self.max_peers} is not above 0")


def read(*argv: str, **environ: str) -> ExampleConfig:
    return read_config(ExampleConfig, argv, environ)


def test_defaults_hold_when_nothing_else_is_given():
    assert read("--datadir", "d") == ExampleConfig(datadir=Path("d"))


def test_variable_is_read_when_the_flag_is_absent():
    found = read(TRISYNC_DATADIR="d", TRISYNC_MAX_PEERS="3", TRISYNC_MODE="light", TRISYNC_CYCLE_S="0.5")
    assert found == ExampleConfig(datadir=Path("d"), max_peers=3, mode="light", cycle_s=0.5)


def test_flag_wins_over_its_variable():
    assert read("--datadir", "flag", TRISYNC_DATADIR="variable").datadir == Path("flag")


def test_repeated_flag_fills_a_tuple():
    assert read("--datadir", "d", "--static-peer", "a", "--static-peer", "b,c").static_peer == ("a", "b,c")


@pytest.mark.parametrize(("variable", "expected"), [("a, b", ("a", "b")), ("a", ("a",)), ("", ()), (",a,", ("a",))])
def test_variable_of_a_tuple_is_split_at_commas(variable: str, expected: tuple[str, ...]):
    assert read("--datadir", "d", TRISYNC_STATIC_PEER=variable).static_peer == expected


@pytest.mark.parametrize(
    ("argv", "expected"),
    [(["--log-json"], True), (["--log-json=false"], False), (["--log-json=yes"], True), ([], False)],
)
def test_switch_is_set_by_its_mere_presence(argv: list[str], expected: bool):
    assert read("--datadir", "d", *argv).log_json is expected


@pytest.mark.parametrize(("word", "expected"), [("1", True), ("off", False), ("", False)])
def test_switch_is_read_from_its_variable(word: str, expected: bool):
    assert read("--datadir", "d", TRISYNC_LOG_JSON=word).log_json is expected


def test_empty_optional_value_means_none():
    assert read("--datadir", "d", TRISYNC_NETWORKID="").networkid is None


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ([], ["--datadir", "TRISYNC_DATADIR"]),
        (["--datadir", "d", "--max-peers", "many"], ["--max-peers", "'many'", "whole number"]),
        (["--datadir", "d", "--cycle-s", "x"], ["--cycle-s", "'x'", "number"]),
        (["--datadir", "d", "--mode", "fast"], ["--mode", "'fast'", "full, light"]),
        (["--datadir", "d", "--log-json=perhaps"], ["--log-json", "'perhaps'", "true or false"]),
        (["--datadir", "d", "--max-peers", "0"], ["--max-peers 0", "above 0"]),
        (["--datadir", "d", "--unknown"], ["--unknown", "--help"]),
        (["--data", "d"], ["--data"]),
    ],
)
def test_error_names_flag_value_and_rule_when_a_flag_is_bad(argv: list[str], told: list[str]):
    with pytest.raises(ConfigInvalid) as problem:
        read(*argv)
    assert all(part in str(problem.value) for part in told)
    assert "\n" not in str(problem.value)


def test_error_names_the_variable_when_that_is_bad():
    with pytest.raises(ConfigInvalid, match="TRISYNC_MAX_PEERS 'many'"):
        read("--datadir", "d", TRISYNC_MAX_PEERS="many")


def test_string_after_a_field_is_its_help():
    assert field_docstrings(ExampleConfig) == {"datadir": "Where the store is; 100% of it."}


def test_help_lists_every_flag_with_its_variable(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        read("--help")
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert "--static-peer" in shown
    assert "TRISYNC_STATIC_PEER" in shown
    assert "100% of it" in shown
    assert "[TRISYNC_MAX_PEERS; default 25]" in " ".join(shown.split())
    assert "[TRISYNC_NETWORKID; default 7]" in " ".join(shown.split())
    assert "[TRISYNC_STATIC_PEER]" in shown
    assert "usage: python -m tests.unit.runtime " in " ".join(shown.split())


def test_reader_of_the_printed_settings_may_be_gone(monkeypatch: pytest.MonkeyPatch):
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as nobody:
        monkeypatch.setattr("sys.stdout", nobody)
        with pytest.raises(SystemExit) as ended:
            read("--datadir", "d", "--print-config")
    assert ended.value.code == 0
