"""`python -m bench.api_load`: what calls to the operator API cost the coordinator, answered and refused.

A coordinator of `trisync up` without peers is called over loopback TCP at fixed rates. Its use of a core is that of its
process with the load, less that without. Where the address is `localhost` no client is led past gRPC, as with TLS.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from bench.call_flood import flooding, share_of_core
from tests.support.processes import mainnet_stack

RATE_VARIABLE: Final = "TRISYNC_CLIENT_CALLS_PER_SECOND"

IDLE_S: Final = 3.0


@dataclass(frozen=True)
class Case:
    """What is offered, and to what."""

    calls_per_second: int
    connections: int = 1
    address: str = "127.0.0.1:0"
    limited: bool = True

    @property
    def name(self) -> str:
        if not self.limited:
            return "no limits"
        return "limits" if self.address.startswith("127") else "limits, none led past gRPC"


CASES: Final = (
    *(Case(rate, limited=False) for rate in (100, 500)),
    *(Case(rate, address="localhost:0") for rate in (100, 500)),
    *(Case(rate) for rate in (30, 100, 200, 500, 1000, 2000)),
    Case(500, connections=20),
)


@dataclass(frozen=True)
class Load:
    """What came of a case; the shares are of the calls, and of one core."""

    case: Case
    answered: float
    refused: float
    unavailable: float
    core: float


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.api_load", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each load lasts")
    parser.add_argument("--json", action="store_true", help="also print the numbers as JSON")
    options = parser.parse_args(argv)
    loads = [asyncio.run(measure(case, options.seconds)) for case in CASES]
    print(table(loads), flush=True)
    if options.json:
        print(json.dumps({"loads": [asdict(load) for load in loads]}), flush=True)
    return 0


async def measure(case: Case, seconds: float) -> Load:
    with tempfile.TemporaryDirectory(prefix="api-load-") as scratch, _rate_limit(limited=case.limited):
        async with mainnet_stack(Path(scratch), listen=(case.address,)) as stack:
            addresses, pid = stack.coordinator.facts["grpc"], stack.coordinator.pid
            assert isinstance(addresses, list)
            assert pid is not None
            idle = await share_of_core(pid, IDLE_S)
            async with flooding(addresses[1], case.calls_per_second, case.connections) as flood:
                loaded = await share_of_core(pid, seconds)
    total = sum(flood.codes.values())
    shares = {code: count / total for code, count in flood.codes.items()}
    print(f"{case.name}, {case.calls_per_second} calls/s: {dict(flood.codes)}", file=sys.stderr, flush=True)
    return Load(
        case,
        answered=round(shares.get("OK", 0), 4),
        refused=round(shares.get("RESOURCE_EXHAUSTED", 0), 4),
        unavailable=round(1 - shares.get("OK", 0) - shares.get("RESOURCE_EXHAUSTED", 0), 4),
        core=round(loaded - idle, 4),
    )


def table(loads: Sequence[Load]) -> str:
    lines = [
        "| calls/s | connections | | answered | refused | cut | of a core |",
        "|---:|---:|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {load.case.calls_per_second} | {load.case.connections} | {load.case.name} | {load.answered:.1%} "
        f"| {load.refused:.1%} | {load.unavailable:.1%} | {load.core:.1%} |"
        for load in loads
    ]
    return "\n".join(lines)


@contextlib.contextmanager
def _rate_limit(*, limited: bool) -> Iterator[None]:
    """Services read it from the environment that they are started with."""
    before = os.environ.pop(RATE_VARIABLE, None)
    if not limited:
        os.environ[RATE_VARIABLE] = "0"
    try:
        yield
    finally:
        os.environ.pop(RATE_VARIABLE, None)
        if before is not None:
            os.environ[RATE_VARIABLE] = before


if __name__ == "__main__":
    sys.exit(main())
