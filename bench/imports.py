"""`python -m bench.imports`: every chain of the shared data imported into a new store, by the command that users have.

For each: the last block that was accepted, whether that is the one it must be, what it took, and with what words the
import ended where the chain goes on under rules that are not supported.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from bench.bench_chain import unpack
from bench.import_cases import BUNDLED, CASES, DATA, ImportCase
from trisync.cli.chain_commands import store_command
from trisync.cli.failures import DONE

IMPORT_TIMEOUT_S: Final = 600.0
"""An import that takes longer hangs."""

LOOK_AGAIN_S: Final = 0.01

FAILED: Final = 1

_HEAD: Final = re.compile(r"head (\d+) 0x")
_PEAK: Final = re.compile(r"VmHWM:\s+(\d+) kB")


@dataclass(frozen=True, slots=True)
class Imported:
    """What one import came to."""

    chain: str
    seals: str
    head: int
    as_expected: bool
    seconds: float
    peak_memory_mb: float
    """Highest resident memory of the command, its mapped store included and seal workers aside."""
    ended_by: str
    """The last line, when the import was refused."""


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    cases = [case for case in CASES if options.only in case.name and case.is_there(options.data)]
    if not cases:
        print(
            f"there are no such chains in {options.data} (--data DIR); the bundled mainnet blocks are imported alone. "
            "`trisync import --genesis GENESIS.json FILE` takes any chain that geth dumped"
        )
        cases = [BUNDLED]
    results = []
    with tempfile.TemporaryDirectory(prefix="imports-") as scratch:
        for number, case in enumerate(cases):
            results.append(import_case(case, options.data, Path(scratch) / str(number)))
            print(_line(results[-1]), flush=True)
    wrong = [result.chain for result in results if not result.as_expected]
    print(f"\n{len(results) - len(wrong)} of {len(results)} as expected" + "".join(f"; not {name}" for name in wrong))
    if options.json:
        print(json.dumps({"rows": [asdict(result) for result in results]}), flush=True)
    return FAILED if wrong else DONE


def import_case(case: ImportCase, data: Path, scratch: Path) -> Imported:
    """Imports into a store below `scratch`."""
    datadir = scratch / "node"
    datadir.mkdir(parents=True)
    files = [_plain(path, scratch) for path in case.paths(data)]
    arguments = ["--datadir", str(datadir), *case.arguments(data)]
    started = time.perf_counter()
    exit_code, last_line, peak_bytes = _run([*store_command("import", arguments), *map(str, files)])
    seconds = time.perf_counter() - started
    head = _head_of(datadir, case, data)
    ended_by = last_line.rpartition(".rlp: ")[2].rpartition(".blocks: ")[2] if exit_code else ""
    is_right_end = case.end in ended_by if exit_code and case.end else not exit_code and not case.end
    return Imported(
        case.name if len(files) == 1 else f"{case.name} and {len(files) - 1} more",
        case.seal_check,
        head,
        head == case.head and is_right_end,
        round(seconds, 2),
        round(peak_bytes / 1e6, 1),
        ended_by,
    )


def _plain(path: Path, scratch: Path) -> Path:
    if path.suffix != ".xz":
        return path
    plain = scratch / path.stem
    unpack(path, plain)
    return plain


def _run(command: Sequence[str]) -> tuple[int, str, int]:
    """(exit code, last line, peak resident bytes) of a command."""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        deadline, peak_bytes = time.monotonic() + IMPORT_TIMEOUT_S, 0
        while True:
            peak_bytes = _peak_bytes(process.pid) or peak_bytes
            if process.poll() is not None:
                break
            if time.monotonic() > deadline:
                process.kill()
            time.sleep(LOOK_AGAIN_S)
        output.seek(0)
        lines = output.read().strip().splitlines() or ["it said nothing"]
    return process.returncode, lines[-1], peak_bytes


def _peak_bytes(pid: int) -> int:
    """The highest resident memory so far; 0 once the process has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = _PEAK.search(status)
    return int(found[1]) * 1024 if found else 0


def _head_of(datadir: Path, case: ImportCase, data: Path) -> int:
    """The full-block head of the store, as `trisync init` tells it; block 0 where none could be made."""
    arguments = ["--datadir", str(datadir), *case.arguments(data)[:2]]
    _, last_line, _ = _run(store_command("init", arguments))
    found = _HEAD.search(last_line)
    return int(found[1]) if found else 0


def _line(result: Imported) -> str:
    verdict = "ok   " if result.as_expected else "WRONG"
    took = f"{result.seconds:6.2f} s {result.peak_memory_mb:5.0f} MB"
    return f"{verdict} {result.chain:58} seals {result.seals:5} head {result.head:5} {took}  {result.ended_by}".rstrip()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.imports", description="Import every chain there is.")
    parser.add_argument("--data", type=Path, default=DATA, help="where the chains lie (default ../shared/data)")
    parser.add_argument("--only", default="", help="only chains whose name has this in it")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    return parser


if __name__ == "__main__":
    sys.exit(main())
