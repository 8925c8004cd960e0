"""`python -m bench.gateway`: what a gateway process reaches, beside what it must reach.

Gateway and coordinator are the processes that `trisync up` starts; peers and, where decoding is measured, the
coordinator are load generators in processes of their own. All of them share this machine's processors.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from bench import gateway_scenarios, gateway_serving
from bench.bench_chain import BenchChain, find_chain
from bench.sync import count
from bench.targets import Measured, rows_of, table
from trisync.cli.child import ChildFailed
from trisync.cli.failures import DONE, CommandFailed

Scenario = Callable[[], Awaitable[list[Measured]]]

SCENARIOS: Final[Mapping[str, Scenario]] = {
    "idle": gateway_scenarios.idle,
    "decode": gateway_scenarios.decode,
    "serve": gateway_serving.serve,
    "handshakes": gateway_scenarios.handshakes,
    "flood": gateway_scenarios.flood,
}
"""Those that need no chain; `mixed` syncs one."""

MIXED: Final = "mixed"


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    chosen = [options.only] if options.only else [*SCENARIOS, MIXED]
    try:
        runs = asyncio.run(_measure(options, chosen))
    except (CommandFailed, ChildFailed) as failure:
        print(f"bench.gateway: {failure}", file=sys.stderr, flush=True)
        return 1
    rows = rows_of(runs)
    print(f"\nmedians of {options.runs}, {os.cpu_count()} processors, shared by all processes\n")
    print(table(rows), flush=True)
    if options.json:
        print(json.dumps({"rows": [row.to_json() for row in rows]}), flush=True)
    return DONE


async def _measure(options: argparse.Namespace, chosen: Sequence[str]) -> list[list[Measured]]:
    """Every scenario `runs` times, in turn."""
    scenarios = dict(SCENARIOS)
    if MIXED in chosen:
        chain = await asyncio.to_thread(_chain_to_sync, options)
        scenarios[MIXED] = lambda: gateway_serving.mixed(chain)
    runs = []
    for run in range(options.runs):
        for name in chosen:
            print(f"run {run + 1}: {name} …", flush=True)
            runs.append(await scenarios[name]())
    return runs


def _chain_to_sync(options: argparse.Namespace) -> BenchChain:
    """The one of the flags, else the bench chain, else the one that is made for serving."""
    try:
        return find_chain(options.chain, options.genesis, options.networkid, "none")
    except CommandFailed as missing:
        if options.chain is not None:
            raise
        chain = gateway_serving.made_chain()
        print(f"{missing}; {MIXED} syncs {gateway_serving.MADE_BLOCKS} made blocks instead", flush=True)
        return chain


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description="Measure a gateway under load.")
    parser.add_argument("--only", choices=[*SCENARIOS, MIXED], help="only this; without it all")
    parser.add_argument("--runs", type=count, default=3, help="runs of each; medians are shown (default 3)")
    parser.add_argument("--chain", type=Path, help="for mixed: chain dump: .rlp, .rlp.gz, .rlp.xz, .blocks or .era1")
    parser.add_argument("--genesis", type=Path, help="for mixed: its genesis file in geth's format")
    parser.add_argument("--networkid", type=int, help="for mixed: network id; without it the genesis file's chain id")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    return parser


if __name__ == "__main__":
    sys.exit(main())
