"""Measured numbers beside what they must reach, as a table and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Target(NamedTuple):
    """What a number must reach, or stay below."""

    number: float
    is_most: bool = False

    def __str__(self) -> str:
        return f"{'<' if self.is_most else '>='} {self.number:g}"

    def is_met(self, value: float) -> bool:
        return value < self.number if self.is_most else value >= self.number


def at_least(number: float) -> Target:
    return Target(number)


def below(number: float) -> Target:
    return Target(number, is_most=True)


@dataclass(frozen=True, slots=True)
class Measured:
    """One number of one run; without a target it only explains the others."""

    name: str
    value: float
    unit: str
    target: Target | None = None


@dataclass(frozen=True, slots=True)
class TargetRow:
    """The same number of all runs."""

    runs: Sequence[Measured]

    @property
    def value(self) -> float:
        return statistics.median(run.value for run in self.runs)

    @property
    def is_met(self) -> bool:
        target = self.runs[0].target
        return target is None or target.is_met(self.value)

    def to_json(self) -> dict[str, object]:
        first = self.runs[0]
        row: dict[str, object] = {"name": first.name, "value": round(self.value, 3), "unit": first.unit}
        if first.target is not None:
            row |= {"target": str(first.target), "met": self.is_met}
        return row | {"runs": [round(run.value, 3) for run in self.runs]}

    def cells(self) -> list[str]:
        first = self.runs[0]
        verdict = "" if first.target is None else "met" if self.is_met else "NOT MET"
        return [first.name, f"{self.value:,.1f}", first.unit, str(first.target or ""), verdict]


def rows_of(runs: Sequence[Sequence[Measured]]) -> list[TargetRow]:
    """One row for each name, in the order in which they first come."""
    names = dict.fromkeys(measured.name for run in runs for measured in run)
    return [TargetRow([measured for run in runs for measured in run if measured.name == name]) for name in names]


def table(rows: Sequence[TargetRow]) -> str:
    """For people."""
    lines = [["", "measured", "", "target", ""], *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    return "\n".join(
        f"{name:<{widths[0]}}  {value:>{widths[1]}} {unit:<{widths[2]}}  {target:<{widths[3]}}  {verdict}".rstrip()
        for name, value, unit, target, verdict in lines
    )
