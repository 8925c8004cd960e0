"""geth's `static-nodes.json` and `trusted-nodes.json`: a JSON list of enode URLs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, NamedTuple

from services.shared.chainspec.enode import Enode, EnodeInvalid, parse_enode

SHOWN_CHARACTERS: Final = 80
"""As much of a wrong entry as a log line repeats."""


class NodeFileBroken(ValueError):
    """The file as a whole is not a JSON list: half-written, or no such file."""


class ListedNodes(NamedTuple):
    """The usable entries, and a sentence about each of the others."""

    nodes: Sequence[Enode]
    problems: Sequence[str]


def parse_node_file(content: bytes) -> ListedNodes:
    """Read such a file. One wrong entry does not spoil the others, as in geth. Raises NodeFileBroken."""
    try:
        entries = json.loads(content)
    except (ValueError, RecursionError) as problem:
        raise NodeFileBroken(f"it is not JSON: {problem}") from problem
    if not isinstance(entries, list):
        raise NodeFileBroken("it is not a JSON list of enode URLs")
    nodes: dict[bytes, Enode] = {}
    problems = []
    for number, entry in enumerate(entries, start=1):
        if entry == "":
            continue
        if not isinstance(entry, str):
            shown = json.dumps(entry)
            shown = shown if len(shown) <= SHOWN_CHARACTERS else f"{shown[:SHOWN_CHARACTERS]}…"
            problems.append(f"entry {number}, {shown}, is not a text in quotes")
            continue
        try:
            node = parse_enode(entry)
        except EnodeInvalid as problem:
            problems.append(f"entry {number}: {problem}")
        else:
            nodes[node.node_id] = node
    return ListedNodes(list(nodes.values()), problems)
