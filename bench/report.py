"""What the runs of one mode come to, as rows of a table and of JSON."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.resource_watch import Usage


@dataclass(frozen=True, slots=True)
class Measurement:
    """One sync."""

    blocks: int
    size_bytes: int
    seconds: float
    """From the first request to the last commit, as the node itself counts."""
    usage: Usage


@dataclass(frozen=True, slots=True)
class Row:
    """All syncs of one mode: medians, each number for itself."""

    mode: str
    runs: Sequence[Measurement]

    @property
    def seconds(self) -> float:
        return statistics.median(run.seconds for run in self.runs)

    @property
    def blocks_per_s(self) -> float:
        return statistics.median(run.blocks / run.seconds for run in self.runs)

    @property
    def mb_per_s(self) -> float:
        return statistics.median(run.size_bytes / run.seconds / 1e6 for run in self.runs)

    @property
    def cpu_seconds(self) -> Mapping[str, float]:
        return self._medians(lambda usage: usage.cpu_seconds)

    @property
    def cpu_us_per_block(self) -> Mapping[str, float]:
        blocks = self.runs[0].blocks
        return {name: round(1e6 * seconds / blocks, 1) for name, seconds in self.cpu_seconds.items()}

    @property
    def peak_memory_mb(self) -> Mapping[str, float]:
        return self._medians(lambda usage: usage.peak_memory_mb)

    def to_json(self) -> dict[str, object]:
        return {
            "mode": self.mode,
            "blocks": self.runs[0].blocks,
            "seconds": round(self.seconds, 3),
            "blocks_per_s": round(self.blocks_per_s, 1),
            "mb_per_s": round(self.mb_per_s, 2),
            "cpu_seconds": self.cpu_seconds,
            "cpu_us_per_block": self.cpu_us_per_block,
            "peak_memory_mb": self.peak_memory_mb,
            "runs_seconds": [round(run.seconds, 3) for run in self.runs],
        }

    def _medians(self, of: Callable[[Usage], Mapping[str, float]]) -> dict[str, float]:
        names = dict.fromkeys(name for run in self.runs for name in of(run.usage))
        return {name: round(statistics.median(of(run.usage).get(name, 0.0) for run in self.runs), 2) for name in names}


def table(rows: Sequence[Row]) -> str:
    """The rows for people: speed, CPU seconds and peak memory, one column per mode."""
    lines = [["", *(row.mode for row in rows)]]
    lines.append(["blocks", *(str(row.runs[0].blocks) for row in rows)])
    lines.append(["seconds", *(f"{row.seconds:.2f}" for row in rows)])
    lines.append(["blocks/s", *(f"{row.blocks_per_s:.0f}" for row in rows)])
    lines.append(["MB/s", *(f"{row.mb_per_s:.2f}" for row in rows)])
    lines += _section("CPU seconds during the sync", [row.cpu_seconds for row in rows], digits=2)
    lines += _section("the same per block, us", [row.cpu_us_per_block for row in rows], digits=1)
    lines += _section("peak private memory, MB", [row.peak_memory_mb for row in rows], digits=0)
    return _aligned(lines)


def _section(title: str, columns: Sequence[Mapping[str, float]], *, digits: int) -> list[list[str]]:
    names = dict.fromkeys(name for column in columns for name in column)
    return [
        [],
        [title],
        *(
            [f"  {name.replace('_', ' ')}", *(f"{column.get(name, 0.0):.{digits}f}" for column in columns)]
            for name in names
        ),
    ]


def _aligned(lines: Iterable[Sequence[str]]) -> str:
    first = max(len(line[0]) for line in lines if line)
    return "\n".join(
        "".join([line[0].ljust(first), *(cell.rjust(12) for cell in line[1:])]) if line else "" for line in lines
    )
