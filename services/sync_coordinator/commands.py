"""`python -m services.sync_coordinator.commands init|import|export|verify`: work on the store without a node.

The `trisync` command becomes this module, so its output, signals and exit code are what the user sees:
0 done, 1 failed with the reason as the last line on stderr, 2 bad usage.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from services.shared.chainspec.genesis import Genesis, GenesisInvalid, load_genesis
from services.shared.chainspec.networks import NETWORK_NAMES, UnknownNetwork, network
from services.shared.ethwire.bodies import join_block
from services.shared.ethwire.types import Header
from services.shared.runtime.logs import configure_logs
from services.shared.runtime.progress import Progress
from services.sync_coordinator.core.chain_rules import ChainRules, RuleBroken
from services.sync_coordinator.core.fork_choice import HeadKind
from services.sync_coordinator.edges.block_import import BlockImport
from services.sync_coordinator.edges.seal_workers import SealCheck, SealCheckRefused, SealWorkersFailed, open_seal_check
from services.sync_coordinator.store.chain_store import StoreFailed, StoreRefused
from services.sync_coordinator.store.data_file import check_structure
from services.sync_coordinator.store.dumps import write_dump
from services.sync_coordinator.store.environment import DATA_NAME
from services.sync_coordinator.store.file_block import DumpInvalid
from services.sync_coordinator.store.file_import import import_file
from services.sync_coordinator.store.lmdb_store import LmdbChainStore, Snapshot, store_path
from services.sync_coordinator.store.probe import probe
from services.sync_coordinator.store.problems import MAX_PROBLEMS, Problem
from services.sync_coordinator.store.tables import HEAD_KEYS, Table, number_key
from services.sync_coordinator.store.verify import StoreCheck
from services.sync_coordinator.store.writer_lock import WriterLock

DONE, FAILED, BAD_USAGE = 0, 1, 2

LARGE_FILE_MB: Final = 256
"""The pages of a file this long take more than a second."""

T = TypeVar("T")


class CommandFailed(Exception):
    """The command cannot do what it was asked to; the text is the one line the user reads."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def complain(line: str) -> None:
    """The last line of a command that failed, as all commands have it."""
    say(f"trisync: {line}")


def init_command(options: argparse.Namespace) -> int:
    """Makes the store, or checks that it is this chain's."""
    genesis = _genesis(options)
    with _opened(options, genesis) as store:
        head = store.heads().full_block
    path, genesis_hash = store_path(options.datadir), f"0x{genesis.header.hash.hex()}"
    facts = {"store": str(path), "genesis_hash": genesis_hash, **_head_json(head.number, head.hash)}
    return _done(options, f"chain store ready in {path}, genesis {genesis_hash}, {_head(head)}", facts)


def import_command(options: argparse.Namespace) -> int:
    """Imports the files in their order; stops at the first that is bad."""
    genesis = _genesis(options)
    seals = _seals(options, genesis)
    for path in options.files:
        if not path.is_file():
            raise CommandFailed(f"{path}: there is no such file", BAD_USAGE)
    with _opened(options, genesis) as store:
        return _run(_import_files(options, store, ChainRules(genesis.spec), seals))


def export_command(options: argparse.Namespace) -> int:
    """Writes canonical blocks, genesis included, up to the full-block head."""
    genesis = _genesis(options)
    with _opened(options, genesis, read_only=True) as store, store.snapshot() as snapshot:
        head_hash = snapshot.get(Table.META, HEAD_KEYS[HeadKind.FULL_BLOCK]) or b""
        head_number = int.from_bytes(snapshot.get(Table.NUMBERS, head_hash) or b"")
        last = head_number if options.last is None else options.last
        if not 0 <= options.first <= last:
            raise CommandFailed(
                f"blocks {options.first} to {last} are no range: the first must not be above the last, "
                f"and the head is block {head_number}",
                BAD_USAGE,
            )
        if last > head_number:
            raise CommandFailed(f"block {last} has no body here; the last one that has is {head_number}")
        try:
            with Progress("exported") as progress:
                count = write_dump(options.file, _canonical_blocks(snapshot, options.first, last, progress))
        except OSError as error:
            raise CommandFailed(f"{options.file}: cannot be written: {error.strerror or error}") from error
    facts = {"exported": count, "first": options.first, "last": last, "file": str(options.file)}
    return _done(options, f"exported {count} blocks, {options.first} to {last}, to {options.file}", facts)


