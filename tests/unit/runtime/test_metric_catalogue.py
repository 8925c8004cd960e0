"""How metrics are declared: closed label sets, names, and what is exported."""

from __future__ import annotations

import re

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from services.broadcaster.metrics import RPC_SERVICES as BROADCASTER_SERVES
from services.shared.runtime import metric_catalogue
from services.shared.runtime.metric_catalogue import Catalogue, Label, MetricType, UndeclaredLabel
from services.sync_coordinator.metrics import RPC_SERVICES as COORDINATOR_SERVES
from tests.support.exported_metrics import ROOT
from tools.metrics_reference import all_metrics

KIND = Label.of("kind", ("block", "hash"))

EIP_2159 = {
    "ethereum_blockchain_height",
    "ethereum_best_known_block_number",
    "ethereum_peer_count",
    "ethereum_peer_limit",
}

UNIT_IN_THE_MIDDLE = {"coordinator_seconds_since_new_head"}
"""The one whose words would say something else in another order."""


def shown(registry: CollectorRegistry) -> list[str]:
    return [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]


def test_a_small_metric_shows_all_its_series_from_the_start():
    registry = CollectorRegistry()
    Catalogue("x", registry).counters("x_things_total", "Things.", KIND)
    assert shown(registry) == ['x_things_total{kind="block"} 0.0', 'x_things_total{kind="hash"} 0.0']


def test_a_large_metric_shows_what_was_counted():
    registry = CollectorRegistry()
    many = Label.of("many", map(str, range(500)))
    family = Catalogue("x", registry).counters("x_things_total", "Things.", many)
    family.labels("7").inc()
    assert shown(registry) == ['x_things_total{many="7"} 1.0']


def test_an_undeclared_value_is_an_error_in_tests():
    family = Catalogue("x", CollectorRegistry()).counters("x_things_total", "Things.", KIND)
    with pytest.raises(UndeclaredLabel, match="'body' is not declared for label kind of x_things_total"):
        family.labels("body")
    with pytest.raises(UndeclaredLabel, match="2 values"):
        family.labels("block", "hash")


def test_an_undeclared_value_is_other_in_production(monkeypatch):
    monkeypatch.setattr(metric_catalogue, "STRICT", False)
    registry = CollectorRegistry()
    family = Catalogue("x", registry).counters("x_things_total", "Things.", KIND, Label.of("side", ("us",)))
    family.labels("0xmallory", "us").inc()
    family.labels("0xmallory2", "us").inc()
    assert shown(registry) == [
        'x_things_total{kind="block",side="us"} 0.0',
        'x_things_total{kind="hash",side="us"} 0.0',
        'x_things_total{kind="other",side="us"} 2.0',
    ]


def test_declared_pairs_are_shown_from_the_start_and_no_others_are_counted(monkeypatch):
    registry = CollectorRegistry()
    pairs = [("block", "late"), ("block", "lost"), ("hash", "late")]
    family = Catalogue("x", registry).paired_counters("x_drops_total", "Drops.", ("kind", "cause"), pairs)
    assert shown(registry) == [f'x_drops_total{{cause="{cause}",kind="{kind}"}} 0.0' for kind, cause in pairs]
    with pytest.raises(UndeclaredLabel, match="not a declared pair"):
        family.labels("hash", "lost")
    monkeypatch.setattr(metric_catalogue, "STRICT", False)
    family.labels("hash", "lost").inc()
    assert shown(registry)[-1] == 'x_drops_total{cause="other",kind="other"} 1.0'


def test_kept_counters_are_read_when_metrics_are_collected():
    registry = CollectorRegistry()
    counts: dict[tuple[str, ...], float] = {("block",): 1.0}
    kept = Catalogue("x", registry).kept_counters("x_things_total", "Things.", KIND)
    assert shown(registry) == []
    kept.follow(lambda: counts)
    counts["hash",] = 3.0
    assert shown(registry) == ['x_things_total{kind="block"} 1.0', 'x_things_total{kind="hash"} 3.0']


def test_each_name_is_declared_once():
    names = [metric.name for metric in all_metrics()]
    assert len(names) == len(set(names)) > 100


@pytest.mark.parametrize("metric", all_metrics(), ids=lambda metric: metric.name)
def test_names_follow_the_conventions_of_prometheus(metric):
    assert re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", metric.name)
    assert metric.name in EIP_2159 or metric.name.startswith(f"{metric.service}_")
    assert metric.name.endswith("_total") == (metric.type is MetricType.COUNTER)
    assert not re.search(r"_(ms|us|millis|minutes|kb|mb|kilobytes|percent|count|sum|bucket)(_|$)", metric.name) or (
        metric.name in EIP_2159
    )
    if metric.unit and metric.name not in UNIT_IN_THE_MIDDLE:
        assert metric.name.removesuffix("_total").endswith(f"_{metric.unit}")
    assert metric.help.endswith(".") or metric.name.endswith("_info")
    assert metric.group


@pytest.mark.parametrize("metric", all_metrics(), ids=lambda metric: metric.name)
def test_label_sets_are_closed_and_name_nobody(metric):
    for label in metric.labels:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", label.name)
        assert label.name not in ("le", "job", "instance", "peer", "node", "node_id", "address", "gateway")
        assert label.values or metric.name.endswith("_build_info")
        assert len(set(label.values)) == len(label.values)


@pytest.mark.parametrize(
    ("service", "described"), [("sync_coordinator", COORDINATOR_SERVES), ("broadcaster", BROADCASTER_SERVES)]
)
def test_every_rpc_service_that_is_served_has_its_methods_among_the_labels(service, described):
    sources = [path.read_text() for path in (ROOT / "services" / service).glob("**/*.py")]
    served = {name for source in sources for name in re.findall(r"add_(\w+)Servicer_to_server", source)}
    assert served
    assert served <= {descriptor.name for descriptor in described}
