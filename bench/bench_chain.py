"""The chain that is synced: found, unpacked, and imported once into the store that the source stack serves."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import lzma
import shutil
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.shared.chainspec.genesis import load_genesis
from services.sync_coordinator.store.lmdb_store import LmdbChainStore, store_path
from tests.support.state_source import add_receipts_and_state, genesis_balances
from tests.support.transfer_ledger import NotOnlyTransfers
from trisync.cli.chain_choice import ChainChoice, choose_chain
from trisync.cli.chain_commands import store_command
from trisync.cli.failures import BadUsage, CommandFailed
from trisync.cli.waiting import or_stop

PROJECT: Final = Path(__file__).resolve().parents[1]
CACHE: Final = PROJECT / ".cache" / "bench"
USUAL_PLACE: Final = PROJECT.parent / "shared" / "data" / "bench"
USUAL_CHAIN: Final = "bulk-20k.rlp.xz"
USUAL_GENESIS: Final = "bulk-genesis.json"

INTERRUPT_S: Final = 5.0
"""How long an interrupted import may take to end its commit before it is killed."""

COPY_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class BenchChain:
    """A chain dump and the genesis it starts from."""

    dump: Path
    choice: ChainChoice
    seal_check: str

    @property
    def store_dir(self) -> Path:
        """Data directory of the source stack; another for every content of the two files."""
        assert self.choice.genesis is not None
        stat = self.dump.stat()
        content = hashlib.sha256(self.choice.genesis.read_bytes())
        content.update(f"{self.dump.absolute()} {stat.st_size} {stat.st_mtime_ns}".encode())
        return CACHE / f"source-{content.hexdigest()[:16]}"


def find_chain(dump: Path | None, genesis: Path | None, network_id: int | None, seal_check: str) -> BenchChain:
    """The chain of the two flags, else the usual one. Raises BadUsage or CommandFailed."""
    if (dump is None) != (genesis is None):
        raise BadUsage("--chain and --genesis go together; give both or neither")
    dump, genesis = dump or USUAL_PLACE / USUAL_CHAIN, genesis or USUAL_PLACE / USUAL_GENESIS
    for path in (dump, genesis):
        if not path.is_file():
            raise CommandFailed(
                f"there is no {path}; any chain that geth dumped will do: "
                "--chain FILE.rlp[.gz|.xz] --genesis GENESIS.json (bench/README.md)"
            )
    return BenchChain(dump, choose_chain(None, genesis, network_id), seal_check)


async def import_once(chain: BenchChain, stop: asyncio.Event) -> Path:
    """Data directory with the whole chain, with the state where it can be had; made unless an earlier run did.

    Raises CommandFailed or Stopped.
    """
    store_dir = chain.store_dir
    done = store_dir / "complete"
    if done.exists():
        return store_dir
    shutil.rmtree(store_dir, ignore_errors=True)
    store_dir.mkdir(parents=True)
    print(f"importing {chain.dump.name} into {store_dir} (once)", flush=True)
    try:
        dump = chain.dump
        if dump.suffix == ".xz":
            dump = store_dir / dump.stem
            await asyncio.to_thread(unpack, chain.dump, dump)
        arguments = ["--datadir", str(store_dir), *chain.choice.arguments(), "--seal-check", chain.seal_check]
        await _run_import([*arguments, str(dump)], stop)
        await or_stop(asyncio.to_thread(_add_state, chain, store_dir), stop)
        done.touch()
    finally:
        if not done.exists():
            shutil.rmtree(store_dir)
        elif dump != chain.dump:
            dump.unlink()
    return store_dir


def has_state(store_dir: Path) -> bool:
    """Whether a fast sync can be served from there."""
    store = LmdbChainStore.open(store_path(store_dir), None, read_only=True)
    try:
        return store.pivot() is not None
    finally:
        store.close()


def _add_state(chain: BenchChain, store_dir: Path) -> None:
    """Receipts and the pivot's state, where they can be worked out without a virtual machine."""
    assert chain.choice.genesis is not None
    genesis = load_genesis(chain.choice.genesis)
    store = LmdbChainStore.open(store_path(store_dir), genesis.header)
    try:
        add_receipts_and_state(store, genesis, genesis_balances(chain.choice.genesis))
    except NotOnlyTransfers as problem:
        print(f"no fast mode: {problem}", flush=True)
    finally:
        store.close()


def unpack(packed: Path, plain: Path) -> None:
    """An .xz file to a plain one. Raises CommandFailed."""
    try:
        with lzma.open(packed) as source, plain.open("wb") as target:
            shutil.copyfileobj(source, target, COPY_BYTES)
    except (lzma.LZMAError, EOFError) as problem:
        raise CommandFailed(f"{packed}: cannot be unpacked: {problem}") from problem


async def _run_import(arguments: list[str], stop: asyncio.Event) -> None:
    command = store_command("import", arguments)
    process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT)
    try:
        output, _ = await or_stop(process.communicate(), stop)
    finally:
        if process.returncode is None:
            process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), INTERRUPT_S)
        if process.returncode is None:
            process.kill()
            await process.wait()
    lines = output.decode(errors="replace").strip().splitlines() or ["it said nothing"]
    if process.returncode:
        raise CommandFailed(f"the import failed: {lines[-1]}")
    print(lines[-1], flush=True)
