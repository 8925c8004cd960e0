"""`trisync add-peer|remove-peer|add-trusted-peer|remove-trusted-peer`: orders to a running coordinator."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated

import typer

from services.shared.chainspec.enode import EnodeInvalid, parse_enode
from trisync.cli import flags
from trisync.cli.failures import DONE, BadUsage
from trisync.cli.node import Node, asks_node
from trisync.client import AsyncCoordinator

EnodeUrl = Annotated[str, typer.Argument(metavar="URL", help="enode URL of the node, in quotes if it has a ?.")]

Answer = tuple[Mapping[str, object], str]
"""What came of an order: for programs, and for people."""


@asks_node
def add_peer(
    url: EnodeUrl,
    node: Node,
    as_json: flags.Json = False,
) -> int:
    """Keep a node connected: dial it, and redial it when it is lost."""

    async def order(client: AsyncCoordinator) -> Answer:
        added = await client.add_peer(url)
        if added.connected:
            text = f"connected to {added.gateway_id}, and kept so"
        elif added.gateway_id:
            text = f"{added.gateway_id} dials it"
        else:
            text = "no gateway is attached; the first that comes dials it"
        return {"gateway_id": added.gateway_id or None, "connected": added.connected}, text

    return _run(order, url, node, as_json=as_json)


@asks_node
def remove_peer(
    url: EnodeUrl,
    node: Node,
    as_json: flags.Json = False,
) -> int:
    """Let a static node go, and disconnect it."""

    async def order(client: AsyncCoordinator) -> Answer:
        removed = await client.remove_peer(url)
        texts = [
            "not dialled any more" if removed.was_static else "it was not static",
            "being disconnected" if removed.was_connected else "it was not connected",
        ]
        return {"was_static": removed.was_static, "was_connected": removed.was_connected}, ", ".join(texts)

    return _run(order, url, node, as_json=as_json)


@asks_node
def add_trusted_peer(
    url: EnodeUrl,
    node: Node,
    as_json: flags.Json = False,
) -> int:
    """Let a node connect even when all places are taken."""

    async def order(client: AsyncCoordinator) -> Answer:
        connected = await client.add_trusted_peer(url)
        return {"connected": connected}, f"trusted, {'' if connected else 'not '}connected"

    return _run(order, url, node, as_json=as_json)


@asks_node
def remove_trusted_peer(
    url: EnodeUrl,
    node: Node,
    as_json: flags.Json = False,
) -> int:
    """Trust a node no more; a connection to it stays."""

    async def order(client: AsyncCoordinator) -> Answer:
        was_trusted = await client.remove_trusted_peer(url)
        return {"was_trusted": was_trusted}, "not trusted any more" if was_trusted else "it was not trusted"

    return _run(order, url, node, as_json=as_json)


def _run(order: Callable[[AsyncCoordinator], Awaitable[Answer]], url: str, node: Node, *, as_json: bool) -> int:
    try:
        parse_enode(url)
    except EnodeInvalid as problem:
        raise BadUsage(f"{problem}; give enode://<128 hex digits>@<host>:<port>") from problem
    fields, text = node.ask(order)
    print(json.dumps(fields) if as_json else text)
    return DONE
