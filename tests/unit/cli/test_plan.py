from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from services.broadcaster.config import BroadcasterConfig
from services.peer_gateway.config import GatewayConfig
from services.shared.chainspec.enode import parse_enode
from services.shared.chainspec.networks import network
from services.shared.runtime.config import read_config
from services.sync_coordinator.config import CoordinatorConfig
from trisync.cli.chain_choice import ChainChoice
from trisync.cli.data_dir import DataDir
from trisync.cli.failures import BadUsage
from trisync.cli.plan import GATHER_S, ServicePlan, StackOptions, plan_stack

ENODE = (
    "enode://79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
    "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8@127.0.0.1:30304"
)

OPTIONS = StackOptions(data_dir=DataDir(Path("/d")), chain=ChainChoice("mainnet", None, 1))


def gateway_config(plan: ServicePlan, variables: Mapping[str, str] | None = None) -> GatewayConfig:
    return read_config(GatewayConfig, plan.arguments, {**(variables or {}), **plan.environment})


def test_services_find_each_other_at_sockets_in_the_run_directory():
    plan = plan_stack(OPTIONS)
    broadcaster = read_config(BroadcasterConfig, plan.broadcaster.arguments, {})
    coordinator = read_config(CoordinatorConfig, plan.coordinator.arguments, {})
    gateway = gateway_config(plan.gateways[0])
    assert (
        coordinator.listen == (gateway.coordinator,) == (broadcaster.coordinator,) == ("unix:/d/run/coordinator.sock",)
    )
    assert broadcaster.listen == gateway.broadcaster == coordinator.broadcaster == ("unix:/d/run/broadcaster.sock",)
    assert plan.coordinator_address == "unix:/d/run/coordinator.sock"


def test_every_service_stops_with_its_parent_and_has_its_own_log_and_ready_file():
    plan = plan_stack(replace(OPTIONS, gateways=3))
    assert all("--stop-with-parent" in service.arguments for service in plan.services)
    assert len({service.log_path for service in plan.services}) == 5
    assert len({service.ready_path for service in plan.services}) == 5


def test_options_reach_the_services_they_are_for():
    options = replace(
        OPTIONS,
        chain=ChainChoice(None, Path("/g.json"), 1337),
        syncmode="light",
        seal_check="none",
        seal_sample=True,
        static_peers=(ENODE,),
        trusted_peers=(ENODE,),
        netrestrict="10.0.0.0/8,fd00::/8",
        nodiscover=True,
        nodekey="/key",
        min_sync_peers=2,
        listen=("127.0.0.1:7450",),
    )
    plan = plan_stack(options)
    coordinator = read_config(CoordinatorConfig, plan.coordinator.arguments, {})
    gateway = gateway_config(plan.gateways[0])
    assert (coordinator.genesis, coordinator.network, coordinator.networkid) == (Path("/g.json"), None, 1337)
    assert (coordinator.syncmode, coordinator.seal_check, coordinator.min_sync_peers) == ("light", "none", 2)
    assert coordinator.seal_sample
    assert not read_config(CoordinatorConfig, plan_stack(OPTIONS).coordinator.arguments, {}).seal_sample
    # Gateways hear of trusted nodes from the coordinator, which may change its mind.
    assert (coordinator.static_peer, coordinator.trusted_peer, gateway.trusted_peer) == ((ENODE,), (ENODE,), ())
    assert gateway.netrestrict == "10.0.0.0/8,fd00::/8"
    assert coordinator.listen == ("unix:/d/run/coordinator.sock", "127.0.0.1:7450")
    assert (gateway.nodiscover, gateway.nodekey) == (True, "/key")


def test_variables_of_up_do_not_reach_a_gateway_as_its_own():
    plan = plan_stack(replace(OPTIONS, maxpeers=9, listen=("127.0.0.1:7450",)))
    variables = {"TRISYNC_LISTEN": "127.0.0.1:7450", "TRISYNC_MAXPEERS": "3", "TRISYNC_METRICS_PORT": "9100"}
    gateway = gateway_config(plan.gateways[0], {**variables, "TRISYNC_TRUSTED_PEER": ENODE, "TRISYNC_DATADIR": "/x"})
    assert (gateway.listen, gateway.maxpeers, gateway.metrics_port) == ("127.0.0.1:0", 9, 0)
    assert (gateway.trusted_peer, gateway.datadir) == ((), Path("/d/gateway-0"))


def test_certificates_are_for_the_further_addresses_of_the_coordinator():
    files = (Path("/c"), Path("/k"), Path("/ca"))
    plan = plan_stack(replace(OPTIONS, listen=("0.0.0.0:7450",), tls_files=files))
    coordinator = read_config(CoordinatorConfig, plan.coordinator.arguments, {})
    assert (coordinator.tls_cert, coordinator.tls_key, coordinator.tls_ca) == files
    variables = {"TRISYNC_TLS_CERT": "/c", "TRISYNC_TLS_KEY": "/k", "TRISYNC_TLS_CA": "/ca"}
    assert gateway_config(plan.gateways[0], variables).tls_ca is None
    broadcaster = plan.broadcaster
    assert (
        read_config(BroadcasterConfig, broadcaster.arguments, {**variables, **broadcaster.environment}).tls_ca is None
    )


