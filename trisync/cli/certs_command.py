"""`trisync certs`: the certificates of a private deployment."""

from __future__ import annotations

import dataclasses
import datetime
import json
from pathlib import Path
from typing import Annotated, Final

import typer

from services.shared.trust.roles import SERVICES, Role
from trisync.certificate_directory import CertificateDirectory
from trisync.certificates import OWN_MACHINE, USUAL_SET, CertificatesBad, Wanted
from trisync.cli import flags
from trisync.cli.failures import DONE, BadUsage, CommandFailed

MOST_DAYS: Final = 36_500

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="Where the set is, or is made.")]
Days = Annotated[int, typer.Option("--days", envvar="TRISYNC_DAYS", help="How long certificates are valid.")]
CaDays = Annotated[int, typer.Option("--ca-days", envvar="TRISYNC_CA_DAYS", help="How long the CA is valid.")]
Renew = Annotated[
    bool, typer.Option("--renew", help="Give all certificates of the set new keys and dates; the CA stays.")
]
Add = Annotated[
    list[str] | None,
    typer.Option(
        "--add",
        metavar="ROLE:NAME",
        help=f"Add a certificate to the set; a role is one of {', '.join(Role)}. Repeatable.",
    ),
]
Host = Annotated[
    list[str] | None,
    typer.Option(
        "--host",
        envvar="TRISYNC_CERT_HOST",
        metavar="NAME=HOST",
        help="A further host name or IP address of the certificate NAME, such as coordinator=10.0.0.7. Repeatable.",
    ),
]


def certs(
    directory: Directory,
    days: Days = 365,
    ca_days: CaDays = 3650,
    renew: Renew = False,
    add: Add = None,
    host: Host = None,
    as_json: flags.Json = False,
) -> int:
    """Make the certificates of a private deployment: a CA, the services', a viewer's, an operator's, an admin's."""
    for flag, number in (("--days", days), ("--ca-days", ca_days)):
        if not 1 <= number <= MOST_DAYS:
            raise BadUsage(f"{flag} {number} is not in 1..{MOST_DAYS}")
    if renew and (add or host):
        raise BadUsage("--renew keeps names and roles as they are: leave --add and --host out")
    now, lifetime = datetime.datetime.now(datetime.UTC).replace(microsecond=0), datetime.timedelta(days=days)
    made_in = CertificateDirectory(directory)
    hosts = _hosts(flags.split_words(host))
    try:
        if renew:
            written = made_in.renew(now, lifetime)
        elif add:
            written = made_in.add(_with_hosts(_added(add), hosts), now, lifetime)
        else:
            lifetimes = (lifetime, datetime.timedelta(days=ca_days))
            written = made_in.create(_with_hosts(USUAL_SET, hosts), now, lifetimes)
    except CertificatesBad as problem:
        raise CommandFailed(str(problem)) from problem
    except OSError as problem:
        raise CommandFailed(f"{problem.filename}: cannot be written: {problem.strerror or problem}") from problem
    if as_json:
        print(json.dumps({"written": [str(path) for path in written], "valid_until": f"{now + lifetime:%Y-%m-%d}"}))
        return DONE
    for path in written:
        print(path)
    print(f"valid until {now + lifetime:%Y-%m-%d}, or the end of the CA")
    return DONE


def _added(words: list[str]) -> list[Wanted]:
    return [_wanted(word) for word in words]


def _wanted(word: str) -> Wanted:
    role, colon, name = word.partition(":")
    if not colon or role not in set(Role):
        raise BadUsage(f"--add {word!r} is not ROLE:NAME with a role of {', '.join(Role)}")
    hosts = (name, *OWN_MACHINE) if role in SERVICES else ()
    try:
        return Wanted(name, Role(role), hosts)
    except CertificatesBad as problem:
        raise BadUsage(f"--add {word!r}: {problem}") from problem


def _hosts(words: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    hosts: dict[str, tuple[str, ...]] = {}
    for word in words:
        name, equals, host = word.partition("=")
        if not equals or not host:
            raise BadUsage(f"--host {word!r} is not NAME=HOST, such as coordinator=10.0.0.7")
        hosts[name] = (*hosts.get(name, ()), host)
    return hosts


def _with_hosts(wanted: list[Wanted] | tuple[Wanted, ...], hosts: dict[str, tuple[str, ...]]) -> list[Wanted]:
    names = {one.name for one in wanted if one.role in SERVICES}
    for name in hosts:
        if name not in names:
            raise BadUsage(f"--host {name}=…: there is no service's certificate {name}; there are {', '.join(names)}")
    return [dataclasses.replace(one, hosts=(*one.hosts, *hosts.get(one.name, ()))) for one in wanted]
