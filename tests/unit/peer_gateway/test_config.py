"""The gateway's configuration."""

from __future__ import annotations

import pytest

from services.peer_gateway.config import GatewayConfig
from services.shared.chainspec.enode import parse_enode
from services.shared.runtime.config import read_config
from services.shared.runtime.faults import ConfigInvalid
from tests.support.nodes import real_id

ALICE, BOB = (f"enode://{real_id(name).hex()}@127.0.0.1:30303" for name in ("alice", "bob"))
NEEDED = ["--coordinator", "unix:/run/c.sock", "--broadcaster", "unix:/run/b.sock"]


def config(*flags: str) -> GatewayConfig:
    return read_config(GatewayConfig, [*NEEDED, *flags], environ={})


def test_defaults_are_those_of_the_specification():
    made = config()
    assert (made.port, made.handshake_timeout, made.read_timeout, made.write_timeout) == (30303, 5.0, 30.0, 20.0)
    assert (made.ping_interval, made.dial_timeout, made.redial_after, made.pending_peers) == (15.0, 15.0, 30.0, 50)
    assert made.question_patience == 10.0


def test_addresses_of_the_services_are_needed():
    with pytest.raises(ConfigInvalid, match="--coordinator is needed"):
        read_config(GatewayConfig, [], environ={})


def test_boot_nodes_are_separated_by_commas_or_repeated():
    both = (parse_enode(ALICE), parse_enode(BOB))
    assert config("--bootnodes", f"{ALICE}, {BOB}").boot_nodes == both
    assert config("--bootnodes", ALICE, "--bootnodes", BOB).boot_nodes == both
    assert read_config(GatewayConfig, NEEDED, {"TRISYNC_BOOTNODES": f"{ALICE},{BOB}"}).boot_nodes == both
    assert config("--bootnodes", "").boot_nodes == config().boot_nodes == ()


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--port", "70000"], "--port 70000 is not a port"),
        (["--advertised-port", "0"], "--advertised-port 0 is not a port"),
        (["--advertised-address", "node.example"], "--advertised-address 'node.example' is not an IP address"),
        (["--advertised-address", "0.0.0.0"], "'0.0.0.0' is not an IP address of one machine"),
        (["--metrics-port", "-1"], "--metrics-port -1 is not a port"),
        (["--dial-timeout", "0"], "--dial-timeout 0.0 must be more than 0 seconds"),
        (["--redial-after", "-1"], "--redial-after -1.0 must not be below 0 seconds"),
        (["--read-timeout", "10"], "--read-timeout 10.0 must be more than --ping-interval 15.0"),
        (["--pending-peers", "0"], "--pending-peers 0 must be at least 1"),
        (["--root-workers", "-1"], "--root-workers -1 must not be below 0"),
        (["--maxpeers", "-2"], "--maxpeers -2 must not be below 0"),
        (["--gateway-id", "a b"], "--gateway-id 'a b' must be"),
        (["--trusted-peer", "enode://12"], "--trusted-peer: 'enode://12' is not an enode URL"),
        (["--bootnodes", "enode://12"], "--bootnodes: 'enode://12' is not an enode URL"),
        (["--bootnodes", f"{ALICE},{BOB}?discport=0"], "takes no part in discovery"),
        (["--log-level", "loud"], "'loud' is not one of debug"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_value_that_breaks_its_rule_is_refused_in_words(flags: list[str], text: str):
    with pytest.raises(ConfigInvalid, match=text):
        config(*flags)
