"""`trisync header|receipts|hash`: what a running node stores of one block, beside `trisync block`."""

from __future__ import annotations

import json
from dataclasses import dataclass

import rlp

from trisync.cli import flags
from trisync.cli.block_command import HeaderFacts, Wanted, facts_table, header_facts, header_json, parse_block_name
from trisync.cli.failures import DONE, CommandFailed
from trisync.cli.node import Node, asks_node
from trisync.cli.tables import show
from trisync.node_status import StoredReceipts


@asks_node
def header(wanted: Wanted, node: Node, as_json: flags.Json = False) -> int:
    """Show the header of a block of a running node, by number or by hash."""
    name = parse_block_name(wanted)
    found = node.ask(lambda client: client.header(name))
    if found is None:
        raise CommandFailed(f"block {wanted} is not stored")
    facts: HeaderFacts = header_facts(found.head, found.header_rlp, canonical=found.canonical)
    if as_json:
        print(json.dumps({**header_json(facts), "header_rlp": f"0x{found.header_rlp.hex()}"}))
    else:
        show(facts_table(header_json(facts)))
    return DONE


@asks_node
def receipts(wanted: Wanted, node: Node, as_json: flags.Json = False) -> int:
    """Show the receipts of a block of a running node: one line for each transaction."""
    name = parse_block_name(wanted)
    found = node.ask(lambda client: client.receipts(name))
    if found is None:
        raise CommandFailed(f"block {wanted} is not stored")
    facts = receipt_facts(found.receipts_rlp) if found.receipts_rlp is not None else None
    if as_json:
        print(json.dumps(receipts_json(found, facts)))
        return DONE
    head = found.head
    stored = "its receipts are not stored" if facts is None else f"{len(facts)} receipts"
    lines = [f"block {head.number} 0x{head.block_hash.hex()}: {stored}"]
    print("\n".join([*lines, *(_receipt_line(place, one) for place, one in enumerate(facts or []))]))
    return DONE


@asks_node
def hash_(wanted: Wanted, node: Node, as_json: flags.Json = False) -> int:
    """Show the hash of the canonical block at a number, or at the number of the block with a hash."""
    name = parse_block_name(wanted)
    found = node.ask(lambda client: client.canonical_hash(name))
    if found is None:
        raise CommandFailed(f"there is no canonical block at {wanted}")
    digits = f"0x{found.hex()}"
    print(json.dumps({"hash": digits}) if as_json else digits)
    return DONE


@dataclass(frozen=True, slots=True)
class ReceiptFacts:
    """What is shown of a receipt. Before Byzantium it has a state root, afterwards a status (EIP-658)."""

    kind: int
    state_root: bytes | None
    succeeded: bool | None
    cumulative_gas: int
    logs: int


def receipt_facts(receipts_rlp: bytes) -> list[ReceiptFacts]:
    """Of each receipt of a block's list."""
    facts = []
    for one in rlp.decode(receipts_rlp):
        kind, fields = (one[0], rlp.decode(one[1:])) if isinstance(one, bytes) else (0, one)
        outcome, cumulative_gas, _, logs = fields
        is_root = len(outcome) > 1
        facts.append(
            ReceiptFacts(
                kind=kind,
                state_root=outcome if is_root else None,
                succeeded=None if is_root else bool(outcome),
                cumulative_gas=int.from_bytes(cumulative_gas),
                logs=len(logs),
            )
        )
    return facts


def receipts_json(found: StoredReceipts, facts: list[ReceiptFacts] | None) -> dict[str, object]:
    return {
        "number": found.head.number,
        "hash": f"0x{found.head.block_hash.hex()}",
        "canonical": found.canonical,
        "receipts": None if facts is None else [_receipt_json(one) for one in facts],
        "receipts_rlp": f"0x{found.receipts_rlp.hex()}" if found.receipts_rlp is not None else None,
    }


def _receipt_json(one: ReceiptFacts) -> dict[str, object]:
    return {
        "type": one.kind,
        "state_root": f"0x{one.state_root.hex()}" if one.state_root is not None else None,
        "succeeded": one.succeeded,
        "cumulative_gas": one.cumulative_gas,
        "logs": one.logs,
    }


def _receipt_line(place: int, one: ReceiptFacts) -> str:
    outcome = {True: "succeeded", False: "failed", None: f"state root 0x{(one.state_root or b'').hex()}"}[one.succeeded]
    kind = f", type {one.kind}" if one.kind else ""
    return f"{place}  {outcome}, {one.cumulative_gas} gas up to here, {one.logs} logs{kind}"
