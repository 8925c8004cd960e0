"""`python -m bench.seals`: how fast ethash seals are checked, and what a new epoch costs.

The seal check as the coordinator has it, without its network and store. The headers are made: their seals are right,
and a light check does the same work for them as for real ones.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from bench.made_seals import PARENTLESS, sealed_headers
from bench.sync import count
from bench.targets import Measured, Target, at_least, rows_of, table
from services.shared.chainspec.spec import ChainSpec
from services.shared.ethwire.headers import with_hash
from services.shared.ethwire.types import Header
from services.sync_coordinator.core.ethash_epochs import EPOCH_BLOCKS
from services.sync_coordinator.core.ethash_seal import seal_inputs
from services.sync_coordinator.core.rule_broken import RuleBroken
from services.sync_coordinator.edges.ethash_library import open_verifier
from services.sync_coordinator.edges.seal_workers import SealWorkers

SPEC: Final = ChainSpec(chain_id=1)
CLASSIC: Final = ChainSpec(chain_id=61, ecip1099_block=11_700_000)

SEALS: Final = 1024
"""Checked for one number."""

BATCH: Final = 128
"""Seals checked at once where an edge is crossed: short enough to tell a wait from the work."""

BATCHES_BEFORE: Final = 20
"""Some seconds of work, in which the next epoch's worker is started by the pace."""

BATCHES_AFTER: Final = 4

EPOCHS: Final[dict[int, Target]] = {0: at_least(1400), 233: at_least(650)}
"""Seals a second that two threads must reach on two processors with nothing else to do."""

RATIO: Final = at_least(1.9)
"""Two threads against a loop around the library: most of what a second processor can add."""

TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.seals", description="Measure the seal check.")
    parser.add_argument("--runs", type=count, default=3, help="runs; medians are shown (default 3)")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args(argv)
    rows = rows_of([asyncio.run(run()) for _ in range(options.runs)])
    print(f"medians of {options.runs}, {SEALS:,} seals each, {os.cpu_count()} processors\n")
    print(table(rows), flush=True)
    if options.json:
        print(json.dumps({"rows": [row.to_json() for row in rows]}), flush=True)
    return 0


async def run() -> list[Measured]:
    rows: list[Measured] = []
    for epoch, target in EPOCHS.items():
        rows += await rates(epoch, target)
    for epoch in EPOCHS:
        rows += await new_epoch(f"epoch {epoch}", SPEC, epoch * EPOCH_BLOCKS)
    rows += await new_epoch("ECIP-1099 epoch 195", CLASSIC, 11_700_000)
    return rows + await crossing(EPOCH_BLOCKS * 234)


async def rates(epoch: int, target: Target) -> list[Measured]:
    """Seals a second of a loop around the library in this process, and of the seal check with one and two threads."""
    headers = sealed_headers(range(epoch * EPOCH_BLOCKS, epoch * EPOCH_BLOCKS + SEALS))
    is_sealed = open_verifier(epoch, epoch)
    started, cpu_before = time.perf_counter(), time.process_time()
    assert all(is_sealed(seal_inputs(header)) for header in headers)
    loop = SEALS / (time.perf_counter() - started)
    rows = [
        Measured(f"epoch {epoch}, a loop", loop, "/s"),
        Measured(f"epoch {epoch}, a loop, per CPU second", SEALS / (time.process_time() - cpu_before), "/s"),
    ]
    for threads in (1, 2):
        seconds, cpu_s = await with_workers(threads, headers)
        name = f"epoch {epoch}, {threads} {'thread' if threads == 1 else 'threads'}"
        rows.append(Measured(name, SEALS / seconds, "/s", target if threads == 2 else None))
        rows.append(Measured(f"{name}, per CPU second", SEALS / cpu_s, "/s"))
    return [*rows, Measured(f"epoch {epoch}, 2 threads to the loop", SEALS / seconds / loop, "times", RATIO)]


async def with_workers(threads: int, headers: Sequence[Header]) -> tuple[float, float]:
    """Seconds, and CPU seconds of the worker, for these seals, its cache being there."""
    seals = SealWorkers(SPEC, threads)
    try:
        await seals.check(headers[:1])
        cpu_before = sum(map(cpu_seconds, seals.pids))
        seconds = await timed(partial(seals.check, headers))
        return seconds, sum(map(cpu_seconds, seals.pids)) - cpu_before
    finally:
        await seals.close()


async def new_epoch(name: str, spec: ChainSpec, number: int) -> list[Measured]:
    """Seconds until the first seal of an epoch is judged for which nothing was started."""
    header = with_hash(PARENTLESS._replace(number=number))
    seals = SealWorkers(spec, 2)

    async def refused() -> None:
        try:
            await seals.check([header])
        except RuleBroken:
            return
        raise AssertionError("a header without work passed")

    try:
        return [Measured(f"{name}, first seal", await timed(refused), "s")]
    finally:
        await seals.close()


async def crossing(edge: int) -> list[Measured]:
    """How much longer than others the longest batch takes at an edge, its worker having been started ahead."""
    headers = sealed_headers(range(edge - BATCHES_BEFORE * BATCH, edge + BATCHES_AFTER * BATCH))
    seals = SealWorkers(SPEC, 2)
    try:
        await seals.check(headers[:1])
        batches = [headers[start : start + BATCH] for start in range(0, len(headers), BATCH)]
        seconds = [await timed(partial(seals.check, batch)) for batch in batches]
    finally:
        await seals.close()
    stall = max(seconds[-BATCHES_AFTER:]) - statistics.median(seconds)
    return [Measured(f"crossing into epoch {edge // EPOCH_BLOCKS}, longest wait", stall, "s")]


async def timed(work: Callable[[], Awaitable[None]]) -> float:
    started = time.perf_counter()
    await work()
    return time.perf_counter() - started


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


if __name__ == "__main__":
    sys.exit(main())
