"""Every query of the dashboards and rules, asked of a Prometheus that watches a live stack."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml

from tests.support.prometheus import CONFIG, QueryFailed, Series
from tests.support.promql import Selector, parse_promql

DASHBOARDS: Final = CONFIG.parents[1] / "grafana" / "dashboards"
RULES: Final = CONFIG.parent / "rules"

VARIABLES: Final[Mapping[str, str]] = {"$__rate_interval": "1m", "$__range": "1m"}
"""What Grafana puts in their place."""


Ask = Callable[[str], Sequence[Series]]
"""`Prometheus.query`."""


@dataclass(frozen=True, slots=True)
class Question:
    """A panel or a rule: each of its queries needs series, and one of all their values has to be a number."""

    where: str
    queries: tuple[str, ...]
    may_be_empty: bool = False
    """Whether no series are an answer too, as for an alert."""


def panel_questions() -> Iterator[Question]:
    for path in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            if panel["type"] != "row":
                queries = tuple(_as_grafana_asks(target["expr"]) for target in panel["targets"])
                yield Question(f"{path.stem}: {panel['title']}", queries)


def rule_questions() -> Iterator[Question]:
    """Recording rules, alerts, and every series that these name."""
    for rule in all_rules():
        if "record" in rule:
            yield Question(f"rule {rule['record']}", (rule["expr"],))
        else:
            yield Question(f"alert {rule['alert']}", (rule["expr"],), may_be_empty=True)
            for selector in parse_promql(rule["expr"]).selectors:
                yield Question(f"alert {rule['alert']}: {selector.name}", (_text(selector),))


def all_rules() -> Iterator[Mapping[str, Any]]:
    for path in sorted(RULES.iterdir()):
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


def unanswered(ask: Ask, questions: Iterable[Question], *, idle: bool = False) -> dict[Question, str]:
    """The questions without a good answer, and what is wrong with it. On an idle stack a quantile is no number."""
    found = {question: _problem(ask, question, idle) for question in questions}
    return {question: problem for question, problem in found.items() if problem}


def _problem(ask: Ask, question: Question, idle: bool) -> str:
    values: list[float] = []
    for query in question.queries:
        try:
            series = ask(query)
        except QueryFailed as failed:
            return f"{failed}: {query}"
        if not series and not question.may_be_empty:
            return f"empty: {query}"
        values += [float(one["value"][1]) for one in series]
    if values and not idle and all(map(math.isnan, values)):
        return f"not a number: {question.queries}"
    return ""


def _as_grafana_asks(expr: str) -> str:
    for variable, value in VARIABLES.items():
        expr = expr.replace(variable, value)
    return expr


def _text(selector: Selector) -> str:
    matchers = ", ".join(f'{label}{operator}"{value}"' for label, operator, value in selector.matchers)
    return f"{selector.name}{{{matchers}}}"
