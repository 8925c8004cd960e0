"""Gateways that share a data directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.peer_gateway.config import GatewayConfig
from services.peer_gateway.edges.own_directory import MOST_GATEWAYS, own_directory
from services.shared.runtime.faults import ConfigInvalid, StartRefused


def config(datadir: Path | None, *, shared: bool = True, **more: str) -> GatewayConfig:
    links = {"coordinator": "localhost:1", "broadcaster": ("localhost:2",)}
    return GatewayConfig(datadir=datadir, shared_datadir=shared, **links, **more)  # type: ignore[arg-type]


def test_each_gateway_has_a_directory_and_a_name_of_its_own(tmp_path: Path):
    with own_directory(config(tmp_path)) as alice, own_directory(config(tmp_path)) as bob:
        assert (alice.datadir, alice.gateway_id) == (tmp_path / "gateway-0", "gateway-0")
        assert (bob.datadir, bob.gateway_id) == (tmp_path / "gateway-1", "gateway-1")


def test_directory_is_free_again_once_its_gateway_ended(tmp_path: Path):
    with own_directory(config(tmp_path)):
        with own_directory(config(tmp_path)) as bob:
            assert bob.gateway_id == "gateway-1"
        with own_directory(config(tmp_path)) as again:
            assert again.gateway_id == "gateway-1"


def test_name_that_is_given_is_kept(tmp_path: Path):
    with own_directory(config(tmp_path, gateway_id="alice")) as alice:
        assert (alice.gateway_id, alice.datadir) == ("alice", tmp_path / "gateway-0")


def test_configuration_is_as_it_is_when_nothing_is_shared(tmp_path: Path):
    given = config(tmp_path, shared=False)
    with own_directory(given) as own:
        assert own is given
    assert not list(tmp_path.iterdir())


def test_one_gateway_too_many_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert MOST_GATEWAYS == 64
    monkeypatch.setattr("services.peer_gateway.edges.own_directory.MOST_GATEWAYS", 1)
    with (
        own_directory(config(tmp_path)),
        pytest.raises(StartRefused, match="in use by other gateways"),
        own_directory(config(tmp_path)),
    ):
        pass


def test_directory_that_cannot_be_made_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StartRefused, match="cannot use"), own_directory(config(tmp_path / "file")):
        pass


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (lambda path: config(None), "--shared-datadir needs --datadir"),
        (lambda path: config(path, nodekey="ab" * 32), "exclude each other"),
        (lambda path: config(path, network="nowhere"), "--network: unknown network 'nowhere'"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(tmp_path: Path, made: object, text: str):
    assert callable(made)
    with pytest.raises(ConfigInvalid, match=text):
        made(tmp_path)


def test_boot_nodes_are_those_of_the_network_unless_some_or_none_are_named(tmp_path: Path):
    assert config(tmp_path, network="mainnet").boot_nodes
    none = GatewayConfig(coordinator="localhost:1", broadcaster=("localhost:2",), network="mainnet", bootnodes=("",))
    assert none.boot_nodes == ()
