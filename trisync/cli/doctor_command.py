"""`trisync doctor`: dials one peer, done by the gateway's own code."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from services.shared.chainspec.enode import EnodeInvalid, parse_enode
from trisync.cli import flags
from trisync.cli.chain_choice import choose_chain
from trisync.cli.failures import BadUsage

DOCTOR_MODULE: Final = "services.peer_gateway.doctor"

MOST_TIMEOUT_S: Final = 3600.0


def doctor(
    url: Annotated[str, typer.Argument(metavar="URL", help="The peer's enode URL.")],
    network: Annotated[
        str | None,
        typer.Option(
            "--network",
            envvar="TRISYNC_NETWORK",
            show_default="whatever the peer is on",
            help="The built-in network that the peer should be on.",
            autocompletion=flags.network_names,
        ),
    ] = None,
    genesis: flags.GenesisFile = None,
    networkid: flags.NetworkId = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            envvar="TRISYNC_TIMEOUT",
            show_default="a gateway's own times",
            help="Seconds that each step may take.",
        ),
    ] = None,
    nodekey: Annotated[
        str | None,
        typer.Option(
            "--nodekey",
            envvar="TRISYNC_DOCTOR_NODEKEY",
            show_default="a key made for this dial",
            help="Who we are: 64 hex digits, or a file that has them. Not the key of a node that runs.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", envvar="TRISYNC_JSON", help="Print one JSON object instead of lines.")
    ] = False,
) -> None:
    """Dial a peer, tell every step, and say why it works or does not."""
    _run(doctor_arguments(url, _chain(network, genesis, networkid), timeout, as_json=as_json), nodekey)


def doctor_arguments(url: str, chain: list[str], timeout: float | None, *, as_json: bool) -> list[str]:
    """The command line of the gateway's doctor. Raises BadUsage."""
    try:
        parse_enode(url)
    except EnodeInvalid as problem:
        raise BadUsage(str(problem)) from problem
    if timeout is not None and not 0 < timeout <= MOST_TIMEOUT_S:
        raise BadUsage(f"--timeout {timeout} is not above 0 and at most {MOST_TIMEOUT_S:g} seconds")
    waiting = [] if timeout is None else ["--timeout", str(timeout)]
    return [*chain, *waiting, *(["--json"] if as_json else []), "--", url]


def _chain(network: str | None, genesis: Path | None, networkid: int | None) -> list[str]:
    """No chain where none is named: then the peer's own is taken."""
    if network is None and genesis is None:
        if networkid is not None:
            raise BadUsage("--networkid says nothing without --network or --genesis; give one of them")
        return []
    return choose_chain(network, genesis, networkid).arguments()


def _run(arguments: list[str], nodekey: str | None) -> NoReturn:
    """Become the doctor: its output, signals and exit code are then simply ours."""
    sys.stdout.flush()
    sys.stderr.flush()
    environment = dict(os.environ)
    # Not a flag: a key must not stand in the list of processes.
    environment.pop("TRISYNC_DOCTOR_NODEKEY", None)
    if nodekey is not None:
        environment["TRISYNC_DOCTOR_NODEKEY"] = nodekey
    command = [sys.executable, "-m", DOCTOR_MODULE, *arguments]
    os.execve(sys.executable, command, environment)  # noqa: S606 - our own interpreter and module
