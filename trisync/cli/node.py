"""Which node a command asks: the flags for it, and the one place where commands open the client."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from trisync.cli import flags
from trisync.cli.data_dir import DataDir
from trisync.cli.failures import BadUsage, CommandFailed
from trisync.cli.waiting import Stopped, or_stop, stop_on_signals
from trisync.client import AsyncCoordinator, CoordinatorError
from trisync.credentials import Credentials, CredentialsBad

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The node of a data directory, or the one at an address. Its fields are the flags of every command that asks."""

    datadir: Path = flags.DEFAULT_DATADIR
    coordinator: str | None = None
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    token_file: Path | None = None
    insecure: bool = False

    def address(self) -> str:
        """As given, or as the data directory tells. Raises CommandFailed."""
        return self.coordinator if self.coordinator is not None else DataDir(self.datadir).coordinator_address()

    def client(self) -> AsyncCoordinator:
        """A new client, for `async with`. Raises CommandFailed."""
        credentials = Credentials(
            tls_ca=self.tls_ca,
            tls_cert=self.tls_cert,
            tls_key=self.tls_key,
            token_file=self.token_file,
            insecure=self.insecure,
        )
        try:
            return AsyncCoordinator(self.address(), credentials)
        except CredentialsBad as problem:
            raise BadUsage(str(problem)) from problem

    def ask(self, question: Callable[[AsyncCoordinator], Awaitable[T]]) -> T:
        """The answer to one question. Raises CommandFailed."""

        async def asked() -> T:
            async with self.client() as client:
                try:
                    return await question(client)
                except CoordinatorError as error:
                    raise CommandFailed(str(error)) from error

        return asyncio.run(asked())

    def follow(self, reading: Callable[[AsyncCoordinator], Awaitable[None]]) -> None:
        """Read what has no end, until Ctrl-C or SIGTERM. Raises CommandFailed."""

        async def until_stopped(client: AsyncCoordinator) -> None:
            with contextlib.suppress(Stopped):
                await or_stop(reading(client), stop_on_signals())

        self.ask(until_stopped)


def _flag(name: str, default: object, annotation: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


NODE_FLAGS: Final = (
    _flag("datadir", flags.DEFAULT_DATADIR, flags.Datadir),
    _flag("coordinator", None, flags.CoordinatorAddress),
    _flag("tls_ca", None, flags.TlsCa),
    _flag("tls_cert", None, flags.TlsCert),
    _flag("tls_key", None, flags.TlsKey),
    _flag("token_file", None, flags.TokenFile),
    _flag("insecure", False, flags.Insecure),
)
"""One for each field of Node."""


def asks_node(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the flags of Node, and make its argument `node` of them."""

    @functools.wraps(command)
    def with_node(**given: object) -> int:
        chosen = {flag.name: given.pop(flag.name) for flag in NODE_FLAGS}
        return command(node=Node(**chosen), **given)  # type: ignore[arg-type] # typer made them of the annotations

    own = inspect.signature(command, eval_str=True).parameters.values()
    kept = [flag.replace(kind=inspect.Parameter.KEYWORD_ONLY) for flag in own if flag.name != "node"]
    shown = [*kept, *NODE_FLAGS]
    with_node.__signature__ = inspect.Signature(shown, return_annotation=int)  # type: ignore[attr-defined] # of typer
    with_node.__annotations__ = {flag.name: flag.annotation for flag in shown}
    return with_node
