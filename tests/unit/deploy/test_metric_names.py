"""Dashboards, rules and pages name metrics that exist, and the reference names all of them."""

from __future__ import annotations

import json

import pytest

from services.shared.runtime.metric_catalogue import Label, Metric, MetricType
from tests.support.exported_metrics import (
    ROOT,
    ExportedMetrics,
    dashboard_files,
    exported_metrics,
    rule_files,
)
from tools.metrics_reference import PAGE, all_metrics, page

PAGES = sorted((ROOT / "docs").glob("*.md"))


@pytest.fixture(scope="module")
def exported() -> ExportedMetrics:
    return exported_metrics()


def test_the_reference_is_made_of_the_declarations():
    assert PAGE.read_text() == page(all_metrics()), "docs/metrics.md is stale: run python -m tools.metrics_reference"


def test_every_exported_metric_is_in_the_reference():
    text = PAGE.read_text()
    assert [metric.name for metric in all_metrics() if f"`{metric.name}`" not in text] == []


def test_pages_name_metrics_that_exist(exported):
    assert [problem for path in PAGES for problem in exported.problems_of_page(path.read_text())] == []


def test_dashboards_name_metrics_that_exist(exported):
    assert [problem for path in dashboard_files() for problem in exported.problems_of_dashboard(path.read_text())] == []


def test_rules_name_metrics_that_exist(exported):
    assert [problem for path in rule_files() for problem in exported.problems_of_rules(path.read_text())] == []


# That the checks find something.

KIND = Label.of("kind", ("block", "hash"))


@pytest.fixture
def small() -> ExportedMetrics:
    def metric(name: str, kind: MetricType) -> Metric:
        return Metric(service="broadcaster", name=name, type=kind, help="", group="", labels=(KIND,))

    found = ExportedMetrics(
        [
            metric("broadcaster_things_total", MetricType.COUNTER),
            metric("broadcaster_wait_seconds", MetricType.HISTOGRAM),
        ],
        ["broadcaster"],
    )
    found.add_recorded("job:things:rate5m", "sum by (job) (rate(broadcaster_things_total[5m]))")
    return found


@pytest.mark.parametrize(
    "expr",
    [
        'sum by (kind) (rate(broadcaster_things_total{kind="block", job="broadcaster"}[5m]))',
        'broadcaster_things_total{kind=~"block|hash", instance=~".+"}',
        'broadcaster_things_total{kind=~"$kind"}',
        "histogram_quantile(0.9, sum by (le, kind) (rate(broadcaster_wait_seconds_bucket[5m])))",
        "broadcaster_wait_seconds_sum / broadcaster_wait_seconds_count",
        'job:things:rate5m{job="broadcaster"}',
        'sum by (job) (up) == 0 or ALERTS{alertname="Down"}',
        "prometheus_notifications_total",
    ],
)
def test_what_exists_is_no_problem(small, expr):
    assert small.problems_of_expression(expr) == []


@pytest.mark.parametrize(
    ("expr", "problem"),
    [
        ("broadcaster_things", "no service exports broadcaster_things"),
        ("rate(broadcaster_wait_seconds[5m])", "no service exports broadcaster_wait_seconds"),
        ("broadcaster_things_total_bucket", "no service exports"),
        ('broadcaster_things_total{sort="block"}', "no label sort"),
        ('broadcaster_things_total{kind="body"}', "kind is never 'body'"),
        ('broadcaster_things_total{kind=~"block|body"}', "kind is never"),
        ('broadcaster_things_total{job="broadcasters"}', "job is never"),
        ("sum by (le) (broadcaster_things_total)", "no series has the label le"),
        ("sum(broadcaster_things_total) by (peer)", "no series has the label peer"),
        ("broadcaster_things_total * on (peer) up", "no series has the label peer"),
        ('job:things:rate5m{kind="block"}', "no label kind"),
        ("process_resident_memory_bytes", "no service exports"),
        ("sum(up", "is not closed"),
    ],
)
def test_what_does_not_exist_is_found(small, expr, problem):
    assert any(problem in found for found in small.problems_of_expression(expr))


def panel(expr: str, legend: str = "") -> str:
    return json.dumps({"panels": [{"panels": [{"targets": [{"expr": expr, "legendFormat": legend}]}]}]})


def variable(query: object) -> str:
    return json.dumps({"templating": {"list": [{"query": query}]}})


@pytest.mark.parametrize(
    ("dashboard", "problems"),
    [
        (panel("sum by (kind) (broadcaster_things_total)", "{{kind}}"), 0),
        (panel("broadcaster_gone_total"), 1),
        (panel("sum(broadcaster_things_total)", "{{kind}}"), 1),
        (variable("label_values(broadcaster_things_total, kind)"), 0),
        (variable({"query": "label_values(broadcaster_things_total, sort)"}), 1),
    ],
)
def test_dashboards_are_read_to_their_depth(small, dashboard, problems):
    assert len(small.problems_of_dashboard(dashboard)) == problems


RULES = """
groups:
  - name: things
    rules:
      - record: kind:things:rate5m
        expr: sum by (kind) (rate(broadcaster_things_total[5m]))
      - alert: NoThings
        expr: kind:things:rate5m == 0
        annotations:
          summary: "no {{ $labels.kind }} on {{ $labels.instance }}"
      - alert: Gone
        expr: broadcaster_gone_total > 0
"""


def test_rules_may_use_what_rules_record(small):
    small.add_rules(RULES)
    labels, gone = small.problems_of_rules(RULES)
    assert "shows instance" in labels
    assert "broadcaster_gone_total" in gone


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("`broadcaster_things_total` and `broadcaster_wait_seconds{kind}`, from `broadcaster_link.py`", 0),
        ('`broadcaster_things_total{kind="block"}`', 0),
        ("`broadcaster_things`", 1),
        ("`broadcaster_things_total{sort}`", 1),
        ('`broadcaster_things_total{kind="body"}`', 1),
    ],
)
def test_pages_are_searched_for_code_that_is_a_metric(small, text, problems):
    assert len(small.problems_of_page(text)) == problems