def verify_command(options: argparse.Namespace) -> int:
    """Checks everything in the store again. A store that a node is writing is checked as of one moment."""
    genesis = _genesis(options)
    seals = _seals(options, genesis)
    path = store_path(options.datadir)
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(_opened(options, genesis, read_only=True))
        try:
            stack.callback(WriterLock.acquire(path).release)
        except (StoreRefused, OSError):
            say("the store is in use or write-protected; its pages are not checked, only what they hold")
        else:
            size_mb = (path / DATA_NAME).stat().st_size >> 20
            if size_mb >= LARGE_FILE_MB:
                say(f"checking the pages of the store's file, {size_mb} MB")
            for problem in check_structure(path / DATA_NAME):
                raise CommandFailed(f"{path}: the store is damaged: {problem}")
        snapshot = stack.enter_context(store.snapshot())
        return _run(_verify(options, snapshot, ChainRules(genesis.spec), seals))


async def _import_files(options: argparse.Namespace, store: LmdbChainStore, rules: ChainRules, seals: SealCheck) -> int:
    imported = known = 0
    block_import = BlockImport(store, rules, seals)
    try:
        with Progress("imported") as progress:
            for path in options.files:
                try:
                    outcome = await import_file(path, store, block_import, _show_import(progress))
                except RuleBroken as fault:
                    raise CommandFailed(f"{path}: refused: {fault}") from fault
                imported, known = imported + outcome.imported, known + outcome.known
    finally:
        block_import.close()
        await seals.close()
    head, seconds = store.heads().full_block, progress.seconds
    skipped = f", {known} known already" if known else ""
    facts = {"imported": imported, "known": known, "seconds": round(seconds, 3), **_head_json(head.number, head.hash)}
    rate = f"{seconds:.1f} s, {imported / seconds:.0f} blocks/s"
    return _done(options, f"imported {imported} blocks in {rate}{skipped}, {_head(head)}", facts)


def _show_import(progress: Progress) -> Callable[[int, int, Header], None]:
    return lambda done, total, head: progress.show(done, total, note=f"head {head.number} 0x{head.hash.hex()[:8]}…")


async def _verify(options: argparse.Namespace, snapshot: Snapshot, rules: ChainRules, seals: SealCheck) -> int:
    with Progress("verified") as progress:

        def report(problem: Problem) -> None:
            progress.say(str(problem))

        check = StoreCheck(snapshot, rules, seals, report)
        try:
            verified = await check.run(lambda done, total, what: progress.show(done, total, what=what))
        finally:
            await seals.close()
    if check.problems:
        more = " or more" if check.problems >= MAX_PROBLEMS else ""
        raise CommandFailed(f"the store is bad: {check.problems}{more} problems in {verified.headers} blocks")
    head_hash = snapshot.get(Table.META, HEAD_KEYS[HeadKind.HEADER]) or b""
    head_number = int.from_bytes(snapshot.get(Table.NUMBERS, head_hash) or b"")
    if verified.unjudged_seal_states:
        say(f"{verified.unjudged_seal_states} stored seal states were not judged, because the seals were not")
    state = f" and {verified.state_entries} state entries" if verified.state_entries else ""
    counts = {"verified": verified.headers, "state_entries": verified.state_entries}
    facts = {**counts, "unjudged_seal_states": verified.unjudged_seal_states, **_head_json(head_number, head_hash)}
    return _done(options, f"verified {verified.headers} blocks{state}, head {head_number} 0x{head_hash.hex()}", facts)


