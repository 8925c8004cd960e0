"""The Compose files and .env.example, against the services' configurations."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from services.broadcaster.config import BroadcasterConfig
from services.peer_gateway.config import GatewayConfig
from services.peer_gateway.edges.node_key import load_node_key
from services.shared.chainspec.enode import parse_enode
from services.shared.runtime.config import read_config, variable_name
from services.shared.runtime.config_file import CONFIG_VARIABLE
from services.sync_coordinator.config import CoordinatorConfig
from trisync.certificates import USUAL_SET
from trisync.health import own_address

DEPLOY: Final = Path(__file__).resolve().parents[3] / "deploy"

STACK: Final = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
DEMO: Final = yaml.safe_load((DEPLOY / "compose.demo.yaml").read_text())

TLS: Final = yaml.safe_load((DEPLOY / "compose.tls.yaml").read_text())

CONFIGS: Final[dict[str, type]] = {
    "coordinator": CoordinatorConfig,
    "broadcaster": BroadcasterConfig,
    "peer_gateway": GatewayConfig,
}

NOT_IN_CONTAINERS: Final = {
    "TRISYNC_RUN_DIR",
    "TRISYNC_STOP_WITH_PARENT",
    # Each replica has its own.
    "TRISYNC_GATEWAY_ID",
    "TRISYNC_NODEKEY",
}
FOR_COMMANDS: Final = {"coordinator": {"TRISYNC_COORDINATOR"}}
"""Not for the service, but for what an operator runs beside it."""

TOLD_BY_THE_COORDINATOR: Final = {"peer_gateway": {"TRISYNC_TRUSTED_PEER"}}

FALLBACK: Final = re.compile(r"\$\{([A-Z0-9_]+):?-([^}]*)\}")


def environment(service: str) -> dict[str, str | None]:
    found: dict[str, str | None] = STACK["services"][service]["environment"]
    return found


def tls_environment(service: str) -> dict[str, str | None]:
    """What compose.tls.yaml adds."""
    found: dict[str, str | None] = TLS["services"][service]["environment"]
    return found


def as_started(service: str, **more: str) -> dict[str, str]:
    """The variables of a container where nothing is set in .env."""
    given = {name: value for name, value in environment(service).items() if value is not None}
    return {name: FALLBACK.sub(r"\2", value) for name, value in {**given, **more}.items()}


@pytest.mark.parametrize("service", CONFIGS)
def test_every_setting_of_a_service_is_passed_on_and_none_that_it_does_not_have(service: str):
    known = {variable_name(field.name) for field in dataclasses.fields(CONFIGS[service])}
    wanted = (known | {CONFIG_VARIABLE}) - NOT_IN_CONTAINERS - TOLD_BY_THE_COORDINATOR.get(service, set())
    assert set(environment(service)) | set(tls_environment(service)) == wanted | FOR_COMMANDS.get(service, set())


def test_commands_in_the_coordinators_container_ask_the_coordinator():
    listens, asked = environment("coordinator")["TRISYNC_LISTEN"], environment("coordinator")["TRISYNC_COORDINATOR"]
    assert asked == own_address({"TRISYNC_LISTEN": str(listens)})


@pytest.mark.parametrize("service", CONFIGS)
def test_service_takes_what_it_is_given_where_nothing_is_set(service: str):
    config: Any = read_config(CONFIGS[service], [], as_started(service))
    assert config.metrics_port == 6060


@pytest.mark.parametrize("service", CONFIGS)
def test_certificates_take_the_place_of_plaintext(service: str):
    given = {name: value for name, value in tls_environment(service).items() if value is not None}
    config: Any = read_config(CONFIGS[service], [], as_started(service, **given))
    assert (config.insecure, str(config.tls_ca)) == (False, "/tls/ca.crt")
    assert read_config(CONFIGS[service], [], as_started(service)).insecure


def test_no_service_of_ours_is_left_in_plaintext():
    ours = {name for name, described in STACK["services"].items() if described["image"].startswith("trisync:")}
    assert ours | {"certs"} == set(TLS["services"])
    for name in ours:
        assert TLS["services"][name]["environment"]["TRISYNC_INSECURE"] == "false"


def test_service_sees_no_key_but_its_own():
    for service in CONFIGS:
        assert TLS["services"][service]["volumes"] == [f"${{TRISYNC_CERTS:-./certs}}/{service}:/tls:ro"]
        assert service in {wanted.name for wanted in USUAL_SET}


def test_genesis_file_takes_the_place_of_a_network():
    variables = as_started("coordinator", TRISYNC_NETWORK="", TRISYNC_GENESIS="/config/genesis.json")
    assert read_config(CoordinatorConfig, [], variables).network is None


@pytest.mark.parametrize("service", CONFIGS)
def test_example_of_a_configuration_file_sets_the_defaults(service: str):
    file = DEPLOY / "config" / "trisync.toml"
    with_file: Any = read_config(CONFIGS[service], [], as_started(service, TRISYNC_CONFIG=str(file)))
    assert with_file == read_config(CONFIGS[service], [], as_started(service))


def test_every_service_sees_the_directory_of_the_configuration_file():
    for service in CONFIGS:
        assert "./config:/config:ro" in STACK["services"][service]["volumes"]


def test_example_documents_every_variable_and_no_other():
    files = ("compose.yaml", "compose.tls.yaml")
    used = {name for file in files for name in re.findall(r"\$\{([A-Z0-9_]+)", (DEPLOY / file).read_text())}
    for service in CONFIGS:
        passed_on = {**environment(service), **tls_environment(service)}
        used |= {name for name, value in passed_on.items() if value is None}
    documented = re.findall(r"^#([A-Z0-9_]+)=", (DEPLOY / ".env.example").read_text(), re.MULTILINE)
    assert set(documented) - {"COMPOSE_PROJECT_NAME", "COMPOSE_PROFILES"} == used
    assert len(documented) == len(set(documented))


def test_example_has_the_defaults_of_the_compose_file():
    text = "".join((DEPLOY / file).read_text() for file in ("compose.yaml", "compose.tls.yaml"))
    example = dict(re.findall(r"^#([A-Z0-9_]+)=(.*)$", (DEPLOY / ".env.example").read_text(), re.MULTILINE))
    assert {name: example[name] for name, _ in FALLBACK.findall(text)} == dict(FALLBACK.findall(text))


@pytest.mark.parametrize("service", [*STACK["services"], "source"])
def test_every_service_has_a_health_check_and_no_more_rights_than_needed(service: str):
    described = {**STACK["services"], "source": DEMO["services"]["source"]}[service]
    assert described["healthcheck"]["test"]
    assert described["cap_drop"] == ["ALL"]
    assert described["restart"] == "unless-stopped"


MORE_GATEWAYS: Final = ("peer_gateway_1", "peer_gateway_2")


@pytest.mark.parametrize("service", MORE_GATEWAYS)
def test_further_gateway_advertises_the_port_that_it_is_published_on_and_is_else_like_the_first(service: str):
    first, further = STACK["services"]["peer_gateway"], STACK["services"][service]
    told = further["environment"]["TRISYNC_ADVERTISED_PORT"]
    assert further["ports"] == [f"{told}:30303/tcp", f"{told}:30303/udp"]
    assert {**further["environment"], "TRISYNC_ADVERTISED_PORT": None} == first["environment"]
    # Prometheus finds it by the name of the first.
    assert further["networks"] == {"links": {"aliases": ["peer_gateway"]}, "peers": None}
    own = {"environment", "ports", "networks", "profiles"}
    assert {key: further[key] for key in further.keys() - own} == {key: first[key] for key in first.keys() - own}
    variables = {key: value for key, value in further["environment"].items() if value is not None}
    config: Any = read_config(GatewayConfig, [], {key: FALLBACK.sub(r"\2", value) for key, value in variables.items()})
    assert config.advertised_port in (30304, 30305)


def test_links_are_internal_and_only_services_for_outsiders_publish_ports():
    assert STACK["networks"]["links"] == {"internal": True}
    publish = {name for name, described in STACK["services"].items() if "ports" in described}
    assert publish == {"coordinator", "peer_gateway", *MORE_GATEWAYS, "prometheus", "grafana"}
    for name in publish - {"peer_gateway", *MORE_GATEWAYS}:
        assert "127.0.0.1:" in STACK["services"][name]["ports"][0]


def test_demonstration_follows_its_own_source():
    key = load_node_key(DEMO["services"]["source"]["environment"]["TRISYNC_NODEKEY"], None)
    told = parse_enode(DEMO["services"]["coordinator"]["environment"]["TRISYNC_STATIC_PEER"])
    assert told.node_id == key.public_key.format(compressed=False)[1:]
    assert told.host == "source"


def test_prometheus_scrapes_every_service():
    scrapes = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    assert {job["job_name"] for job in scrapes} == {*CONFIGS, "prometheus"}


def test_prometheus_and_grafana_are_given_our_rules_and_dashboards():
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    assert [list((DEPLOY / "prometheus").glob(pattern)) != [] for pattern in config["rule_files"]] == [True]
    assert "./prometheus:/etc/prometheus:ro" in STACK["services"]["prometheus"]["volumes"]
    provider = yaml.safe_load((DEPLOY / "grafana" / "provisioning" / "dashboards" / "files.yaml").read_text())
    (shown,) = provider["providers"]
    assert f"./grafana/dashboards:{shown['options']['path']}:ro" in STACK["services"]["grafana"]["volumes"]
    source = yaml.safe_load((DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yaml").read_text())
    assert [one["type"] for one in source["datasources"]] == ["prometheus"]


def test_no_gateway_of_the_demonstration_searches_for_peers():
    for service in ("peer_gateway", *MORE_GATEWAYS):
        assert DEMO["services"][service]["environment"]["TRISYNC_NODISCOVER"] == "true"
        assert "source" in DEMO["services"][service]["depends_on"]
