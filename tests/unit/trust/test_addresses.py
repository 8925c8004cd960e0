"""Where plaintext is allowed."""

from __future__ import annotations

import pytest

from services.broadcaster.config import BroadcasterConfig
from services.peer_gateway.config import GatewayConfig
from services.shared.runtime.config import read_config
from services.shared.runtime.faults import ConfigInvalid
from services.shared.trust.addresses import is_local, plaintext_refusal
from services.sync_coordinator.config import CoordinatorConfig

LOCAL = ["127.0.0.1:7450", "127.8.9.10:1", "[::1]:7450", "localhost:7450", "unix:/run/c.sock"]
ELSEWHERE = [
    "0.0.0.0:7450",
    "[::]:7450",
    ":7450",
    "10.0.0.1:7450",
    "coordinator:7450",
    "localhost.example:7450",
    "127.0.0.1.example:1",
    "dns:///localhost:1",
    "ipv4:127.0.0.1:1",
    "[::ffff:10.0.0.1]:1",
    "unix-abstract:c",
]
COORDINATOR = ["--network", "mainnet", "--datadir", "/d"]
TLS = ["--tls-cert", "c", "--tls-key", "k", "--tls-ca", "a"]


@pytest.mark.parametrize("address", LOCAL)
def test_what_stays_on_this_machine_may_be_plaintext(address: str):
    assert is_local(address)
    assert plaintext_refusal("--listen", address) is None


@pytest.mark.parametrize("address", ["node", "10.0.0.1", ""])
def test_what_is_no_address_is_told_as_that(address: str):
    assert not is_local(address)
    assert plaintext_refusal("--listen", address) == f"--listen {address!r} is neither host:port nor unix:/path"


@pytest.mark.parametrize("address", ELSEWHERE)
def test_what_leaves_it_is_refused_with_the_address_the_rule_and_what_to_do(address: str):
    refusal = plaintext_refusal("--listen", address)
    assert refusal is not None
    assert refusal.startswith(f"--listen {address} is no loopback address")
    assert "give --tls-cert, --tls-key and --tls-ca" in refusal
    assert "--insecure" in refusal
    assert "\n" not in refusal


@pytest.mark.parametrize(
    ("config", "argv", "named"),
    [
        (CoordinatorConfig, [*COORDINATOR, "--listen", "0.0.0.0:1"], "--listen 0.0.0.0:1"),
        (CoordinatorConfig, [*COORDINATOR, "--listen", "unix:/c", "--listen", ":1"], "--listen :1"),
        (CoordinatorConfig, [*COORDINATOR, "--broadcaster", "b:1"], "--broadcaster b:1"),
        (BroadcasterConfig, ["--coordinator", "c:1"], "--coordinator c:1"),
        (BroadcasterConfig, ["--coordinator", "unix:/c", "--listen", "[::]:1"], r"--listen \[::\]:1"),
        (GatewayConfig, ["--coordinator", "c:1", "--broadcaster", "unix:/b"], "--coordinator c:1"),
        (GatewayConfig, ["--coordinator", "unix:/c", "--broadcaster", "b:1"], "--broadcaster b:1"),
        (
            GatewayConfig,
            ["--coordinator", "unix:/c", "--broadcaster", "unix:/b", "--listen", "0.0.0.0:1"],
            "--listen 0.0.0.0:1",
        ),
    ],
)
def test_service_refuses_plaintext_elsewhere_unless_told_that_it_is_insecure(config: type, argv: list[str], named: str):
    with pytest.raises(ConfigInvalid, match=f"^{named} is no loopback"):
        read_config(config, argv, {})
    assert read_config(config, [*argv, "--insecure"], {}).insecure
    assert not read_config(config, [*argv, *TLS], {}).insecure


@pytest.mark.parametrize("given", [TLS[:2], TLS[:4], TLS[2:]])
def test_certificate_key_and_ca_are_needed_together(given: list[str]):
    with pytest.raises(ConfigInvalid, match="--tls-cert, --tls-key and --tls-ca are needed together"):
        read_config(CoordinatorConfig, [*COORDINATOR, *given], {})


def test_tokens_do_not_cross_a_network_in_plaintext():
    tokens = [*COORDINATOR, "--operator-tokens", "t"]
    assert read_config(CoordinatorConfig, tokens, {}).operator_tokens is not None
    with pytest.raises(ConfigInvalid, match=r"--operator-tokens and --listen 0\.0\.0\.0:1 in plaintext exclude"):
        read_config(CoordinatorConfig, [*tokens, "--listen", "0.0.0.0:1", "--insecure"], {})
    assert read_config(CoordinatorConfig, [*tokens, "--listen", "0.0.0.0:1", *TLS], {}).listen == ("0.0.0.0:1",)


def test_address_for_tokens_needs_tokens_and_tls():
    wanted = [*COORDINATOR, "--token-listen", "0.0.0.0:1"]
    for more in ([], TLS, ["--operator-tokens", "t"]):
        with pytest.raises(ConfigInvalid, match="--token-listen needs --operator-tokens"):
            read_config(CoordinatorConfig, [*wanted, *more], {})
    assert read_config(CoordinatorConfig, [*wanted, *TLS, "--operator-tokens", "t"], {}).token_listen
