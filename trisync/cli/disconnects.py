"""`trisync disconnects`: which connections ended, by whom, and for what."""

from __future__ import annotations

import datetime
import json
from typing import Annotated, Final

import typer
from rich.markup import escape
from rich.table import Table

from services.shared.runtime.shown_times import describe_seconds
from trisync.cli import flags
from trisync.cli.failures import BAD_USAGE, DONE, CommandFailed
from trisync.cli.node import Node, asks_node
from trisync.cli.tables import show
from trisync.disconnects import OFFENCES, Disconnect, DisconnectList, Side

DEFAULT_LIMIT: Final = 50
"""As many lines as can be read at once."""

NODE_ID_BYTES: Final = 64

Limit = Annotated[int, typer.Option("--limit", min=0, help="Show the newest so many; 0 is all that are kept.")]
NodeId = Annotated[str | None, typer.Option("--node", help="Only of this node id (128 hex digits).")]
WhichSide = Annotated[Side | None, typer.Option("--side", help="Only those that we, or they, ended.")]
OffenceName = Annotated[
    str | None,
    typer.Option(
        "--offence",
        help="Only those of this cause, as the list names it.",
        autocompletion=lambda incomplete: [name for name in OFFENCES if name.startswith(incomplete)],
    ),
]


@asks_node
def disconnects(
    node: Node,
    limit: Limit = DEFAULT_LIMIT,
    of_node: NodeId = None,
    side: WhichSide = None,
    offence: OffenceName = None,
    as_json: flags.Json = False,
) -> int:
    """List the connections that ended, newest first, with who ended them and why."""
    node_id = _node_id(of_node)
    if offence is not None and offence not in OFFENCES:
        raise CommandFailed(f"--offence {offence} is none of {', '.join(OFFENCES)}", BAD_USAGE)
    found = node.ask(lambda client: client.disconnects(limit=limit, node_id=node_id, side=side, offence=offence))
    if as_json:
        print(json.dumps(list_json(found)))
    else:
        show(disconnects_table(found) if found.disconnects else "no connection ended", summary(found))
    return DONE


def _node_id(digits: str | None) -> bytes | None:
    if digits is None:
        return None
    try:
        node_id = bytes.fromhex(digits.removeprefix("0x"))
    except ValueError:
        node_id = b""
    if len(node_id) != NODE_ID_BYTES:
        raise CommandFailed(f"--node {digits} is not a node id of {2 * NODE_ID_BYTES} hex digits", BAD_USAGE)
    return node_id


def disconnects_table(found: DisconnectList) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("when", "node id", "client", "address", "stage", "by", "reason", "offence", "ban", "why"):
        table.add_column(column, overflow="fold")
    for one in found.disconnects:
        when = datetime.datetime.fromtimestamp(one.unix_time_s, datetime.UTC).astimezone()
        marks = [word for word, is_so in (("static", one.static), ("trusted", one.trusted)) if is_so]
        table.add_row(
            f"{when:%m-%d %H:%M:%S}",
            f"{one.node_id.hex()[:16]}…",
            # Peers chose these words: brackets in them are no markup.
            escape(one.client_name),
            " ".join([one.remote_address, "in" if one.inbound else "out", *marks]),
            _how_far(one),
            one.side.value,
            (one.reason or "none").replace("_", " "),
            one.offence.replace("_", " "),
            describe_seconds(int(one.ban_s)) if one.ban_s else "",
            escape(one.explanation),
        )
    return table


def _how_far(one: Disconnect) -> str:
    return f"{one.stage} {describe_seconds(int(one.connected_s))}" if one.stage == "joined" else one.stage


def summary(found: DisconnectList) -> str:
    """One line: what ended how often since the start, the most frequent first."""
    counts = ", ".join(f"{offence} {count} ({side.value})" for side, offence, count in found.counts)
    return f"since the start: {counts.replace('_', ' ') or 'none'}; banned now: {found.banned}"


def list_json(found: DisconnectList) -> dict[str, object]:
    return {
        "disconnects": [_disconnect_json(one) for one in found.disconnects],
        "counts": [{"side": side.value, "offence": offence, "count": count} for side, offence, count in found.counts],
        "banned": found.banned,
    }


def _disconnect_json(one: Disconnect) -> dict[str, object]:
    return {
        "unix_time": one.unix_time_s,
        "node_id": one.node_id.hex(),
        "gateway_id": one.gateway_id,
        "client": one.client_name,
        "address": one.remote_address,
        "inbound": one.inbound,
        "static": one.static,
        "trusted": one.trusted,
        "stage": one.stage,
        "side": one.side.value,
        "reason": one.reason,
        "offence": one.offence,
        "explanation": one.explanation,
        "eth_version": one.eth_version,
        "connected_seconds": round(one.connected_s, 3),
        "ban_seconds": one.ban_s,
    }
