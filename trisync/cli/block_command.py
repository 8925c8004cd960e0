"""`trisync block`: one block of a running node."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final

import rlp
import typer
from rich.table import Table

from trisync.cli import flags
from trisync.cli.failures import BAD_USAGE, DONE, CommandFailed
from trisync.cli.node import Node, asks_node
from trisync.cli.tables import show
from trisync.node_status import ChainHead, StoredBlock

HASH_BYTES: Final = 32
MAX_NUMBER: Final = 2**64 - 1

Wanted = Annotated[str, typer.Argument(metavar="NUMBER|HASH", help="A number, or a hash of 64 hex digits.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderFacts:
    """What is shown of a header."""

    head: ChainHead
    canonical: bool
    parent_hash: bytes
    coinbase: bytes
    state_root: bytes
    difficulty: int
    gas_limit: int
    gas_used: int
    timestamp: int
    extra_data: bytes


@asks_node
def block(
    wanted: Wanted,
    node: Node,
    as_json: flags.Json = False,
) -> int:
    """Show a block of a running node, by number or by hash."""
    name = parse_block_name(wanted)
    found = node.ask(lambda client: client.block(name))
    if found is None:
        raise CommandFailed(f"block {wanted} is not stored")
    if as_json:
        print(json.dumps(block_json(found)))
    else:
        show(block_table(found))
    return DONE


def parse_block_name(text: str) -> int | bytes:
    """Raises CommandFailed for what is neither a number nor a hash."""
    digits = text.removeprefix("0x")
    if len(digits) == 2 * HASH_BYTES and set(digits.lower()) <= set("0123456789abcdef"):
        return bytes.fromhex(digits)
    if text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_NUMBER)) and int(text) <= MAX_NUMBER:
        return int(text)
    rule = f"is neither a number up to {MAX_NUMBER} nor a hash of {2 * HASH_BYTES} hex digits"
    raise CommandFailed(f"{text!r} {rule}", BAD_USAGE)


def header_facts(head: ChainHead, header_rlp: bytes, *, canonical: bool) -> HeaderFacts:
    """Reads what is shown from the header's fields, in their order (Yellow Paper, section 4.3)."""
    fields: list[bytes] = rlp.decode(header_rlp)
    return HeaderFacts(
        head=head,
        canonical=canonical,
        parent_hash=fields[0],
        coinbase=fields[2],
        state_root=fields[3],
        difficulty=int.from_bytes(fields[7]),
        gas_limit=int.from_bytes(fields[9]),
        gas_used=int.from_bytes(fields[10]),
        timestamp=int.from_bytes(fields[11]),
        extra_data=fields[12],
    )


def facts_table(facts: Mapping[str, object]) -> Table:
    """One line for each, its name in words."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), _text(value))
    return table


def block_table(block: StoredBlock) -> Table:
    return facts_table(_shown(block))


def block_json(block: StoredBlock) -> dict[str, object]:
    body_rlp = f"0x{block.body_rlp.hex()}" if block.body_rlp else None
    return {**_shown(block), "header_rlp": f"0x{block.header_rlp.hex()}", "body_rlp": body_rlp}


def header_json(facts: HeaderFacts) -> dict[str, object]:
    return {
        "number": facts.head.number,
        "hash": f"0x{facts.head.block_hash.hex()}",
        "canonical": facts.canonical,
        "total_difficulty": facts.head.total_difficulty,
        "parent_hash": f"0x{facts.parent_hash.hex()}",
        "coinbase": f"0x{facts.coinbase.hex()}",
        "state_root": f"0x{facts.state_root.hex()}",
        "difficulty": facts.difficulty,
        "gas_limit": facts.gas_limit,
        "gas_used": facts.gas_used,
        "timestamp": facts.timestamp,
        "extra_data": f"0x{facts.extra_data.hex()}",
    }


def _shown(block: StoredBlock) -> dict[str, object]:
    """The counts are None where the body is not stored."""
    body = rlp.decode(block.body_rlp) if block.body_rlp else None
    return {
        **header_json(header_facts(block.head, block.header_rlp, canonical=block.canonical)),
        "transactions": None if body is None else len(body[0]),
        "uncles": None if body is None else len(body[1]),
    }


def _text(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case None:
            return "not stored"
        case _:
            return str(value)