def _canonical_blocks(snapshot: Snapshot, first: int, last: int, progress: Progress) -> Iterator[bytes]:
    for number in range(first, last + 1):
        key = number_key(number)
        key += snapshot.get(Table.CANONICAL, key) or b""
        header_rlp, body_rlp = snapshot.get(Table.HEADERS, key), snapshot.get(Table.BODIES, key)
        if header_rlp is None or body_rlp is None:
            raise CommandFailed(f"block {number} is missing in the store; `trisync verify` tells what else is wrong")
        yield join_block(header_rlp, body_rlp)
        progress.show(number - first + 1, last - first + 1)


def _genesis(options: argparse.Namespace) -> Genesis:
    try:
        if options.genesis is not None:
            with Progress("read") as progress:
                return load_genesis(options.genesis, lambda done, all_: progress.show(done, all_, what="accounts"))
        return network(options.network or "mainnet").genesis
    except GenesisInvalid as error:
        raise CommandFailed(str(error)) from error
    except UnknownNetwork as error:
        raise CommandFailed(str(error), BAD_USAGE) from error


def _seals(options: argparse.Namespace, genesis: Genesis) -> SealCheck:
    wanted = None if options.seal_check == "auto" else options.seal_check
    try:
        return open_seal_check(genesis, wanted)
    except SealCheckRefused as error:
        raise CommandFailed(str(error), BAD_USAGE) from error


@contextlib.contextmanager
def _opened(options: argparse.Namespace, genesis: Genesis, *, read_only: bool = False) -> Iterator[LmdbChainStore]:
    store = LmdbChainStore.open(store_path(options.datadir), genesis.header, read_only=read_only, probe=probe)
    try:
        yield store
    finally:
        store.close()


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Runs `work`; SIGTERM ends it like Ctrl-C, after the commit under way."""

    async def main() -> T:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    try:
        return asyncio.run(main())
    except (asyncio.CancelledError, KeyboardInterrupt):
        raise CommandFailed("interrupted; the store keeps what was committed") from None


def _head(head: Header) -> str:
    return f"head {head.number} 0x{head.hash.hex()}"


def _head_json(number: int, block_hash: bytes) -> dict[str, object]:
    return {"head_number": number, "head_hash": f"0x{block_hash.hex()}"}


def _done(options: argparse.Namespace, sentence: str, facts: Mapping[str, object]) -> int:
    """The last line, for people or for programs."""
    print(json.dumps(facts) if options.json else sentence)
    return DONE


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--datadir", type=Path, required=True)
    chain = shared.add_mutually_exclusive_group()
    chain.add_argument("--genesis", type=Path, help="genesis file in geth's format")
    chain.add_argument("--network", help=f"one of {', '.join(NETWORK_NAMES)}; mainnet without --genesis")
    shared.add_argument("--networkid", type=int, help="accepted for every command; a store has none")
    shared.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    seal = argparse.ArgumentParser(add_help=False)
    seal.add_argument("--seal-check", choices=("auto", "ethash", "clique", "none"), default="auto")
    parser = argparse.ArgumentParser(prog="trisync", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="init|import|export|verify")

    def add(name: str, run: Callable[[argparse.Namespace], int], *parents: argparse.ArgumentParser) -> Any:
        command = commands.add_parser(name, parents=[shared, *parents], help=run.__doc__)
        command.set_defaults(run=run)
        return command

    add("init", init_command)
    add("import", import_command, seal).add_argument("files", type=Path, nargs="+", metavar="FILE")
    export = add("export", export_command)
    export.add_argument("file", type=Path, metavar="FILE")
    export.add_argument("first", type=int, nargs="?", default=0, metavar="FIRST")
    export.add_argument("last", type=int, nargs="?", metavar="LAST")
    add("verify", verify_command, seal)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except CommandFailed as error:
        complain(str(error))
        return error.exit_code
    except (StoreRefused, StoreFailed, DumpInvalid, SealWorkersFailed) as error:
        complain(str(error))
        return FAILED
    except KeyboardInterrupt:
        complain("interrupted")
        return FAILED
    return code


if __name__ == "__main__":
    configure_logs("trisync", level="warning", as_json=False)
    sys.exit(main())