def test_plaintext_beyond_loopback_is_refused_before_anything_starts():
    with pytest.raises(BadUsage, match=r"--listen 0\.0\.0\.0:7450 is no loopback address"):
        replace(OPTIONS, listen=("127.0.0.1:1", "0.0.0.0:7450"))
    plan = plan_stack(replace(OPTIONS, listen=("0.0.0.0:7450",), insecure=True))
    assert read_config(CoordinatorConfig, plan.coordinator.arguments, {}).insecure


def test_gateways_have_ports_in_a_row_and_keys_of_their_own():
    plan = plan_stack(replace(OPTIONS, gateways=3, port=30303, nodekey="/key", metrics_port=9100))
    gateways = [gateway_config(gateway) for gateway in plan.gateways]
    assert [gateway.port for gateway in gateways] == [30303, 30304, 30305]
    assert [gateway.nodekey for gateway in gateways] == ["/key", "/d/nodekey-1", "/d/nodekey-2"]
    assert [gateway.metrics_port for gateway in gateways] == [9102, 9103, 9104]
    assert len({gateway.gateway_id for gateway in gateways}) == 3
    assert len({gateway.datadir for gateway in gateways}) == 3


def test_gateways_wait_for_each_other_before_they_dial_and_a_single_one_for_nobody():
    for gateways, dial_after in ((1, 0.0), (3, GATHER_S)):
        plan = plan_stack(replace(OPTIONS, gateways=gateways))
        assert {gateway_config(gateway).dial_after for gateway in plan.gateways} == {dial_after}


def test_node_key_never_stands_on_a_command_line():
    key = "11" * 32
    plan = plan_stack(replace(OPTIONS, nodekey=key))
    assert gateway_config(plan.gateways[0]).nodekey == key
    assert not any(key in word for service in plan.services for word in service.arguments)


def test_any_free_port_stays_any_free_port_for_every_gateway():
    plan = plan_stack(replace(OPTIONS, gateways=2, port=0))
    assert [gateway_config(gateway).port for gateway in plan.gateways] == [0, 0]


def test_gateways_begin_their_search_at_the_boot_nodes_of_the_network():
    plan = plan_stack(replace(OPTIONS, gateways=2))
    for gateway in plan.gateways:
        assert gateway_config(gateway).boot_nodes == network("mainnet").boot_nodes
    private = plan_stack(replace(OPTIONS, chain=ChainChoice(None, Path("/g.json"), 1337)))
    assert gateway_config(private.gateways[0]).boot_nodes == ()


def test_boot_nodes_given_to_up_replace_those_of_the_network_and_its_variable():
    variables = {"TRISYNC_BOOTNODES": ENODE}
    given = gateway_config(plan_stack(replace(OPTIONS, bootnodes=(ENODE,))).gateways[0])
    assert given.boot_nodes == (parse_enode(ENODE),)
    none = gateway_config(plan_stack(replace(OPTIONS, bootnodes=())).gateways[0], variables)
    assert none.boot_nodes == ()


def test_gateways_remember_nodes_in_directories_of_their_own():
    plan = plan_stack(replace(OPTIONS, gateways=2))
    assert [gateway_config(one).datadir for one in plan.gateways] == [Path("/d/gateway-0"), Path("/d/gateway-1")]


def test_sockets_move_to_a_short_directory_when_the_path_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    data_dir = DataDir(Path("/") / ("d" * 120))
    sockets = data_dir.sockets_dir()
    assert sockets.parent == tmp_path
    assert sockets.stat().st_mode & 0o777 == 0o700
    assert data_dir.sockets_dir() == sockets
    assert plan_stack(replace(OPTIONS, data_dir=data_dir)).coordinator_address == f"unix:{sockets}/coordinator.sock"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("port", 65_536, "--port 65536"),
        ("port", -1, "--port -1"),
        ("gateways", 0, "--gateways 0"),
        ("metrics_port", 65_535, "--metrics-port 65535"),
        ("static_peers", ("enode://x@127.0.0.1:1",), "--static-peer: 'enode://x@127.0.0.1:1'"),
        ("trusted_peers", ("http://x",), "--trusted-peer: 'http://x'"),
        ("netrestrict", "10.0.0.0/40", "--netrestrict: '10.0.0.0/40'"),
        ("bootnodes", ("enr:x",), "--bootnodes: 'enr:x'"),
        ("bootnodes", (f"{ENODE}?discport=0",), "takes no part in discovery"),
        ("seal_sample", True, "--seal-sample is for --syncmode light"),
        ("maxpeers", 0, "--maxpeers 0"),
        ("min_sync_peers", 0, "--min-sync-peers 0"),
        ("force_sync_cycle", 0.0, "--force-sync-cycle 0.0"),
        ("force_sync_cycle", float("nan"), "--force-sync-cycle nan"),
    ],
)
def test_bad_option_is_refused_with_flag_and_value(name: str, value: object, told: str):
    with pytest.raises(BadUsage, match=told):
        StackOptions(data_dir=OPTIONS.data_dir, chain=OPTIONS.chain, **{name: value})  # type: ignore[arg-type]


def test_fan_out_is_told_to_the_broadcaster():
    for policy in ("seed", "sqrt", "all"):
        plan = plan_stack(replace(OPTIONS, fan_out=policy))
        assert read_config(BroadcasterConfig, plan.broadcaster.arguments, {}).fan_out == policy
