"""`trisync block`: one block of a running node."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Final

import rlp
import typer
from rich.table import Table

from trisync.cli import flags
from trisync.cli.failures import BAD_USAGE, DONE, CommandFailed
from trisync.cli.node import Node, asks_node
from trisync.cli.tables import show
from trisync.node_status import StoredBlock

HASH_BYTES: Final = 32
MAX_NUMBER: Final = 2**64 - 1

Wanted = Annotated[str, typer.Argument(metavar="NUMBER|HASH", help="A number, or a hash of 64 hex digits.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockFacts:
    """What is shown of a block; the counts are None where the body is not stored."""

    block: StoredBlock
    parent_hash: bytes
    coinbase: bytes
    state_root: bytes
    difficulty: int
    gas_limit: int
    gas_used: int
    timestamp: int
    extra_data: bytes
    transactions: int | None
    uncles: int | None


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
    facts = block_facts(found)
    if as_json:
        print(json.dumps(block_json(facts)))
    else:
        show(block_table(facts))
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


def block_facts(block: StoredBlock) -> BlockFacts:
    """Reads what is shown from the header's fields, in their order (Yellow Paper, section 4.3)."""
    fields: list[bytes] = rlp.decode(block.header_rlp)
    body = rlp.decode(block.body_rlp) if block.body_rlp else None
    return BlockFacts(
        block=block,
        parent_hash=fields[0],
        coinbase=fields[2],
        state_root=fields[3],
        difficulty=int.from_bytes(fields[7]),
        gas_limit=int.from_bytes(fields[9]),
        gas_used=int.from_bytes(fields[10]),
        timestamp=int.from_bytes(fields[11]),
        extra_data=fields[12],
        transactions=None if body is None else len(body[0]),
        uncles=None if body is None else len(body[1]),
    )


def block_table(facts: BlockFacts) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in _shown(facts).items():
        table.add_row(name.replace("_", " "), _text(value))
    return table


def block_json(facts: BlockFacts) -> dict[str, object]:
    block = facts.block
    body_rlp = f"0x{block.body_rlp.hex()}" if block.body_rlp else None
    return {**_shown(facts), "header_rlp": f"0x{block.header_rlp.hex()}", "body_rlp": body_rlp}


def _shown(facts: BlockFacts) -> dict[str, object]:
    head = facts.block.head
    return {
        "number": head.number,
        "hash": f"0x{head.block_hash.hex()}",
        "canonical": facts.block.canonical,
        "total_difficulty": head.total_difficulty,
        "parent_hash": f"0x{facts.parent_hash.hex()}",
        "coinbase": f"0x{facts.coinbase.hex()}",
        "state_root": f"0x{facts.state_root.hex()}",
        "difficulty": facts.difficulty,
        "gas_limit": facts.gas_limit,
        "gas_used": facts.gas_used,
        "timestamp": facts.timestamp,
        "extra_data": f"0x{facts.extra_data.hex()}",
        "transactions": facts.transactions,
        "uncles": facts.uncles,
    }


def _text(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case None:
            return "not stored"
        case _:
            return str(value)
