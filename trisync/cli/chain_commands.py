"""`trisync init|import|export|verify`: work on the store of a stopped node, done by the coordinator's own code."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from trisync.cli import flags
from trisync.cli.chain_choice import choose_chain

COMMANDS_MODULE: Final = "services.sync_coordinator.commands"


def init(
    datadir: flags.Datadir = flags.DEFAULT_DATADIR,
    network: flags.Network = None,
    genesis: flags.GenesisFile = None,
    networkid: flags.NetworkId = None,
    as_json: flags.Json = False,
) -> None:
    """Make a chain store with its genesis block."""
    run_store_command(
        "init", [*_store(datadir, as_json=as_json), *choose_chain(network, genesis, networkid).arguments()]
    )


def import_(
    files: Annotated[
        list[Path], typer.Argument(dir_okay=False, help="Chain dumps (.rlp, .rlp.gz, .blocks) and era1 files.")
    ],
    datadir: flags.Datadir = flags.DEFAULT_DATADIR,
    network: flags.Network = None,
    genesis: flags.GenesisFile = None,
    networkid: flags.NetworkId = None,
    seal_check: flags.Seal = flags.SealCheck.AUTO,
    as_json: flags.Json = False,
) -> None:
    """Import chain dumps and era1 files; what is known is skipped, what is invalid is refused."""
    chain = choose_chain(network, genesis, networkid)
    names = [str(file) for file in files]
    run_store_command(
        "import", [*_store(datadir, as_json=as_json), *chain.arguments(), "--seal-check", seal_check.value, *names]
    )


def export(
    file: Annotated[Path, typer.Argument(help="The dump to write; a name that ends in .gz is compressed.")],
    first: Annotated[int, typer.Argument(help="The first block of the dump.")] = 0,
    last: Annotated[int | None, typer.Argument(help="The last block; without it the head.")] = None,
    datadir: flags.Datadir = flags.DEFAULT_DATADIR,
    network: flags.Network = None,
    genesis: flags.GenesisFile = None,
    networkid: flags.NetworkId = None,
    as_json: flags.Json = False,
) -> None:
    """Write the chain as a dump that an import takes."""
    chain = choose_chain(network, genesis, networkid)
    blocks = [str(first)] if last is None else [str(first), str(last)]
    run_store_command("export", [*_store(datadir, as_json=as_json), *chain.arguments(), str(file), *blocks])


def verify(
    datadir: flags.Datadir = flags.DEFAULT_DATADIR,
    network: flags.Network = None,
    genesis: flags.GenesisFile = None,
    networkid: flags.NetworkId = None,
    seal_check: flags.Seal = flags.SealCheck.AUTO,
    as_json: flags.Json = False,
) -> None:
    """Check the whole store again."""
    chain = choose_chain(network, genesis, networkid)
    run_store_command(
        "verify", [*_store(datadir, as_json=as_json), *chain.arguments(), "--seal-check", seal_check.value]
    )


def _store(datadir: Path, *, as_json: bool) -> list[str]:
    return ["--datadir", str(datadir.expanduser().absolute()), *(["--json"] if as_json else [])]


def store_command(command: str, arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", COMMANDS_MODULE, command, *arguments]


def run_store_command(command: str, arguments: list[str]) -> NoReturn:
    """Become the command: its input, output, signals and exit code are then simply ours."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, store_command(command, arguments))  # noqa: S606 - our own interpreter and module
