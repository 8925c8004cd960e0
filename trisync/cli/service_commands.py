"""`trisync coordinator|broadcaster|gateway`: one service, as containers run it. `trisync health` asks one."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Final, NoReturn

import typer

from trisync.cli import flags
from trisync.health import TLS_VARIABLES
from trisync.health import main as check_health

PASSED_ON: Final = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
"""Settings of a command whose flags, --help too, are read by the service itself."""


def coordinator(context: typer.Context) -> None:
    """Run the sync coordinator alone; its flags are its own, see --help."""
    _become("services.sync_coordinator", context.args)


def broadcaster(context: typer.Context) -> None:
    """Run the broadcaster alone; its flags are its own, see --help."""
    _become("services.broadcaster", context.args)


def gateway(context: typer.Context) -> None:
    """Run one peer gateway alone; its flags are its own, see --help."""
    _become("services.peer_gateway", context.args)


def health(
    address: Annotated[
        str | None,
        typer.Argument(
            metavar="[ADDRESS]",
            help="gRPC address of the service, host:port or unix:/path; without it the first one of TRISYNC_LISTEN.",
        ),
    ] = None,
    tls_ca: flags.TlsCa = None,
    tls_cert: flags.TlsCert = None,
    tls_key: flags.TlsKey = None,
    as_json: flags.Json = False,
) -> int:
    """Ask one service whether it is serving: exit code 0 when it is, 1 when not."""
    given = zip(TLS_VARIABLES, (tls_ca, tls_key, tls_cert), strict=True)
    environ = {**os.environ, **{name: str(path) for name, path in given if path is not None}}
    return check_health([] if address is None else [address], environ, as_json=as_json)


def _become(module: str, arguments: list[str]) -> NoReturn:
    """Signals reach the service directly, and its exit code is ours."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 - our own interpreter and module
