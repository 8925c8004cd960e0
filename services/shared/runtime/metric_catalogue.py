"""One way to declare a metric: what is declared here is exported, documented, and checked in dashboards and rules.

A service's metrics class declares everything through one `Catalogue`, which makes the prometheus objects on the
service's registry and remembers what it made. Label sets are closed: a value that is not declared is refused with
UndeclaredLabel where STRICT is set, as the tests do; elsewhere it is counted as `other`, because a service must not
fail for what it counts, and no series may appear that nobody declared.
"""

from __future__ import annotations

import enum
import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client import Enum as StateSet
from prometheus_client.core import CounterMetricFamily
from prometheus_client.core import Metric as Collected
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

STRICT: Final = os.environ.get("TRISYNC_STRICT_METRICS") == "1"
"""Whether an undeclared label value is an error: set by the tests, for the processes that they start too."""

OTHER: Final = "other"
"""What an undeclared label value is counted as."""

READY_SERIES: Final = 128
"""A metric of at most so many series shows all from the start, at 0, so that rates and alerts see the first event;
a larger one shows those that were counted, which keeps a page of metrics short."""

UNITS: Final = ("seconds", "bytes")
"""Units that a name ends with, before `_total`. All others count things, which the name says."""

# A second series for each counter and histogram, with the time of its start, which Prometheus does not read.
disable_created_metrics()  # type: ignore[no-untyped-call]

M = TypeVar("M", bound=MetricWrapperBase)


class MetricType(enum.Enum):
    """How a metric is exported. A STATE is a gauge with one series for each state, and 1 for the one that holds."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    STATE = "state"


class UndeclaredLabel(ValueError):
    """A label has a value that its declaration does not list."""


@dataclass(frozen=True, slots=True)
class Label:
    """A label and all the values that it may have; without values it has one, which the process sets at its start."""

    name: str
    values: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, values: Iterable[str]) -> Label:
        return cls(name, tuple(values))

    @classmethod
    def names_of(cls, name: str, members: Iterable[enum.Enum], *more: str) -> Label:
        """The names of an enumeration in lower case, and `more`."""
        return cls(name, (*(member.name.lower() for member in members), *more))


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One declaration. `name` is the exported one, with `_total` for a counter."""

    service: str
    name: str
    type: MetricType
    help: str
    group: str
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()
    pairs: frozenset[tuple[str, ...]] = frozenset()
    """Where not every value of one label goes with every one of the other: those that do."""

    @property
    def unit(self) -> str:
        """Empty where things are counted."""
        words = self.name.removesuffix("_total").split("_")
        return next((unit for unit in UNITS if unit in words), "")

    @property
    def samples(self) -> tuple[str, ...]:
        """The names of the series as Prometheus stores them."""
        if self.type is MetricType.HISTOGRAM:
            return tuple(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))
        return (self.name,)

    def check(self, values: Sequence[str]) -> None:
        """Raises UndeclaredLabel."""
        if len(values) != len(self.labels):
            names = ", ".join(label.name for label in self.labels)
            raise UndeclaredLabel(f"{self.name} has the labels ({names}), and {len(values)} values were given")
        for label, value in zip(self.labels, values, strict=True):
            if label.values and value not in label.values:
                text = f"{value!r} is not declared for label {label.name} of {self.name}; add it to its declaration"
                raise UndeclaredLabel(text)
        if self.pairs and tuple(values) not in self.pairs:
            raise UndeclaredLabel(f"{tuple(values)} is not a declared pair of {self.name}; add it to its declaration")

    def series(self) -> Iterable[tuple[str, ...]]:
        """The values of all labels of each series; empty where a label's value is not known in advance."""
        return sorted(self.pairs) or itertools.product(*(label.values for label in self.labels))


class Family(Generic[M]):
    """A metric with labels. `labels` costs one look-up; where even that is too much, keep what it returns."""

    def __init__(self, metric: Metric, parent: M) -> None:
        self._metric, self._parent = metric, parent
        self._children: dict[tuple[str, ...], M] = {}
        count = len(metric.pairs) or math.prod(len(label.values) for label in metric.labels)
        if 0 < count * (len(metric.buckets) or 1) <= READY_SERIES:
            for values in metric.series():
                self._children[values] = parent.labels(*values)

    def labels(self, *values: str) -> M:
        """The series with these values, in the order of the declaration. Raises UndeclaredLabel if STRICT."""
        child = self._children.get(values)
        return self._add(values) if child is None else child

    def _add(self, values: tuple[str, ...]) -> M:
        try:
            self._metric.check(values)
        except UndeclaredLabel:
            if STRICT or len(values) != len(self._metric.labels):
                raise
            given = zip(self._metric.labels, values, strict=True)
            known = [value if value in label.values and not self._metric.pairs else OTHER for label, value in given]
            return self._parent.labels(*known)
        child = self._children[values] = self._parent.labels(*values)
        return child


