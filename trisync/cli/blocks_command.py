"""`trisync blocks`: the canonical chain in steps, as indexers read it."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from typing import Annotated

import typer

from trisync.block_feed import Apply, Step
from trisync.cli import flags
from trisync.cli.failures import DONE, BadUsage, CommandFailed
from trisync.cli.node import Node, asks_node
from trisync.client import AsyncCoordinator, CoordinatorError

From = Annotated[
    int | None, typer.Option("--from", min=0, max=2**64 - 1, show_default="0", help="The first block wanted.")
]
Cursor = Annotated[str | None, typer.Option("--cursor", help="Go on after this step, as a line of before names it.")]
Last = Annotated[
    int | None, typer.Option("--to", min=0, max=2**64 - 1, help="End after this block; without it at the head.")
]
Follow = Annotated[bool, typer.Option("--follow", help="Go on with each new block, until Ctrl-C.")]
Bodies = Annotated[bool, typer.Option("--bodies", help="With the bodies; they are shown by --json only.")]
Receipts = Annotated[bool, typer.Option("--receipts", help="With the receipts; they are shown by --json only.")]


@asks_node
def blocks(
    node: Node,
    first: From = None,
    last: Last = None,
    cursor: Cursor = None,
    follow: Follow = False,
    bodies: Bodies = False,
    receipts: Receipts = False,
    as_json: flags.JsonLines = False,
) -> int:
    """Stream the canonical chain in steps: blocks to apply, and blocks to undo after a reorganisation."""
    if first is not None and cursor is not None:
        raise BadUsage("--from and --cursor exclude each other; give one of them")
    if last is not None and (first or 0) > last and cursor is None:
        raise BadUsage(f"--from {first} is above --to {last}; the first block must not be after the last")
    start: int | str = cursor if cursor is not None else first or 0

    shown = _Shown(cursor, last, as_json=as_json)

    async def read(client: AsyncCoordinator) -> None:
        steps = client.stream_blocks(start, include_bodies=bodies, include_receipts=receipts)
        try:
            await shown.show(steps)
        except CoordinatorError as error:
            hint = f"; go on with --cursor {shown.cursor}" if error.retryable and shown.cursor else ""
            raise CommandFailed(f"{error}{hint}") from error
        finally:
            await steps.aclose()

    async def follow_on(client: AsyncCoordinator) -> None:
        async with client.follow_blocks(
            start, include_bodies=bodies, include_receipts=receipts, on_interruption=shown.interrupted
        ) as steps:
            await shown.show(steps)

    if follow:
        node.follow(follow_on)
    else:
        node.ask(read)
    return DONE


class _Shown:
    """The steps that were shown, up to the block `last`."""

    def __init__(self, cursor: str | None, last: int | None, *, as_json: bool) -> None:
        self.cursor = cursor
        self._last, self._as_json = last, as_json
        self._has_begun = self._is_away = False

    async def show(self, steps: AsyncIterator[Step]) -> None:
        async for step in steps:
            if isinstance(step, Apply) and self._last is not None and step.head.number > self._last:
                return
            print(json.dumps(step_json(step)) if self._as_json else step_text(step), flush=True)
            self.cursor = step.cursor
            self._has_begun, self._is_away = True, False

    def interrupted(self, error: CoordinatorError) -> None:
        """One line until steps come again. Raises the error where none ever came: the address may be a wrong one."""
        if not self._has_begun:
            raise error
        if not self._is_away:
            print(f"trisync: {error}; going on after the last step when it is back", file=sys.stderr, flush=True)
        self._is_away = True


def step_text(step: Step) -> str:
    if isinstance(step, Apply):
        return f"apply  {step.head.number}  0x{step.head.block_hash.hex()}  cursor {step.cursor}"
    return f"undo   {step.number}  0x{step.block_hash.hex()}  cursor {step.cursor}"


def step_json(step: Step) -> dict[str, object]:
    if not isinstance(step, Apply):
        return {
            "step": "undo",
            "number": step.number,
            "hash": f"0x{step.block_hash.hex()}",
            "parent_hash": f"0x{step.parent_hash.hex()}",
            "cursor": step.cursor,
        }
    return {
        "step": "apply",
        "number": step.head.number,
        "hash": f"0x{step.head.block_hash.hex()}",
        "total_difficulty": step.head.total_difficulty,
        "header_rlp": f"0x{step.header_rlp.hex()}",
        "body_rlp": _hex(step.body_rlp),
        "receipts_rlp": _hex(step.receipts_rlp),
        "cursor": step.cursor,
    }


def _hex(content: bytes | None) -> str | None:
    return None if content is None else f"0x{content.hex()}"
