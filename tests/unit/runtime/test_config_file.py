"""The configuration file: what it may say, who reads what of it, and how it is printed."""

from __future__ import annotations

import dataclasses
import tomllib
import typing
from pathlib import Path
from typing import Any

import pytest

from services.broadcaster.config import BroadcasterConfig
from services.peer_gateway.config import GatewayConfig
from services.shared.runtime.config import flag_name, read_config
from services.shared.runtime.config_file import read_config_file
from services.shared.runtime.config_shown import Setting, shown_config
from services.shared.runtime.faults import ConfigInvalid
from services.shared.runtime.setting_names import TABLES
from services.sync_coordinator.config import CoordinatorConfig

CONFIGS: dict[str, type[Any]] = {
    "coordinator": CoordinatorConfig,
    "broadcaster": BroadcasterConfig,
    "gateway": GatewayConfig,
}

WHOLE = """
[all]
network = "mordor"
coordinator = "127.0.0.1:7450"
broadcaster = "127.0.0.1:7451"
log-level = "warning"
until = "head"

[coordinator]
datadir = "/chain"
min-sync-peers = 1
force-sync-cycle = 3
whitelist = ["1=0x%s"]
log-level = "debug"

[broadcaster]
fan-out = "all"

[gateway]
port = 30400
nodiscover = true
netrestrict = ""

[up]
gateways = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "trisync.toml"
    path.write_text(WHOLE % ("ab" * 32))
    return path


def read(table: str, path: Path, *argv: str, **environ: str) -> Any:
    return read_config(CONFIGS[table], ["--config", str(path), *argv], environ)


def problem_of(text: str, path: Path, table: str = "gateway") -> str:
    path.write_text(text)
    with pytest.raises(ConfigInvalid) as problem:
        read(
            table,
            path,
            "--coordinator",
            "127.0.0.1:1",
            *([] if "broadcaster" in text else ["--broadcaster", "127.0.0.1:2"]),
        ) if table != "coordinator" else read(table, path)
    assert "\n" not in str(problem.value)
    return str(problem.value)


@pytest.mark.parametrize("table", CONFIGS)
def test_names_of_settings_are_those_of_the_services(table: str):
    """A setting is missing in, or gone from, services/shared/runtime/setting_names.py when this fails."""
    assert TABLES[table] == {flag_name(field.name)[2:] for field in dataclasses.fields(CONFIGS[table])}


def test_one_file_configures_all_three(file: Path):
    coordinator, broadcaster, gateway = (read(table, file) for table in CONFIGS)
    assert (coordinator.network, coordinator.datadir, coordinator.min_sync_peers) == ("mordor", Path("/chain"), 1)
    assert coordinator.force_sync_cycle == 3.0
    assert type(coordinator.force_sync_cycle) is float
    assert coordinator.whitelist == ("1=0x" + "ab" * 32,)
    assert (broadcaster.fan_out, broadcaster.coordinator) == ("all", "127.0.0.1:7450")
    assert (gateway.port, gateway.nodiscover, gateway.netrestrict) == (30400, True, None)
    assert gateway.broadcaster == ("127.0.0.1:7451",)


def test_own_table_wins_over_the_one_for_all(file: Path):
    assert (read("coordinator", file).log_level, read("gateway", file).log_level) == ("debug", "warning")


def test_flag_wins_over_variable_and_variable_over_file(file: Path):
    assert read("gateway", file, TRISYNC_PORT="2").port == 2
    assert read("gateway", file, "--port", "1", TRISYNC_PORT="2").port == 1
    assert read("gateway", file, TRISYNC_BROADCASTER="[::1]:1,[::1]:2").broadcaster == ("[::1]:1", "[::1]:2")


def test_file_is_named_by_a_variable_too_and_the_flag_wins(file: Path, tmp_path: Path):
    other = tmp_path / "other.toml"
    other.write_text('[coordinator]\ndatadir = "/other"\nnetwork = "mainnet"\n')
    assert read_config(CoordinatorConfig, [], {"TRISYNC_CONFIG": str(other)}).datadir == Path("/other")
    assert read("coordinator", file, TRISYNC_CONFIG=str(other)).datadir == Path("/chain")
    with pytest.raises(ConfigInvalid, match="--datadir is needed"):
        read_config(CoordinatorConfig, [], {"TRISYNC_CONFIG": ""})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[gateway]\nprot = 1", "[gateway] has no key 'prot'; is 'port' meant?"),
        ("[gateway]\nping_interval = 1.0", "has no key 'ping_interval'; is 'ping-interval' meant?"),
        ("[gateway]\nsyncmode = 'full'", "[gateway] has no key 'syncmode'; "),
        ("[coordinator]\nlisen = 'a'", "[coordinator] has no key 'lisen'; is 'listen' meant?"),
        ("[all]\nzzz = 1", "[all] has no key 'zzz'; known are "),
        ("[gatway]\nport = 1", "there is no table [gatway]; is 'gateway' meant?"),
        ("port = 1", "the key 'port' is in no table; put it into [all] or one of [coordinator], "),
        ("[[gateway]]\nport = 1", "'gateway' is in no table"),
        ("[gateway]\nport = 'many'", 'port = "many" in [gateway] of '),
        ("[gateway]\nport = 'many'", "is not a whole number"),
        ("[gateway]\nport = true", "port = true in [gateway] of "),
        ("[gateway]\nport = 1.5", "is not a whole number"),
        ("[gateway]\nnodiscover = 'yes'", "is not true or false"),
        ("[gateway]\nping-interval = 'x'", "is not a number"),
        ("[gateway]\nnetwork = 7", "is not a text"),
        ("[gateway]\ndatadir = 7", "is not a text with a path"),
        ("[gateway]\nbroadcaster = [1]", "is not a text or a list of texts"),
        ("[all]\nlog-level = 'loud'", "is not one of debug, info, warning, error"),
        ("[gateway]\nport = {a = 1}", "is not a whole number"),
        (
            "[gateway]\nbroadcaster = '[::1]:1'\nport = 70000",
            "--port 70000 is not a port (--port is from [gateway] of ",
        ),
        ("[gateway", "is not TOML: "),
        ("a = 'é'\nport = 1\nport = 2", "is not TOML: "),
    ],
)
def test_error_names_key_value_rule_and_file(text: str, told: str, tmp_path: Path):
    path = tmp_path / "bad.toml"
    problem = problem_of(text, path)
    assert told in problem
    assert str(path) in problem


def test_file_that_cannot_be_read_is_told(tmp_path: Path):
    with pytest.raises(ConfigInvalid, match=r"--config .*none\.toml cannot be read: No such file"):
        read("gateway", tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigInvalid, match="is not TOML"):
        read("gateway", tmp_path / "binary.toml")
    (tmp_path / "long.toml").write_bytes(b"#" * 2_000_000)
    with pytest.raises(ConfigInvalid, match="more than 1048576 bytes"):
        read("gateway", tmp_path / "long.toml")


def printed(table: str, path: Path, capsys: pytest.CaptureFixture[str], *argv: str, **environ: str) -> str:
    with pytest.raises(SystemExit) as end:
        read(table, path, "--print-config", *argv, **environ)
    assert end.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("table", CONFIGS)
def test_printed_configuration_gives_the_same_when_it_is_read(
    table: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    again = tmp_path / "again.toml"
    again.write_text(printed(table, file, capsys))
    assert read(table, again) == read(table, file)


def test_printed_configuration_says_where_each_value_comes_from(file: Path, capsys: pytest.CaptureFixture[str]):
    shown = printed("gateway", file, capsys, "--host", "127.0.0.1", TRISYNC_MAXPEERS="7")
    lines = {line.split(" = ")[0]: " ".join(line.split()) for line in shown.splitlines()}
    assert lines["host"] == 'host = "127.0.0.1" # flag --host'
    assert lines["maxpeers"] == "maxpeers = 7 # variable TRISYNC_MAXPEERS"
    assert lines["port"] == f"port = 30400 # [gateway] of {file}"
    assert lines["network"] == f'network = "mordor" # [all] of {file}'
    assert lines["ping-interval"] == "ping-interval = 15.0 # default"
    assert "# gateway-id is not set" in shown
    assert set(tomllib.loads(shown)["gateway"]) <= TABLES["gateway"]


def test_key_is_not_printed_but_the_name_of_its_file_is(file: Path, capsys: pytest.CaptureFixture[str]):
    shown = printed("gateway", file, capsys, TRISYNC_NODEKEY="ab" * 32)
    assert "ab" * 32 not in shown
    assert "# nodekey is set, and not shown" in shown
    assert 'nodekey = "/keys/node"' in printed("gateway", file, capsys, TRISYNC_NODEKEY="/keys/node")


def test_bad_configuration_is_told_and_not_printed(file: Path):
    with pytest.raises(ConfigInvalid, match="--port 70000"):
        read("gateway", file, "--print-config", "--port", "70000")


@pytest.mark.parametrize(
    "value", ['a"b\\c', "tab\tnewline\n\x00\x7f", "é…👩", 1e300, 1e-7, -3, True, ("a", "b,c"), (), float("inf"), 0.1]
)
def test_every_value_is_written_as_toml_has_it(value: object):
    found = tomllib.loads(shown_config("gateway", [Setting("some-key", value, "default")]))["gateway"]["some-key"]
    assert found == (list(value) if isinstance(value, tuple) else value)


def test_every_key_can_be_found_in_its_tables(file: Path):
    config = read_config_file(file)
    found = config.find("log-level", ("coordinator", "all"))
    assert found is not None
    assert (found.value, found.place) == ("debug", f"[coordinator] of {file}")
    assert config.find("gateways", ("all",)) is None


def test_every_type_of_field_has_a_rule():
    """A field of another type could not be set by the file."""
    for config in CONFIGS.values():
        for name, kind in typing.get_type_hints(config).items():
            if name != "TABLE":
                assert any(word in str(kind) for word in ("str", "int", "float", "bool", "Path", "Literal")), name
