"""Which node a command asks: the flags for it, and the one place where commands open the client."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from trisync.cli import flags
from trisync.cli.data_dir import DataDir
from trisync.cli.failures import CommandFailed
from trisync.client import CoordinatorError, OperatorClient

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The node of a data directory, or the one at an address. Its fields are the flags of every command that asks."""

    datadir: Path = flags.DEFAULT_DATADIR
    coordinator: str | None = None

    def address(self) -> str:
        """As given, or as the data directory tells. Raises CommandFailed."""
        return self.coordinator if self.coordinator is not None else DataDir(self.datadir).coordinator_address()

    def client(self) -> OperatorClient:
        """A new client, for `async with`. Raises CommandFailed."""
        return OperatorClient(self.address())

    def ask(self, question: Callable[[OperatorClient], Awaitable[T]]) -> T:
        """The answer to one question. Raises CommandFailed."""

        async def asked() -> T:
            async with self.client() as client:
                try:
                    return await question(client)
                except CoordinatorError as error:
                    raise CommandFailed(str(error)) from error

        return asyncio.run(asked())


NODE_FLAGS: Final = (
    inspect.Parameter(
        "datadir", inspect.Parameter.KEYWORD_ONLY, default=flags.DEFAULT_DATADIR, annotation=flags.Datadir
    ),
    inspect.Parameter("coordinator", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=flags.CoordinatorAddress),
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
