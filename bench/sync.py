"""`python -m bench.sync`: how fast, and at what cost, an empty node syncs a chain from another on this machine.

Both stacks are the real processes that `trisync up` starts, and talk over loopback TCP. To compare numbers of sources,
they are peers of one scripted process instead.
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
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from bench.bench_chain import CACHE, BenchChain, find_chain, has_state, import_once
from bench.line_server import LineProcess
from bench.report import Measurement, Row, table
from bench.resource_watch import ResourceWatch
from services.sync_coordinator.store.lmdb_store import store_path
from trisync.cli.child import Child, ChildFailed
from trisync.cli.data_dir import DataDir
from trisync.cli.failures import DONE, CommandFailed
from trisync.cli.goal import Goal
from trisync.cli.plan import StackOptions
from trisync.cli.progress import make_view
from trisync.cli.run_stack import running_stack, sync_until
from trisync.cli.stack import Stack
from trisync.cli.waiting import Stopped, first_of, stop_on_signals
from trisync.node_status import NodeStatus

MODES: Final = ("full", "fast", "light")

SYNC_TIMEOUT_S: Final = 1800.0
"""A sync that takes longer hangs."""

MOST_SOURCES: Final = 25
"""As many peers as a node takes by default."""

SERVING_PEERS: Final = "bench.serving_peers"


class Case(NamedTuple):
    """What is measured: a mode, and from how many scripted peers; 0 is from another stack."""

    mode: str
    sources: int

    def __str__(self) -> str:
        return f"{self.mode} of {self.sources}" if self.sources else self.mode


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    try:
        chain = find_chain(options.chain, options.genesis, options.networkid, options.seal_check)
        modes = [options.mode] if options.mode else MODES
        cases = [Case(mode, sources) for mode in modes for sources in options.sources]
        rows = asyncio.run(measure_all(chain, cases, options.runs))
    except CommandFailed as failure:
        print(f"bench.sync: {failure}", file=sys.stderr, flush=True)
        return failure.exit_code
    print(f"\n{chain.dump.name}, seals: {chain.seal_check}, medians of {options.runs}, {os.cpu_count()} processors\n")
    print(table(rows), flush=True)
    if options.json:
        print(json.dumps({"rows": [row.to_json() for row in rows]}), flush=True)
    return DONE


async def measure_all(chain: BenchChain, cases: Sequence[Case], runs: int) -> list[Row]:
    """Every case `runs` times, in turn, so that a slow minute of the machine meets all. Raises CommandFailed."""
    stop = stop_on_signals()
    measurements: dict[Case, list[Measurement]] = {case: [] for case in cases}
    try:
        source = DataDir(await import_once(chain, stop))
        if not has_state(source.path):
            print("no fast mode: the source has no state (bench/README.md)", flush=True)
            measurements = {case: done for case, done in measurements.items() if case.mode != "fast"}
        for run in range(runs):
            for case in measurements:
                measurement = await measure_sync(chain, source, case, stop)
                measurements[case].append(measurement)
                rate = measurement.blocks / measurement.seconds
                print(f"run {run + 1}, {case}: {measurement.seconds:.2f} s, {rate:.0f} blocks/s", flush=True)
    except Stopped:
        raise CommandFailed("interrupted; both stacks are stopped") from None
    except ChildFailed as failure:
        raise CommandFailed(str(failure)) from failure
    return [Row(str(case), done) for case, done in measurements.items()]


async def measure_sync(chain: BenchChain, source: DataDir, case: Case, stop: asyncio.Event) -> Measurement:
    """Start both sides, sync, stop both. The empty node's directory is removed, whatever happens."""
    sink = DataDir(Path(tempfile.mkdtemp(prefix="sink-", dir=CACHE)))
    try:
        with make_view() as view:
            async with contextlib.AsyncExitStack() as running:

                async def start(data_dir: DataDir, **settings: Any) -> Stack:
                    options = stack_options(chain, data_dir, **settings)
                    return await running.enter_async_context(running_stack(options, view.say, stop))

                if case.sources:
                    syncing = await start(sink, syncmode=case.mode, min_sync_peers=case.sources)
                    peers = await running.enter_async_context(_serving_peers())
                    sources, children = {peers.pid: "sources"}, syncing.children
                else:
                    serving = await start(source)
                    syncing = await start(sink, syncmode=case.mode, static_peers=tuple(serving.enodes))
                    sources, children = _pids("source", serving), [*serving.children, *syncing.children]
                watch = ResourceWatch({**sources, **_pids("sink", syncing)})
                sampling = asyncio.create_task(watch.run(), name="resource-watch")
                running.callback(sampling.cancel)
                if case.sources:
                    store, network_id = str(store_path(source.path)), chain.choice.network_id
                    await peers.ask(
                        "join", enode=syncing.enodes[0], count=case.sources, store=store, network_id=network_id
                    )
                async with asyncio.timeout(SYNC_TIMEOUT_S):
                    syncing_done = sync_until(syncing, Goal(None), view, stop)
                    reached = await first_of(syncing_done, _fail_at_an_end(children))
                return _measurement(reached.status, watch)
    except TimeoutError:
        raise CommandFailed(f"not synced after {SYNC_TIMEOUT_S:.0f} s") from None
    finally:
        shutil.rmtree(sink.path, ignore_errors=True)


@contextlib.asynccontextmanager
async def _serving_peers() -> AsyncIterator[LineProcess]:
    peers = await LineProcess.start(SERVING_PEERS)
    try:
        yield peers
    finally:
        await peers.stop()


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


def _pids(side: str, stack: Stack) -> dict[int, str]:
    children = [stack.coordinator, *stack.gateways, stack.broadcaster]
    names = ["coordinator", *("gateway" for _ in stack.gateways), "broadcaster"]
    return {child.pid: f"{side}_{name}" for name, child in zip(names, children, strict=True) if child.pid is not None}


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
    parser.add_argument("--mode", choices=MODES, help="only this mode; without it all")
    parser.add_argument(
        "--sources",
        type=_sources,
        nargs="+",
        default=[0],
        metavar="N",
        help="sync from so many scripted peers, each number in turn, instead of from another stack",
    )
    parser.add_argument("--runs", type=count, default=3, help="syncs of each; medians are shown (default 3)")
    parser.add_argument("--seal-check", choices=("none", "ethash", "auto"), default="none", help="(default none)")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    return parser


def _sources(text: str) -> int:
    sources = count(text)
    if sources > MOST_SOURCES:
        raise argparse.ArgumentTypeError(f"{text} is above {MOST_SOURCES}")
    return sources


def count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