class Catalogue:
    """Declares and makes the metrics of one service."""

    def __init__(self, service: str, registry: CollectorRegistry) -> None:
        self.service, self._registry = service, registry
        self.metrics: list[Metric] = []
        self._group = ""

    def group(self, title: str) -> None:
        """What is declared from now on belongs under this title in the reference."""
        self._group = title

    def counter(self, name: str, text: str) -> Counter:
        self._declare(name, MetricType.COUNTER, text)
        return Counter(name, text, registry=self._registry)

    def counters(self, name: str, text: str, *labels: Label) -> Family[Counter]:
        metric = self._declare(name, MetricType.COUNTER, text, labels)
        return Family(metric, Counter(name, text, _names(labels), registry=self._registry))

    def paired_counters(
        self, name: str, text: str, labels: tuple[str, str], pairs: Iterable[tuple[str, str]]
    ) -> Family[Counter]:
        """Counters for these pairs of label values and no others."""
        listed = list(pairs)
        described = tuple(
            Label.of(label, dict.fromkeys(pair[at] for pair in listed)) for at, label in enumerate(labels)
        )
        metric = replace(self._declare(name, MetricType.COUNTER, text, described), pairs=frozenset(listed))
        self.metrics[-1] = metric
        return Family(metric, Counter(name, text, labels, registry=self._registry))

    def kept_counters(self, name: str, text: str, *labels: Label) -> KeptCounters:
        """Counters that are kept elsewhere, by a core or the kernel."""
        kept = KeptCounters(self._declare(name, MetricType.COUNTER, text, labels))
        self._registry.register(kept)
        return kept

    def gauge(self, name: str, text: str) -> Gauge:
        self._declare(name, MetricType.GAUGE, text)
        return Gauge(name, text, registry=self._registry)

    def gauges(self, name: str, text: str, *labels: Label) -> Family[Gauge]:
        metric = self._declare(name, MetricType.GAUGE, text, labels)
        return Family(metric, Gauge(name, text, _names(labels), registry=self._registry))

    def histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        self._declare(name, MetricType.HISTOGRAM, text, buckets=buckets)
        return Histogram(name, text, buckets=buckets, registry=self._registry)

    def histograms(self, name: str, text: str, *labels: Label, buckets: tuple[float, ...]) -> Family[Histogram]:
        metric = self._declare(name, MetricType.HISTOGRAM, text, labels, buckets)
        return Family(metric, Histogram(name, text, _names(labels), buckets=buckets, registry=self._registry))

    def state(self, name: str, text: str, states: Sequence[str]) -> StateSet:
        """The label has the metric's own name."""
        self._declare(name, MetricType.STATE, text, (Label.of(name, states),))
        return StateSet(name, text, states=states, registry=self._registry)

    def _declare(
        self, name: str, kind: MetricType, text: str, labels: tuple[Label, ...] = (), buckets: tuple[float, ...] = ()
    ) -> Metric:
        metric = Metric(
            service=self.service,
            name=name,
            type=kind,
            help=text,
            group=self._group,
            labels=labels,
            buckets=buckets,
        )
        self.metrics.append(metric)
        return metric


class KeptCounters(Collector):
    """Read whenever metrics are collected, once `follow` was called."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._read: Callable[[], Mapping[tuple[str, ...], float]] = dict

    def follow(self, read: Callable[[], Mapping[tuple[str, ...], float]]) -> None:
        """`read` gives the count of each label set; none of them ever goes down."""
        self._read = read

    def collect(self) -> Iterator[Collected]:
        family = CounterMetricFamily(self._metric.name, self._metric.help, labels=_names(self._metric.labels))
        for values, count in self._read().items():
            self._metric.check(values)
            family.add_metric(values, count)
        yield family


def _names(labels: Sequence[Label]) -> list[str]:
    return [label.name for label in labels]
