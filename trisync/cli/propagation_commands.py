"""`trisync submit-block|propagation|rank-peers`: new blocks, and how they spread."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.table import Table

from trisync.blocks import Propagation, RankedPeer, SubmittedBlock
from trisync.cli import flags
from trisync.cli.block_command import parse_block_name
from trisync.cli.failures import BAD_USAGE, DONE, CommandFailed
from trisync.cli.node import Node, asks_node
from trisync.cli.tables import show
from trisync.client import AsyncCoordinator

NEWEST: Final = 20
"""As many lines as can be read at once."""

STDIN: Final = "-"
LEAST_HEX_DIGITS: Final = 1000
"""A block has a header of 500 bytes; a shorter word is meant as the name of a file."""

Source = Annotated[
    str,
    typer.Argument(metavar="FILE|-|HEX", help="A file with the block's RLP, plain or as hex; - is stdin; or the hex."),
]
Hash = Annotated[str | None, typer.Argument(metavar="[HASH]", help="A block; without it the newest ones.")]
Newest = Annotated[int, typer.Option("--newest", min=1, max=2_000, help="List so many of the newest blocks.")]
Follow = Annotated[bool, typer.Option("--follow", help="Go on with each new block, until Ctrl-C.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="List the first so many.")]


@asks_node
def submit_block(
    source: Source,
    node: Node,
    as_json: flags.Json = False,
) -> int:
    """Hand a new block to a running node, which checks it, sends it to peers and imports it."""
    block_rlp = read_block(source)
    submitted = node.ask(lambda client: client.blocks.submit(block_rlp))
    print(json.dumps(submitted_json(submitted)) if as_json else submitted_sentence(submitted))
    return DONE


@asks_node
def propagation(
    node: Node,
    block_hash: Hash = None,
    newest: Newest = NEWEST,
    follow: Follow = False,
    as_json: flags.Json = False,
) -> int:
    """Show how blocks spread: seen when and from whom, checked, imported, sent to how many."""
    if block_hash is not None:
        name = parse_block_name(block_hash)
        if isinstance(name, int):
            raise CommandFailed(f"{block_hash!r} is a number; blocks spread by hash, see trisync block", BAD_USAGE)
        found = node.ask(lambda client: client.blocks.propagation(name))
        if found is None:
            raise CommandFailed(f"block {block_hash} is not among the last 2000 that were relayed")
        if as_json:
            print(json.dumps(propagation_json(found)))
        else:
            show(propagation_table(found))
        return DONE
    ask = node.follow if follow else node.ask
    ask(lambda client: _show_newest(client, newest, follow=follow, as_json=as_json))
    return DONE


@asks_node
def rank_peers(
    node: Node,
    limit: Limit = NEWEST,
    as_json: flags.Json = False,
) -> int:
    """List the peers that were most often the first to bring one of the last 2,000 blocks."""
    ranked, blocks = node.ask(lambda client: client.blocks.rank_peers(limit))
    if as_json:
        print(json.dumps({"blocks": blocks, "peers": [ranked_json(one) for one in ranked]}))
    else:
        show(ranked_table(ranked, blocks) if ranked else "no peer has brought a block yet")
    return DONE


def read_block(source: str) -> bytes:
    """The bytes a user means. Raises CommandFailed."""
    if source == STDIN:
        content = sys.stdin.buffer.read()
    elif len(source) >= LEAST_HEX_DIGITS and _from_hex(source.encode()) is not None:
        content = source.encode()
    else:
        try:
            content = Path(source).expanduser().read_bytes()
        except OSError as problem:
            why = (problem.strerror or str(problem)).lower()
            shown = source if len(source) <= 80 else f"{source[:80]}…"
            raise CommandFailed(f"{shown}: {why}; give a file, - for stdin, or the block's hex") from problem
    if not content.strip():
        raise CommandFailed(f"{source}: there is no block in it")
    as_hex = _from_hex(content)
    return content if as_hex is None else as_hex


def _from_hex(text: bytes) -> bytes | None:
    """What hex digits say; None for other bytes, as the RLP of any block, which begins with 0xf9 or more."""
    try:
        return bytes.fromhex(text.decode("ascii").strip().removeprefix("0x"))
    except ValueError:
        return None


async def _show_newest(client: AsyncCoordinator, newest: int, *, follow: bool, as_json: bool) -> None:
    if follow or as_json:
        async for one in client.blocks.watch_propagations(newest, follow=follow):
            print(json.dumps(propagation_json(one)) if as_json else propagation_sentence(one), flush=True)
        return
    lines = [propagation_sentence(one) async for one in client.blocks.watch_propagations(newest)]
    print("\n".join(lines) if lines else "no block was relayed since the broadcaster's start")


def submitted_sentence(submitted: SubmittedBlock) -> str:
    block = submitted.block
    name = f"block {block.number} 0x{block.block_hash.hex()}"
    if not submitted.is_new:
        return f"{name} is stored already; nobody was told again"
    place = "the head's chain" if submitted.canonical else "a side chain"
    heard = f"sent to {submitted.propagated} peers, announced to {submitted.announced}"
    return f"{name} imported on {place} (total difficulty {block.total_difficulty}), {heard}"


def submitted_json(submitted: SubmittedBlock) -> dict[str, object]:
    return {
        "result": "imported" if submitted.is_new else "known",
        "number": submitted.block.number,
        "hash": f"0x{submitted.block.block_hash.hex()}",
        "total_difficulty": submitted.block.total_difficulty,
        "canonical": submitted.canonical,
        "propagated": submitted.propagated,
        "announced": submitted.announced,
    }


def propagation_sentence(one: Propagation) -> str:
    """One line of a list."""
    start = one.first_seen_us or one.header_valid_us or one.imported_us
    stages = [
        f"{name} +{(at - start) / 1000:.1f} ms"
        for name, at in (("valid", one.header_valid_us), ("sent", one.propagated_us), ("imported", one.imported_us))
        if at is not None and start is not None
    ]
    origin = f"{one.source} {one.first_seen_from.hex()[:16]}…" if one.first_seen_from else str(one.source)
    heard = f"sent to {one.propagated_to} of {one.lacked_by}, announced to {one.announced_to}"
    parts = [_time(start), str(one.number), f"0x{one.block_hash.hex()}", origin, ", ".join(stages), heard]
    return "  ".join(part for part in parts if part)


def propagation_table(one: Propagation) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in propagation_json(one).items():
        shown = _time(value) if name.endswith("_us") and isinstance(value, int) else _text(value)
        table.add_row(name.removesuffix("_us").replace("_", " "), shown)
    return table


def propagation_json(one: Propagation) -> dict[str, object]:
    return {
        "number": one.number,
        "hash": f"0x{one.block_hash.hex()}",
        "source": str(one.source),
        "first_seen_us": one.first_seen_us,
        "first_seen_from": one.first_seen_from.hex() or None,
        "first_seen_whole": one.first_seen_whole,
        "whole_arrivals": one.whole_arrivals,
        "hash_arrivals": one.hash_arrivals,
        "duplicates": one.duplicates,
        "header_valid_us": one.header_valid_us,
        "propagated_us": one.propagated_us,
        "propagated_to": one.propagated_to,
        "lacked_by": one.lacked_by,
        "refused_by": one.refused_by,
        "imported_us": one.imported_us,
        "announced_us": one.announced_us,
        "announced_to": one.announced_to,
    }


def ranked_table(ranked: list[RankedPeer], blocks: int) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("first", "of all", "whole", "node id", "client", "last first"):
        table.add_column(column, overflow="fold")
    for one in ranked:
        share = f"{100 * one.first / blocks:.0f} %"
        client = one.client_name if one.connected else "(not connected)"
        last = _time(one.last_first_us)
        table.add_row(str(one.first), share, str(one.first_whole), f"{one.node_id.hex()[:16]}…", client, last)
    return table


def ranked_json(one: RankedPeer) -> dict[str, object]:
    return {
        "node_id": one.node_id.hex(),
        "first": one.first,
        "first_whole": one.first_whole,
        "last_first_us": one.last_first_us,
        "connected": one.connected,
        "client": one.client_name or None,
    }


def _time(unix_us: int | None) -> str:
    return "" if unix_us is None else datetime.fromtimestamp(unix_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _text(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case None:
            return "never"
        case _:
            return str(value)
