"""The configuration file at the commands: what `up` and others take of it, and what beats it."""

from __future__ import annotations

import inspect
import json
import tomllib
from pathlib import Path

import pytest

from services.broadcaster.config import BroadcasterConfig
from services.peer_gateway.config import GatewayConfig
from services.shared.runtime.config import read_config
from services.shared.runtime.setting_names import COMMANDS, TABLES
from services.sync_coordinator.config import CoordinatorConfig
from tests.support.every_command import CONFIGURED
from trisync.cli import main
from trisync.cli.chain_choice import choose_chain
from trisync.cli.configured import flag_settings, tables_for
from trisync.cli.data_dir import DataDir
from trisync.cli.plan import StackOptions, plan_stack

FILE = """
[all]
network = "mordor"
log-level = "warning"
port = 1
[coordinator]
datadir = "/chain"
seal-check = "none"
maxpeers = 50
request-timeout = 7.5
static-peer = ["one", "two"]
[gateway]
port = 30400
nodiscover = true
read-timeout = 45
[broadcaster]
fan-out = "all"
[up]
gateways = 2
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "trisync.toml"
    path.write_text(FILE)
    return path


def settings(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[dict[str, object], dict[str, str]]:
    """What --print-config says: values, and where each comes from."""
    assert main([*map(str, argv), "--print-config"]) == 0
    shown = capsys.readouterr().out
    sources = {line.split(" ")[0]: line.rpartition("  # ")[2] for line in shown.splitlines() if "  # " in line}
    (table,) = tomllib.loads(shown).values()
    return table, sources


def test_up_finds_each_flag_where_its_service_does(file: Path, capsys: pytest.CaptureFixture[str]):
    found, sources = settings(capsys, "up", "--config", file)
    assert (found["network"], found["datadir"], found["seal-check"]) == ("mordor", "/chain", "none")
    assert (found["port"], found["nodiscover"], found["fan-out"], found["gateways"]) == (30400, True, "all", 2)
    assert (found["maxpeers"], found["static-peer"]) == (50, ["one", "two"])
    assert sources["port"] == f"[gateway] of {file}"
    assert sources["network"] == f"[all] of {file}"
    assert sources["gateways"] == f"[up] of {file}"
    assert sources["host"] == "default"


def test_flag_beats_variable_and_variable_beats_file(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("TRISYNC_PORT", "2")
    monkeypatch.setenv("TRISYNC_MAXPEERS", "3")
    found, sources = settings(capsys, "up", "--config", file, "--maxpeers", "4")
    assert (found["port"], sources["port"]) == (2, "variable TRISYNC_PORT")
    assert (found["maxpeers"], sources["maxpeers"]) == (4, "flag --maxpeers")


def test_printed_settings_of_up_give_the_same_when_they_are_read(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    main(["up", "--config", str(file), "--print-config"])
    (tmp_path / "again.toml").write_text(capsys.readouterr().out)
    assert settings(capsys, "up", "--config", tmp_path / "again.toml")[0] == settings(capsys, "up", "--config", file)[0]


def test_file_of_the_variable_is_taken_and_forgotten_again(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("TRISYNC_CONFIG", str(file))
    assert settings(capsys, "verify")[0]["datadir"] == "/chain"
    monkeypatch.delenv("TRISYNC_CONFIG")
    assert settings(capsys, "verify")[0]["datadir"] == "~/.trisync"


def test_commands_work_on_the_store_and_the_node_of_the_coordinators_table(
    file: Path, capsys: pytest.CaptureFixture[str]
):
    assert settings(capsys, "verify", "--config", file)[0]["seal-check"] == "none"
    assert settings(capsys, "status", "--config", file)[0]["datadir"] == "/chain"
    assert main(["status", "--config", str(file)]) == 1
    assert "no coordinator runs on /chain " in capsys.readouterr().err


def test_rules_that_the_file_breaks_are_told_like_those_of_flags(file: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["up", "--config", str(file)]) == 2
    assert "--static-peer: 'one'" in capsys.readouterr().err


def test_key_is_not_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("TRISYNC_NODEKEY", "ab" * 32)
    assert main(["up", "--print-config"]) == 0
    assert "ab" * 32 not in capsys.readouterr().out


def test_every_setting_of_a_command_may_stand_in_the_file():
    """A flag with a variable is missing in services/shared/runtime/setting_names.py when this fails."""
    keys = {}
    for listed in CONFIGURED:
        found = flag_settings(inspect.signature(listed.command, eval_str=True))
        keys[listed.name] = {setting.key for setting in found}
        for key in keys[listed.name]:
            assert all(key in TABLES[table] for table in tables_for(listed.name, key)), (listed.name, key)
    assert TABLES["up"] == keys["up"]
    services = TABLES["coordinator"] | TABLES["broadcaster"] | TABLES["gateway"]
    assert set().union(*keys.values()) - services == COMMANDS


def test_services_of_up_read_the_rest_of_the_file_and_nothing_that_up_decides(file: Path, tmp_path: Path):
    genesis = tmp_path / "genesis.json"
    genesis.write_text(json.dumps({"config": {"chainId": 77}, "gasLimit": "0x1", "difficulty": "0x1", "alloc": {}}))
    chain = choose_chain("", genesis, None)
    plan = plan_stack(StackOptions(data_dir=DataDir(tmp_path), chain=chain, config_file=file, maxpeers=9))
    coordinator = read_config(CoordinatorConfig, plan.coordinator.arguments, plan.coordinator.environment)
    assert coordinator.static_peer == ()
    assert (coordinator.request_timeout, coordinator.network, coordinator.genesis) == (7.5, None, genesis)
    assert (coordinator.maxpeers, coordinator.log_level, coordinator.datadir) == (9, "warning", tmp_path)
    gateway = read_config(GatewayConfig, plan.gateways[0].arguments, plan.gateways[0].environment)
    assert (gateway.read_timeout, gateway.port, gateway.boot_nodes) == (45.0, 30303, ())
    assert not gateway.nodiscover
    broadcaster = read_config(BroadcasterConfig, plan.broadcaster.arguments, {})
    assert (broadcaster.log_level, broadcaster.fan_out) == ("warning", "seed")
