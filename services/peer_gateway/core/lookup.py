"""One search for the nodes closest to a target (geth `Table.lookup`): ask the nearest known, then those they name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from services.peer_gateway.core.node_table import BUCKET_SIZE, node_hash
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.types import PeerId

QUERIES_AT_ONCE: Final = 3
"""Nodes asked at the same time: the alpha of the Kademlia paper."""

QUERIES_AT_MOST: Final = 64
"""Nodes asked in one lookup; an honest one takes about 25, a liar can name ever more that do not answer."""

CANDIDATES_KEPT: Final = 128
"""Nodes remembered for when nearer ones do not answer."""


class Lookup:
    """The caller asks every node that `next_queries` names, and reports each with `on_reply` or `on_failure`.

    It ends once the 16 nearest nodes that anybody named have answered; those that do not are left out.
    """

    def __init__(self, target: PeerId, own_id: PeerId, start: Iterable[Enode]) -> None:
        self.target = target
        self._place = node_hash(target)
        self._seen = {own_id}
        self._asked: set[PeerId] = set()
        self._under_way: set[PeerId] = set()
        self._candidates: list[tuple[int, Enode]] = []
        self._push(start)

    @property
    def nearest(self) -> list[Enode]:
        """The 16 nearest that anybody named and that did not fail, nearest first."""
        return [node for _, node in self._candidates[:BUCKET_SIZE]]

    @property
    def is_over(self) -> bool:
        return not self._under_way and not self._to_ask()

    def next_queries(self) -> list[Enode]:
        """Whom to ask now; each counts as under way from here on."""
        free = QUERIES_AT_ONCE - len(self._under_way)
        chosen = self._to_ask()[:free]
        self._asked.update(node.node_id for node in chosen)
        self._under_way.update(node.node_id for node in chosen)
        return chosen

    def on_reply(self, node_id: PeerId, nodes: Iterable[Enode]) -> None:
        self._under_way.discard(node_id)
        self._push(nodes)

    def on_failure(self, node_id: PeerId) -> None:
        """The node did not answer: it makes room for one that may."""
        self._under_way.discard(node_id)
        self._candidates = [entry for entry in self._candidates if entry[1].node_id != node_id]

    def _to_ask(self) -> list[Enode]:
        if len(self._asked) >= QUERIES_AT_MOST:
            return []
        return [node for node in self.nearest if node.node_id not in self._asked]

    def _push(self, nodes: Iterable[Enode]) -> None:
        for node in nodes:
            if node.node_id not in self._seen:
                self._seen.add(node.node_id)
                self._candidates.append((node_hash(node.node_id) ^ self._place, node))
        self._candidates.sort(key=lambda entry: entry[0])
        del self._candidates[CANDIDATES_KEPT:]
