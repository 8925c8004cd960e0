"""What the services export, and what in dashboards, rules and pages is not among it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from services.shared.runtime.metric_catalogue import Metric, MetricType
from tests.support.promql import Expression, Matcher, NotPromql, Selector, parse_promql
from tools.metrics_reference import all_metrics

ROOT: Final = Path(__file__).parents[2]

TARGET_LABELS: Final = ("job", "instance")
"""What Prometheus adds to every series that it scrapes."""

ALERT_LABELS: Final = ("alertname", "alertstate", "severity")

BUILT_IN: Final = frozenset(
    {
        "up",
        "scrape_duration_seconds",
        "scrape_samples_scraped",
        "scrape_samples_post_metric_relabeling",
        "scrape_series_added",
        "ALERTS",
        "ALERTS_FOR_STATE",
    }
)
"""Series that Prometheus makes itself."""

OF_PROMETHEUS: Final = "prometheus_"
"""Prometheus scrapes itself too."""

_LEGEND_LABEL: Final = re.compile(r"{{\s*(\w+)\s*}}")
_ANNOTATION_LABEL: Final = re.compile(r"\$labels\.(\w+)")
_LABEL_VALUES: Final = re.compile(r"label_values\(\s*(?:(?P<expr>.+?)\s*,\s*)?(?P<label>\w+)\s*\)\s*$", re.DOTALL)
_CODE_SPAN: Final = re.compile(r"`([^`\n]+)`")
_METRIC_WORD: Final = re.compile(
    r"(?P<name>(?:coordinator|peer_gateway|broadcaster|ethereum)_[a-z0-9_]+)(?P<labels>\{[^}]*\})?"
)


@dataclass(frozen=True, slots=True)
class Series:
    """One name that can be queried, and its labels; None where any value may come."""

    name: str
    labels: Mapping[str, tuple[str, ...] | None]


class ExportedMetrics:
    """Names and labels that exist. Each `problems_…` tells what does not, empty when all is well."""

    def __init__(self, metrics: Iterable[Metric], jobs: Iterable[str] = ()) -> None:
        self._series = {name: Series(name, _labels_of(metric, name)) for metric in metrics for name in metric.samples}
        self._histograms = {metric.name for metric in metrics if metric.type is MetricType.HISTOGRAM}
        self._jobs = tuple(jobs) or None

    def __contains__(self, name: str) -> bool:
        return name in self._series or name in BUILT_IN or name.startswith(OF_PROMETHEUS)

    def add_recorded(self, name: str, expr: str, labels: Iterable[str] = ()) -> None:
        """A recording rule makes a series. What it is made of is checked with the rule."""
        kept = dict.fromkeys((*self.result_labels(parse_promql(expr)), *labels))
        self._series[name] = Series(name, kept)

    def result_labels(self, expression: Expression) -> set[str]:
        """Labels that the result of an expression may have."""
        every = set(expression.made_labels)
        for selector in expression.selectors:
            every |= self._labels(selector.name).keys()
        if not expression.aggregates or any(grouping.word == "without" for grouping in expression.groupings):
            return every
        grouped = {label for grouping in expression.groupings for label in grouping.labels}
        return grouped | set(expression.made_labels) | set(expression.matched_labels)

    def problems_of_expression(self, expr: str) -> list[str]:
        try:
            expression = parse_promql(expr)
        except NotPromql as problem:
            return [str(problem)]
        found: list[str] = []
        for selector in expression.selectors:
            found.extend(self._problems_of_selector(selector))
        made = set(expression.made_labels)
        for grouping in expression.groupings:
            known = made.union(*(self._labels(selector.name) for selector in grouping.selectors))
            found += [f"no series has the label {label}" for label in grouping.labels if label not in known]
        known = made.union(*(self._labels(selector.name) for selector in expression.selectors))
        found += [f"no series has the label {label}" for label in expression.matched_labels if label not in known]
        return [f"{expr.strip()}: {problem}" for problem in found]

    def problems_of_template(self, expr: str, template: str, pattern: re.Pattern[str] = _LEGEND_LABEL) -> list[str]:
        """Of a legend, or an annotation: the labels that it shows must be those of the result."""
        known = self.result_labels(parse_promql(expr)) | {"__name__", *ALERT_LABELS}
        names = pattern.findall(template)
        return [f"{expr.strip()}: {template!r} shows {name}, no label of it" for name in names if name not in known]

    def problems_of_dashboard(self, text: str) -> list[str]:
        """Of a Grafana dashboard in JSON: targets, legends, and the queries of its variables."""
        found: list[str] = []
        for part in _objects(json.loads(text)):
            expr = part.get("expr")
            if isinstance(expr, str):
                problems = self.problems_of_expression(expr)
                found += problems or self.problems_of_template(expr, str(part.get("legendFormat", "")))
            for key in ("query", "definition"):
                query = part.get(key)
                if isinstance(query, str) and "label_values" in query:
                    found += self._problems_of_variable(query)
        return found

    def problems_of_rules(self, text: str) -> list[str]:
        """Of a rules file in YAML, in whose order recorded names come to be known; `add_rules` knows them before."""
        found: list[str] = []
        for rule in rules_of(text):
            problems = self.problems_of_expression(rule["expr"])
            for annotation in rule.get("annotations", {}).values():
                if not problems:
                    found += self.problems_of_template(rule["expr"], annotation, _ANNOTATION_LABEL)
            found += problems
        return found

    def add_rules(self, text: str) -> None:
        """What a rules file records exists from now on; a rule may use those before it."""
        for rule in rules_of(text):
            if "record" in rule:
                self.add_recorded(rule["record"], rule["expr"], rule.get("labels", {}))

    def problems_of_page(self, text: str) -> list[str]:
        """Of a page in Markdown: code that is a metric's name, with its labels or without. A histogram may be
        called by its name without a suffix."""
        found: list[str] = []
        for span in _CODE_SPAN.findall(text):
            word = _METRIC_WORD.fullmatch(span)
            if word is None:
                continue
            name, labels = word["name"], word["labels"] or ""
            if name in self._histograms:
                name += "_bucket"
            if '"' in labels:
                found += self.problems_of_expression(name + labels)
            elif name not in self:
                found.append(f"{span}: no service exports it")
            else:
                named = [label.strip() for label in labels.strip("{}").split(",") if label.strip()]
                found += [f"{span}: it has no label {label}" for label in named if label not in self._labels(name)]
        return found

    def _labels(self, name: str) -> Mapping[str, tuple[str, ...] | None]:
        if name in self._series:
            return self._series[name].labels
        return dict.fromkeys((*TARGET_LABELS, *ALERT_LABELS)) if name in self else {}

    def _problems_of_selector(self, selector: Selector) -> Iterator[str]:
        if selector.name not in self:
            yield f"no service exports {selector.name or 'a series without a name'}"
            return
        if selector.name.startswith(OF_PROMETHEUS):
            return
        labels = self._labels(selector.name)
        for matcher in selector.matchers:
            if matcher.label not in labels:
                yield f"{selector.name} has no label {matcher.label}"
                continue
            values = self._jobs if matcher.label == "job" else labels[matcher.label]
            if values and not _can_match(matcher, values):
                yield f"{selector.name}: {matcher.label} is never {matcher.value!r}"

    def _problems_of_variable(self, query: str) -> list[str]:
        parts = _LABEL_VALUES.search(query)
        if parts is None:
            return [f"{query}: not understood"]
        if parts["expr"] is None:
            return []
        problems = self.problems_of_expression(parts["expr"])
        known = self.result_labels(parse_promql(parts["expr"]))
        return problems or ([] if parts["label"] in known else [f"{query}: no such label"])


def exported_metrics(root: Path = ROOT) -> ExportedMetrics:
    """Of all services, with what the rules in `deploy/prometheus` record and the jobs that it scrapes."""
    jobs = yaml.safe_load((root / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    exported = ExportedMetrics(all_metrics(), [job["job_name"] for job in jobs])
    for path in rule_files(root):
        exported.add_rules(path.read_text())
    return exported


def rule_files(root: Path = ROOT) -> list[Path]:
    return sorted((root / "deploy/prometheus/rules").glob("*.y*ml"))


def dashboard_files(root: Path = ROOT) -> list[Path]:
    return sorted((root / "deploy/grafana/dashboards").glob("*.json"))


def rules_of(text: str) -> list[dict[str, Any]]:
    """The rules of a file, of all its groups; none of a file of rule tests."""
    groups = (yaml.safe_load(text) or {}).get("groups", [])
    return [rule for group in groups for rule in group.get("rules", [])]


def _labels_of(metric: Metric, sample: str) -> dict[str, tuple[str, ...] | None]:
    labels: dict[str, tuple[str, ...] | None] = {label.name: label.values or None for label in metric.labels}
    labels |= dict.fromkeys(TARGET_LABELS)
    if sample.endswith("_bucket") and metric.type is MetricType.HISTOGRAM:
        labels["le"] = None
    return labels


def _can_match(matcher: Matcher, values: Iterable[str]) -> bool:
    """Whether a matcher can tell one value from another; a dashboard's variable can stand for any."""
    if "$" in matcher.value or "[[" in matcher.value or not matcher.value:
        return True
    if matcher.operator in ("=", "!="):
        return matcher.value in values
    pattern = matcher.value.replace("\\\\", "\\")
    alternatives = [pattern] if set(pattern) & set("()[]") else pattern.split("|")
    return all(any(re.fullmatch(one, value) for value in values) for one in alternatives)


def _objects(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
    for inner in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _objects(inner)
