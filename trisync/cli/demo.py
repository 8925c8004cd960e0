"""What `make sync` runs: real mainnet blocks from one stack to another over loopback TCP, every rule checked.

python -m trisync.cli.demo [--work-dir DIR]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from trisync.cli.chain_choice import choose_chain
from trisync.cli.chain_commands import store_command
from trisync.cli.child import ChildFailed
from trisync.cli.data_dir import DataDir
from trisync.cli.failures import DONE, CommandFailed
from trisync.cli.goal import Goal
from trisync.cli.plan import StackOptions
from trisync.cli.progress import make_view
from trisync.cli.run_stack import running_stack, sync_until
from trisync.cli.waiting import Stopped, or_stop, stop_on_signals
from trisync.node_status import NodeStatus

PROJECT: Final = Path(__file__).resolve().parents[2]
ARCHIVE: Final = PROJECT / "data" / "mainnet-00000-5ec1ffb8.era1"
WORK_DIR: Final = PROJECT / ".cache" / "demo"
NETWORK: Final = "mainnet"

SYNC_TIMEOUT_S: Final = 1800.0
"""The sync takes under a minute on two cores, some minutes on a slow one; later it hangs."""

COMMAND_STOP_S: Final = 3.0
"""How long an interrupted import or check may take to end before it is killed."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Sync bundled mainnet blocks from one stack to another.")
    parser.add_argument("--work-dir", type=Path, default=WORK_DIR, help="Where both stores are made; wiped at start.")
    work_dir: Path = parser.parse_args(argv).work_dir
    try:
        line = asyncio.run(run_demo(work_dir))
    except CommandFailed as failure:
        print(f"trisync: {failure}", file=sys.stderr, flush=True)
        return failure.exit_code
    print(line, flush=True)
    return DONE


async def run_demo(work_dir: Path) -> str:
    """Import, sync, check; the result is the last line. Raises CommandFailed."""
    stop = stop_on_signals()
    shutil.rmtree(work_dir, ignore_errors=True)
    source, copy = DataDir(work_dir / "source"), DataDir(work_dir / "copy")
    try:
        say(f"1/3  importing {ARCHIVE.name} into the source (its seals are checked by the other side, all of them)")
        await run_command("import", ["--datadir", str(source.path), str(ARCHIVE)], stop)
        say("2/3  syncing it to an empty node: RLPx over TCP, eth/63, every header rule, seal, root and uncle checked")
        status = await sync_copy(source, copy, stop)
        say("3/3  checking the copy's whole store")
        await run_command("verify", ["--datadir", str(copy.path)], stop)
    except Stopped:
        raise CommandFailed("interrupted; both stacks are stopped") from None
    return last_line(status)


async def sync_copy(source: DataDir, copy: DataDir, stop: asyncio.Event) -> NodeStatus:
    """Start both stacks, sync one from the other, stop both; the result is the copy's last status."""
    with make_view() as view:
        async with contextlib.AsyncExitStack() as running:
            serving = await running.enter_async_context(running_stack(stack_options(source), view.say, stop))
            options = stack_options(copy, seal_check="ethash", static_peers=tuple(serving.enodes))
            syncing = await running.enter_async_context(running_stack(options, view.say, stop))
            try:
                async with asyncio.timeout(SYNC_TIMEOUT_S):
                    reached = await sync_until(syncing, Goal(None), view, stop)
            except TimeoutError:
                raise CommandFailed(f"not synced after {SYNC_TIMEOUT_S:.0f} s; see {copy.logs_dir}") from None
            except ChildFailed as failure:
                raise CommandFailed(str(failure)) from failure
    return reached.status


def stack_options(data_dir: DataDir, *, seal_check: str = "none", static_peers: tuple[str, ...] = ()) -> StackOptions:
    return StackOptions(
        data_dir=data_dir,
        chain=choose_chain(NETWORK, None, None),
        seal_check=seal_check,
        host="127.0.0.1",
        port=0,
        nodiscover=True,
        static_peers=static_peers,
    )


async def run_command(command: str, arguments: list[str], stop: asyncio.Event) -> None:
    """Run a store command to its end, its output shown. Raises CommandFailed, or Stopped after ending it."""
    options = [*choose_chain(NETWORK, None, None).arguments(), "--seal-check", "none"]
    process = await asyncio.create_subprocess_exec(
        *store_command(command, [*options, *arguments]), stdin=asyncio.subprocess.DEVNULL
    )
    try:
        code = await or_stop(process.wait(), stop)
    finally:
        if process.returncode is None:
            process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), COMMAND_STOP_S)
        if process.returncode is None:
            process.kill()
            await process.wait()
    if code:
        raise CommandFailed(f"trisync {command} failed with code {code}")


def last_line(status: NodeStatus) -> str:
    head, seconds = status.head, status.sync_seconds
    rate = status.blocks_synced / seconds if seconds > 0 else 0.0
    where = f"block {head.number} 0x{head.block_hash[:4].hex()}…"
    return f"synced to {where} in {seconds:.1f} s ({rate:.0f} blocks/s), verified"


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
