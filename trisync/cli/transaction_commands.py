"""`trisync submit-tx|watch-tx|pool`: the pending transactions of a running node."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.table import Table

from services.shared.runtime.shown_times import describe_seconds
from trisync.cli import flags
from trisync.cli.failures import DONE, BadUsage, CommandFailed
from trisync.cli.node import Node, asks_node
from trisync.cli.progress import peers as describe_peers
from trisync.cli.tables import show
from trisync.client import AsyncCoordinator
from trisync.transactions import Fate, FateKind, PendingTransaction, PoolState, SubmittedTransaction

MOST_TEXT_BYTES: Final = 1024 * 1024
"""Of a file or standard input: far more than the hex of any transaction."""

HASH_BYTES: Final = 32
WEI_PER_GWEI: Final = 10**9


@asks_node
def submit_tx(
    transaction: Annotated[
        str,
        typer.Argument(
            metavar="RAWHEX|@FILE|-", help="The signed transaction in hex, a file that has it, or - for stdin."
        ),
    ],
    node: Node,
    as_json: flags.Json = False,
) -> int:
    """Hand in a signed transaction: it is checked, kept, and sent to all peers."""
    raw = read_raw(transaction)
    done = node.ask(lambda client: client.transactions.submit(raw))
    if as_json:
        print(json.dumps(submitted_json(done)))
    else:
        print(submitted_text(done))
    return DONE


@asks_node
def watch_tx(
    transaction: Annotated[str, typer.Argument(metavar="HASH", help="The transaction's hash, 64 hex digits.")],
    node: Node,
    as_json: flags.JsonLines = False,
) -> int:
    """Show what becomes of a transaction, line by line, until a block has it or it is dropped."""
    wanted = _bytes_of(transaction, "a transaction's hash")
    if len(wanted) != HASH_BYTES:
        raise BadUsage(f"{transaction!r} is no hash: it has {len(wanted)} bytes, {HASH_BYTES} are needed")

    async def watch(client: AsyncCoordinator) -> Fate | None:
        async for fate in client.transactions.watch(wanted):
            print(json.dumps(fate_json(fate)) if as_json else fate_text(fate), flush=True)
            if fate.kind in (FateKind.INCLUDED, FateKind.DROPPED):
                return fate
        return None

    fate = node.ask(watch)
    if fate is None or fate.kind is FateKind.DROPPED:
        raise CommandFailed("the transaction is not pending" if fate else "the node ended the stream")
    return DONE


@asks_node
def pool(
    node: Node,
    sender: Annotated[str | None, typer.Option("--sender", help="Only transactions of this account.")] = None,
    content: Annotated[bool, typer.Option("--content", help="List the transactions too.")] = False,
    as_json: flags.Json = False,
) -> int:
    """Show how full the pool of pending transactions is, and what is in it."""
    account = _bytes_of(sender, "an account") if sender is not None else b""
    is_listed = content or sender is not None

    async def ask(client: AsyncCoordinator) -> tuple[list[PoolState], list[PendingTransaction]]:
        pools = await client.transactions.pools()
        listed = [one async for one in client.transactions.pending(sender=account)] if is_listed else []
        return pools, listed

    pools, listed = node.ask(ask)
    if as_json:
        shown: dict[str, object] = {"pools": [pool_json(one) for one in pools]}
        if is_listed:
            shown["transactions"] = [pending_json(one) for one in listed]
        print(json.dumps(shown))
        return DONE
    for one in pools:
        print(pool_text(one))
    if is_listed:
        show(pending_table(listed) if listed else "no transactions")
    return DONE


def read_raw(given: str) -> bytes:
    """The bytes, from hex, from a file with hex (@FILE), or from standard input (-). Raises CommandFailed."""
    if given == "-":
        return _bytes_of(sys.stdin.read(MOST_TEXT_BYTES), "a transaction")
    if not given.startswith("@"):
        return _bytes_of(given, "a transaction")
    path = Path(given[1:])
    try:
        with path.open("rb") as file:
            text = file.read(MOST_TEXT_BYTES)
    except OSError as problem:
        raise CommandFailed(f"{path} cannot be read: {problem.strerror or problem}") from problem
    return _bytes_of(text.decode("ascii", errors="replace"), "a transaction")


def _bytes_of(text: str, what: str) -> bytes:
    digits = "".join(text.split()).removeprefix("0x")
    try:
        found = bytes.fromhex(digits)
    except ValueError:
        found = b""
    if not found:
        shown = digits if len(digits) <= 40 else f"{digits[:40]}…"
        raise BadUsage(f"{shown!r} is not {what} in hex; give an even number of hex digits")
    return found


def submitted_text(done: SubmittedTransaction) -> str:
    sent = f"sent to {describe_peers(done.sent_to_peers)}"
    parts = ["pooled before" if done.already_pooled else "pooled", sent]
    if done.replaced:
        parts.append(f"in the place of 0x{done.replaced.hex()}")
    if not done.journalled:
        parts.append("not kept on disk: a restart forgets it")
    return f"0x{done.transaction_hash.hex()}: {', '.join(parts)}"


def submitted_json(done: SubmittedTransaction) -> dict[str, object]:
    return {
        "hash": f"0x{done.transaction_hash.hex()}",
        "sender": f"0x{done.sender.hex()}",
        "already_pooled": done.already_pooled,
        "replaced": f"0x{done.replaced.hex()}" if done.replaced else None,
        "sent_to_peers": done.sent_to_peers,
        "journalled": done.journalled,
    }


def fate_text(fate: Fate) -> str:
    match fate.kind:
        case FateKind.UNKNOWN:
            return "not heard of"
        case FateKind.POOLED:
            return f"pooled{', local' if fate.local else ''}, sent to {describe_peers(fate.sent_to_peers)}"
        case FateKind.INCLUDED:
            return f"included in block {fate.block_number} 0x{fate.block_hash.hex()}"
        case FateKind.DROPPED:
            return f"dropped: {fate.explanation}"


def fate_json(fate: Fate) -> dict[str, object]:
    return {
        "fate": fate.kind.value,
        "sent_to_peers": fate.sent_to_peers,
        "local": fate.local,
        "block_number": fate.block_number if fate.block_hash else None,
        "block_hash": f"0x{fate.block_hash.hex()}" if fate.block_hash else None,
        "explanation": fate.explanation or None,
    }


def pool_text(state: PoolState) -> str:
    if state.problem:
        return f"{state.broadcaster}: no answer ({state.problem})"
    accepts = "" if state.accepts_transactions else "; accepts none before the first sync is done"
    told = f", {state.syncing_peers} of them being sent what was pending when they came" if state.peers else ""
    return (
        f"{state.transactions} of {state.most_transactions} transactions, {state.local_transactions} of them local, "
        f"of {state.senders} senders, {state.size_bytes} bytes; {describe_peers(state.peers)}{told}{accepts}"
    )


def pool_json(state: PoolState) -> dict[str, object]:
    return {
        "broadcaster": state.broadcaster,
        "problem": state.problem or None,
        "accepts_transactions": state.accepts_transactions,
        "transactions": state.transactions,
        "local_transactions": state.local_transactions,
        "senders": state.senders,
        "size_bytes": state.size_bytes,
        "most_transactions": state.most_transactions,
        "known_hashes": state.known_hashes,
        "peers": state.peers,
        "syncing_peers": state.syncing_peers,
    }


def pending_table(transactions: list[PendingTransaction]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("hash", "sender", "nonce", "gwei per gas", "gas limit", "pooled for", "peers", ""):
        table.add_column(name)
    for one in transactions:
        table.add_row(
            f"0x{one.transaction_hash.hex()}",
            f"0x{one.sender.hex()}",
            str(one.nonce),
            f"{one.fee_cap / WEI_PER_GWEI:g}",
            str(one.gas_limit),
            describe_seconds(one.pooled_seconds),
            str(one.sent_to_peers),
            "local" if one.local else "",
        )
    return table


def pending_json(one: PendingTransaction) -> dict[str, object]:
    return {
        "hash": f"0x{one.transaction_hash.hex()}",
        "sender": f"0x{one.sender.hex()}",
        "nonce": one.nonce,
        "fee_cap": one.fee_cap,
        "tip_cap": one.tip_cap,
        "gas_limit": one.gas_limit,
        "size_bytes": one.size_bytes,
        "local": one.local,
        "pooled_seconds": round(one.pooled_seconds, 1),
        "sent_to_peers": one.sent_to_peers,
    }
