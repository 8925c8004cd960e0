"""Lookups, one at a time, and the questions that they ask."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from services.peer_gateway.core.discovery_actions import NodesFound
from services.peer_gateway.core.lookup import Lookup
from services.peer_gateway.core.node_table import BUCKET_SIZE, NodeTable
from services.peer_gateway.core.packet_exchange import PacketExchange
from services.peer_gateway.core.pending_replies import Awaited
from services.shared.chainspec.enode import Enode
from services.shared.ethwire.types import PeerId

MAX_FIND_FAILURES: Final = 5
"""Questions in a row that named no node, after which a node is dropped (geth `maxFindnodeFailures`)."""

QUESTION_TRIES: Final = 2
"""How often a node is tried: any one of the six datagrams may have been lost."""


@dataclass(slots=True)
class _Question:
    """A node that the lookup under way asks, and what it has to do next."""

    node: Enode
    awaited: Awaited
    tries_left: int = QUESTION_TRIES - 1


class Searches:
    """A node is asked once both sides have proven their endpoints: Ping, Pong, its Ping, our Pong, then FindNode.

    One lookup at a time, so a node has one question at a time, for replies do not say to which one they belong.
    """

    def __init__(self, exchange: PacketExchange, table: NodeTable) -> None:
        self._exchange, self._table = exchange, table
        self._targets: deque[PeerId] = deque()
        self._lookup: Lookup | None = None
        self._questions: dict[PeerId, _Question] = {}
        self._failures: Counter[PeerId] = Counter()

    @property
    def is_idle(self) -> bool:
        return self._lookup is None and not self._targets

    def begin(self, target: PeerId) -> None:
        """Search for `target` after those that are waiting."""
        self._targets.append(target)

    def failures_of(self, node_id: PeerId) -> int:
        """How many of the last questions the node left unanswered."""
        return self._failures[node_id]

    def advance(self, now: float) -> Iterator[NodesFound]:
        """Ask whom there is to ask; what is found is what has proven its endpoint."""
        while not self.is_idle:
            if self._lookup is None:
                target = self._targets.popleft()
                self._lookup = Lookup(target, self._exchange.own_id, self._table.closest(target, BUCKET_SIZE))
            for node in self._lookup.next_queries():
                self._ask(node, now)
            if not self._lookup.is_over:
                return
            proofs = self._exchange.proofs
            found = [node for node in self._lookup.nearest if proofs.is_proven(node.node_id, node.host, now)]
            yield NodesFound(self._lookup.target, found)
            self._lookup = None

    def on_pinged(self, node: Enode, now: float) -> None:
        question = self._question(node, Awaited.PING)
        if question is not None:
            self._find(question, now)

    def on_proven(self, node: Enode, now: float) -> None:
        question = self._question(node, Awaited.PONG)
        if question is None:
            return
        if self._exchange.proofs.believes_us(node.node_id, node.host, now):
            self._find(question, now)
        else:
            question.awaited = Awaited.PING
            self._exchange.await_ping(question.node, now)

    def on_named(self, node: Enode, nodes: Sequence[Enode]) -> None:
        """A whole reply; an empty one is a failure too, though an honest one."""
        self._note(node, answered=bool(nodes))
        question = self._question(node, Awaited.NEIGHBORS)
        if question is not None:
            self._end(question, nodes)

    def on_silent(self, kind: Awaited, node: Enode, now: float) -> None:
        """What the node had to do it did not do in time."""
        if kind is Awaited.NEIGHBORS:
            self._exchange.proofs.doubt(node.node_id, node.host)
        question = self._question(node, kind)
        if question is None:
            return
        if kind is Awaited.PING:
            # It may have proven our endpoint long ago, when we were another process.
            self._find(question, now)
        elif question.tries_left:
            question.tries_left -= 1
            self._prepare(question, now)
        else:
            self._note(node, answered=False)
            self._end(question, None)

    def _ask(self, node: Enode, now: float) -> None:
        question = self._questions[node.node_id] = _Question(node, Awaited.PONG)
        self._prepare(question, now)

    def _prepare(self, question: _Question, now: float) -> None:
        """Ask at once a node that knows us, any other after both have proven their endpoints."""
        node, proofs = question.node, self._exchange.proofs
        if proofs.is_proven(node.node_id, node.host, now) and proofs.believes_us(node.node_id, node.host, now):
            self._find(question, now)
        else:
            question.awaited = Awaited.PONG
            self._exchange.ping(node, now)

    def _find(self, question: _Question, now: float) -> None:
        assert self._lookup is not None, "nodes are asked for a lookup"
        question.awaited = Awaited.NEIGHBORS
        self._exchange.find_node(question.node, self._lookup.target, now)

    def _question(self, node: Enode, awaited: Awaited) -> _Question | None:
        """The question to this node at this address, if this is what it waits for."""
        question = self._questions.get(node.node_id)
        if question is None or question.awaited is not awaited:
            return None
        is_same = (question.node.host, question.node.udp_port) == (node.host, node.udp_port)
        return question if is_same else None

    def _end(self, question: _Question, named: Iterable[Enode] | None) -> None:
        assert self._lookup is not None, "nodes are asked for a lookup"
        del self._questions[question.node.node_id]
        if named is None:
            self._lookup.on_failure(question.node.node_id)
        else:
            self._lookup.on_reply(question.node.node_id, named)

    def _note(self, node: Enode, *, answered: bool) -> None:
        """Count failures of the table's nodes, and drop one that fails too often where others crowd."""
        if answered or node.node_id not in self._table:
            self._failures.pop(node.node_id, None)
            return
        self._failures[node.node_id] += 1
        if self._failures[node.node_id] >= MAX_FIND_FAILURES and self._table.is_crowded(node.node_id):
            self._table.remove(node.node_id)
        for gone in [node_id for node_id in self._failures if node_id not in self._table]:
            del self._failures[gone]
