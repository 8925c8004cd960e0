"""Writes docs/metrics.md from the declarations of all metrics: `python -m tools.metrics_reference`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry

from services.broadcaster.metrics import BroadcasterMetrics
from services.peer_gateway.metrics import GatewayMetrics
from services.shared.runtime.metric_catalogue import Label, Metric, MetricType
from services.sync_coordinator.metrics import CoordinatorMetrics

PAGE: Final = Path(__file__).parents[1] / "docs" / "metrics.md"

FEW_VALUES: Final = 14
"""A label with more values has them in a list of its own, once."""

HEAD: Final = """\
# Metrics

Made by `python -m tools.metrics_reference` from the declarations in `services/*/metrics.py`; a test compares them.
Every service shows its metrics at `/metrics` of its `--metrics-port`. A counter ends with `_total`; a histogram is
three series, with the endings `_bucket` (label `le`), `_sum` and `_count`; a state has one series for each state, and
1 for the one that holds. Times are in seconds, sizes in bytes. Labels have the values listed here and no others, never
a peer's name or id. A label `other` that is not listed counts what was not thought of: a defect, please report it.
"""

TITLES: Final = {
    "coordinator": "The coordinator",
    "peer_gateway": "A gateway",
    "broadcaster": "The broadcaster",
}


def all_metrics() -> list[Metric]:
    """What all services declare."""
    catalogues = (
        CoordinatorMetrics(CollectorRegistry()).catalogue,
        GatewayMetrics(CollectorRegistry()).catalogue,
        BroadcasterMetrics(CollectorRegistry()).catalogue,
    )
    return [metric for catalogue in catalogues for metric in catalogue.metrics]


def page(metrics: Iterable[Metric]) -> str:
    """The reference as Markdown."""
    return "\n".join(_lines(list(metrics)))


def _lines(metrics: list[Metric]) -> Iterator[str]:
    long_labels: dict[str, Label] = {}
    yield HEAD
    for service, of_service in itertools.groupby(metrics, key=lambda metric: metric.service):
        yield f"## {TITLES[service]}\n"
        for group, of_group in itertools.groupby(of_service, key=lambda metric: metric.group):
            yield f"### {group}\n"
            yield "| metric | type | labels | what it tells |"
            yield "|---|---|---|---|"
            for metric in of_group:
                labels = "; ".join(_shown(metric, label, long_labels) for label in metric.labels)
                yield f"| `{metric.name}` | {_type(metric)} | {labels} | {metric.help} |"
            yield ""
    yield "## Long lists of label values\n"
    for title, label in long_labels.items():
        yield f"**{title}**: {', '.join(label.values)}\n"


def _type(metric: Metric) -> str:
    return f"{metric.type.value}, {metric.unit}" if metric.unit else metric.type.value


def _shown(metric: Metric, label: Label, long_labels: dict[str, Label]) -> str:
    if metric.type is MetricType.STATE:
        return ", ".join(label.values)
    if len(label.values) <= FEW_VALUES:
        return f"`{label.name}`" + (": " if label.values else "") + ", ".join(label.values)
    title = next((title for title, known in long_labels.items() if known == label), None)
    if title is None:
        title = f"{label.name} of {metric.name}"
        long_labels[title] = label
    return f"`{label.name}` (see *{title}* below)"


if __name__ == "__main__":
    PAGE.write_text(page(all_metrics()))
