"""The words in which a dashboard is described, and those for queries that return often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["timeseries", "stat", "state-timeline", "bargauge"]

SERVICES: Final = {"coordinator": "coordinator", "broadcaster": "broadcaster", "peer_gateway": "gateway"}
"""Prefix of a service's metrics -> what people call it."""

JOBS: Final = {"coordinator": "coordinator", "broadcaster": "broadcaster", "peer.gateway": "gateways"}
"""Its job in Prometheus, as a pattern since Kubernetes writes it with a hyphen -> what people call it."""

GOOD: Final = "green"
DOUBTFUL: Final = "orange"
BAD: Final = "red"

THIRD: Final = 8
HALF: Final = 12
SIXTH: Final = 4
WHOLE: Final = 24
"""Widths, in the 24 columns of a dashboard."""


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel. `legend` names its series: plain words, or `{{label}}`."""

    expr: str
    legend: str
    dashed: bool = False
    """Drawn as a limit: dashed and without a filled area."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """What one panel asks, in words and in PromQL."""

    title: str
    description: str
    queries: Sequence[Query]
    unit: str
    """As Grafana names it: `s`, `bytes`, `short`, `percentunit`, `cps` and `cpm` for counts a second and a minute."""
    kind: Kind = "timeseries"
    width: int = THIRD
    thresholds: Sequence[tuple[float, str]] = ()
    """From this value on, that colour; green below the first."""
    below_first: str = GOOD
    """The colour below the first threshold."""
    stacked: bool = False
    more: str = ""
    """The dashboard that tells more, by its key."""
    states: Sequence[tuple[str, str, str]] = ()
    """Values that are shown as words: value, text, colour."""


@dataclass(frozen=True, slots=True)
class Row:
    """A question of the operator's, and the panels that answer it."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, kw_only=True, slots=True)
class Dashboard:
    """`key` is the file's name; the uid is `trisync-` and the key."""

    key: str
    title: str
    description: str
    rows: Sequence[Row]


def rate(counter: str, *labels: str, where: str = "", per_minute: bool = False) -> str:
    """How fast a counter grows: by these labels, or in all."""
    expr = f"{summed(labels)} (rate({selector(counter, where)}[$__rate_interval]))"
    return f"60 * {expr}" if per_minute else expr


def quantile(share: float, histogram: str, *labels: str, where: str = "") -> str:
    """The value that this share of a histogram's observations do not exceed."""
    by = ", ".join(("le", *labels))
    return (
        f"histogram_quantile({share}, sum by ({by}) (rate({selector(histogram + '_bucket', where)}[$__rate_interval])))"
    )


def quantiles(histogram: str, where: str = "") -> list[Query]:
    """The usual case and the slow one."""
    return [
        Query(quantile(0.5, histogram, where=where), "half are faster"),
        Query(quantile(0.95, histogram, where=where), "95 % are faster"),
    ]


def or_nothing(expr: str, label: str) -> str:
    """A zero by the name of `nothing`, where `expr` has no series yet."""
    return f'{expr} or on () label_replace(vector(0), "{label}", "nothing", "", "")'


def per_service(template: str, legend: str = "") -> list[Query]:
    """The query of every service, `SERVICE` replaced by the prefix of its metrics."""
    return [Query(template.replace("SERVICE", prefix), name + legend) for prefix, name in SERVICES.items()]


def selector(metric: str, where: str) -> str:
    return f"{metric}{{{where}}}" if where else metric


def summed(labels: Sequence[str]) -> str:
    return f"sum by ({', '.join(labels)})" if labels else "sum"
