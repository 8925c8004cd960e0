"""`python -m bench.sync`: how fast, and at what cost, an empty node syncs a chain from another on this machine.

Both stacks are the real processes that `trisync up` starts, and talk over loopback TCP.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from bench.bench_chain import CACHE, BenchChain, find_chain, import_once
from bench.report import Measurement, Row, table
from bench.resource_watch import ResourceWatch
from trisync.cli.child import Child, ChildFailed
from trisync.cli.data_dir import DataDir
from trisync.cli.failures import DONE, CommandFailed
from trisync.cli.goal import Goal
from trisync.cli.plan import StackOptions
from trisync.cli.progress import make_view
from trisync.cli.run_stack import running_stack, sync_until
from trisync.cli.stack import Stack
from trisync.cli.up import stop_on_signals
from trisync.cli.waiting import Stopped, first_of
from trisync.node_status import NodeStatus

MODES: Final = ("full", "light")

SYNC_TIMEOUT_S: Final = 1800.0
"""A sync that takes longer hangs."""


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    try:
        chain = find_chain(options.chain, options.genesis, options.networkid, options.seal_check)
        rows = asyncio.run(measure_all(chain, [options.mode] if options.mode else MODES, options.runs))
    except CommandFailed as failure:
        print(f"bench.sync: {failure}", file=sys.stderr, flush=True)
        return failure.exit_code
    print(f"\n{chain.dump.name}, seals: {chain.seal_check}, medians of {options.runs}, {os.cpu_count()} processors\n")
    print(table(rows), flush=True)
    if options.json:
        print(json.dumps({"rows": [row.to_json() for row in rows]}), flush=True)
    return DONE


async def measure_all(chain: BenchChain, modes: Sequence[str], runs: int) -> list[Row]:
    """Every mode `runs` times, in turn, so that a slow minute of the machine meets all. Raises CommandFailed."""
    stop = stop_on_signals()
    measurements: dict[str, list[Measurement]] = {mode: [] for mode in modes}
    try:
        source = DataDir(await import_once(chain, stop))
        for run in range(runs):
            for mode in modes:
                measurement = await measure_sync(chain, source, mode, stop)
                measurements[mode].append(measurement)
                rate = measurement.blocks / measurement.seconds
                print(f"run {run + 1}, {mode}: {measurement.seconds:.2f} s, {rate:.0f} blocks/s", flush=True)
    except Stopped:
        raise CommandFailed("interrupted; both stacks are stopped") from None
    except ChildFailed as failure:
        raise CommandFailed(str(failure)) from failure
    return [Row(mode, done) for mode, done in measurements.items()]


async def measure_sync(chain: BenchChain, source: DataDir, mode: str, stop: asyncio.Event) -> Measurement:
    """Start both stacks, sync, stop both. The empty node's directory is removed, whatever happens."""
    sink = DataDir(Path(tempfile.mkdtemp(prefix="sink-", dir=CACHE)))
    try:
        with make_view() as view:
            async with contextlib.AsyncExitStack() as running:
                serving = await running.enter_async_context(running_stack(stack_options(chain, source), view.say, stop))
                options = stack_options(chain, sink, syncmode=mode, static_peers=tuple(serving.enodes))
                syncing = await running.enter_async_context(running_stack(options, view.say, stop))
                watch = ResourceWatch({**_pids("source", serving), **_pids("sink", syncing)})
                sampling = asyncio.create_task(watch.run(), name="resource-watch")
                running.callback(sampling.cancel)
                async with asyncio.timeout(SYNC_TIMEOUT_S):
                    syncing_done = sync_until(syncing, Goal(None), view, stop)
                    reached = await first_of(syncing_done, _fail_at_an_end([*serving.children, *syncing.children]))
                return _measurement(reached.status, watch)
    except TimeoutError:
        raise CommandFailed(f"not synced after {SYNC_TIMEOUT_S:.0f} s") from None
    finally:
        shutil.rmtree(sink.path, ignore_errors=True)


async def _fail_at_an_end(children: Sequence[Child]) -> NoReturn:
    """A service that ends meanwhile spoils the measurement, though the stack would start it again."""
    ends = {asyncio.ensure_future(child.wait_end()): child.plan for child in children}
    try:
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        ended = done.pop()
        plan = ends[ended]
        lines = plan.log_path.read_text(errors="replace").strip().splitlines() or ["nothing"]
        raise CommandFailed(f"{plan.name} ended during the sync, code {ended.result()}; the last it said: {lines[-1]}")
    finally:
        for end in ends:
            end.cancel()


def _measurement(status: NodeStatus, watch: ResourceWatch) -> Measurement:
    if status.syncs_failed or status.sync_seconds <= 0:
        raise CommandFailed(f"the sync did not go through in one: {status.last_sync_outcome or 'nothing to sync'}")
    return Measurement(status.blocks_synced, status.bytes_synced, status.sync_seconds, watch.usage())


def _pids(side: str, stack: Stack) -> dict[str, int]:
    children = [stack.coordinator, *stack.gateways, stack.broadcaster]
    names = ["coordinator", *("gateway" for _ in stack.gateways), "broadcaster"]
    return {f"{side}_{name}": child.pid for name, child in zip(names, children, strict=True) if child.pid is not None}


def stack_options(chain: BenchChain, data_dir: DataDir, **settings: Any) -> StackOptions:
    """A stack on loopback for this chain; `settings` are more `StackOptions`."""
    return StackOptions(
        data_dir=data_dir,
        chain=chain.choice,
        seal_check=chain.seal_check,
        host="127.0.0.1",
        port=0,
        nodiscover=True,
        **settings,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.sync", description="Measure the sync of a chain.")
    parser.add_argument("--chain", type=Path, help="chain dump: .rlp, .rlp.gz, .rlp.xz, .blocks or .era1")
    parser.add_argument("--genesis", type=Path, help="its genesis file in geth's format")
    parser.add_argument("--networkid", type=int, help="network id; without it the chain id of the genesis file")
    parser.add_argument("--mode", choices=MODES, help="only this mode; without it both")
    parser.add_argument("--runs", type=count, default=3, help="syncs per mode; medians are shown (default 3)")
    parser.add_argument("--seal-check", choices=("none", "ethash", "auto"), default="none", help="(default none)")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    return parser


def count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
