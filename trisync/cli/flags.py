"""The flags that several commands share, each with its environment variable."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Final

import typer

from services.shared.chainspec.networks import NETWORK_NAMES
from trisync.cli.failures import BadUsage

DEFAULT_DATADIR: Final = Path("~/.trisync")


class SealCheck(enum.StrEnum):
    AUTO = "auto"
    ETHASH = "ethash"
    CLIQUE = "clique"
    NONE = "none"


class Mode(enum.StrEnum):
    FULL = "full"
    FAST = "fast"
    LIGHT = "light"


class LogLevel(enum.StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class FanOut(enum.StrEnum):
    SEED = "seed"
    SQRT = "sqrt"
    ALL = "all"


def network_names(incomplete: str) -> list[str]:
    """For shells to complete."""
    return [name for name in NETWORK_NAMES if name.startswith(incomplete)]


Datadir = Annotated[
    Path, typer.Option("--datadir", envvar="TRISYNC_DATADIR", help="Directory of the chain, the node key and the logs.")
]
Network = Annotated[
    str | None,
    typer.Option(
        "--network",
        envvar="TRISYNC_NETWORK",
        show_default="mainnet",
        help=f"A built-in network: {', '.join(NETWORK_NAMES)}.",
        autocompletion=network_names,
    ),
]
GenesisFile = Annotated[
    Path | None,
    typer.Option(
        "--genesis",
        envvar="TRISYNC_GENESIS",
        help="A genesis file in geth's JSON format, instead of a built-in network.",
    ),
]
NetworkId = Annotated[
    int | None,
    typer.Option(
        "--networkid",
        envvar="TRISYNC_NETWORKID",
        help="Network id; without it the network's own, or the chain id of the genesis file.",
    ),
]
Seal = Annotated[
    SealCheck,
    typer.Option(
        "--seal-check",
        envvar="TRISYNC_SEAL_CHECK",
        metavar="KIND",
        help="How seals are checked: auto (as the genesis says), ethash, clique or none.",
    ),
]
Json = Annotated[bool, typer.Option("--json", envvar="TRISYNC_JSON", help="Print one JSON object as the last line.")]
JsonLines = Annotated[bool, typer.Option("--json", envvar="TRISYNC_JSON", help="Print one JSON object a line.")]
CoordinatorAddress = Annotated[
    str | None,
    typer.Option(
        "--coordinator",
        envvar="TRISYNC_COORDINATOR",
        help="gRPC address of the coordinator (host:port or unix:/path), instead of asking the data directory.",
    ),
]
TlsCa = Annotated[
    Path | None,
    typer.Option(
        "--tls-ca",
        envvar="TRISYNC_TLS_CA",
        help="PEM file of the CA of the coordinator's certificate; with it the connection is TLS.",
    ),
]
TlsCert = Annotated[
    Path | None,
    typer.Option("--tls-cert", envvar="TRISYNC_TLS_CERT", help="PEM file of the certificate that says who asks."),
]
TlsKey = Annotated[
    Path | None, typer.Option("--tls-key", envvar="TRISYNC_TLS_KEY", help="PEM file of the certificate's key.")
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file", envvar="TRISYNC_TOKEN_FILE", help="File with a bearer token to show instead of a certificate."
    ),
]
Insecure = Annotated[
    bool,
    typer.Option("--insecure", envvar="TRISYNC_INSECURE", help="Speak plaintext to a coordinator elsewhere too."),
]
OwnCert = Annotated[
    Path | None,
    typer.Option(
        "--tls-cert", envvar="TRISYNC_TLS_CERT", help="PEM file of the coordinator's certificate, for --listen."
    ),
]
OwnKey = Annotated[
    Path | None, typer.Option("--tls-key", envvar="TRISYNC_TLS_KEY", help="PEM file of the certificate's key.")
]
OwnCa = Annotated[
    Path | None,
    typer.Option("--tls-ca", envvar="TRISYNC_TLS_CA", help="PEM file of the CA of operators' certificates."),
]
ListenInsecure = Annotated[
    bool,
    typer.Option("--insecure", envvar="TRISYNC_INSECURE", help="Allow --listen in plaintext beyond loopback."),
]


def own_files(cert: Path | None, key: Path | None, ca: Path | None) -> tuple[Path, Path, Path] | None:
    """The three, or none. Raises BadUsage for some."""
    if cert is not None and key is not None and ca is not None:
        return cert, key, ca
    if (given := cert or key or ca) is not None:
        raise BadUsage(f"{given}: --tls-cert, --tls-key and --tls-ca are needed together")
    return None


def split_words(given: list[str] | None) -> tuple[str, ...]:
    """The values of a repeatable flag; one value may hold several, separated by commas, as the variable does."""
    return tuple(word.strip() for value in given or () for word in value.split(",") if word.strip())
