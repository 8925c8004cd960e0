"""Remote peers of simulations: an honest one, and the ways to be otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.shared.ethwire.types import BlockHash, Body, Header, PeerId
from services.sync_coordinator.core.sync_actions import RequestBodies, RequestHeaders
from tests.support.chain_maker import EMPTY_BODY, MadeChain, make_body

HeadersReply = Sequence[Header] | None
BodiesReply = Sequence[Body] | None


def peer_id(name: str) -> PeerId:
    return PeerId(name.encode().ljust(64, b"."))


@dataclass
class SimPeer:
    """Serves its chain as known clients do. A reply of None is silence."""

    name: str
    chain: MadeChain
    eth_version: int = 63
    latency: tuple[float, float] = (0.02, 0.1)
    loss: float = 0.0
    """Share of requests that are never answered."""
    seconds_per_item: float = 0.0005
    bodies_per_reply: int = 128
    """A reply that would be longer is cut, as by the soft limit on its size."""
    promised: int | None = None
    """Total difficulty it claims, if not its chain's."""
    free_at: float = 0.0
    """When it has answered all that it was asked: it answers in order."""
    asked: list[RequestHeaders | RequestBodies] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.node_id = peer_id(self.name)

    @property
    def head_hash(self) -> BlockHash:
        return self.chain.head.hash

    @property
    def total_difficulty(self) -> int:
        return self.chain.total_difficulty if self.promised is None else self.promised

    def headers(self, request: RequestHeaders) -> HeadersReply:
        origin = request.origin
        start = origin if isinstance(origin, int) else self.chain.numbers.get(origin)
        if start is None:
            return []
        return self.chain.headers[start : start + request.amount * (request.skip + 1) : request.skip + 1]

    def bodies(self, request: RequestBodies) -> BodiesReply:
        known = [self.chain.numbers[wanted] for wanted in request.hashes if wanted in self.chain.numbers]
        return [self.chain.bodies[number] for number in known[: self.bodies_per_reply]]


@dataclass
class Mallory(SimPeer):
    """An honest peer but for what the two functions make of its replies."""

    bend_headers: Callable[[RequestHeaders, Sequence[Header]], HeadersReply] = lambda _, headers: headers
    bend_bodies: Callable[[RequestBodies, Sequence[Body]], BodiesReply] = lambda _, bodies: bodies

    def headers(self, request: RequestHeaders) -> HeadersReply:
        return self.bend_headers(request, super().headers(request) or [])

    def bodies(self, request: RequestBodies) -> BodiesReply:
        return self.bend_bodies(request, super().bodies(request) or [])


def without_number(missing: int) -> Callable[[RequestHeaders, Sequence[Header]], HeadersReply]:
    """A database hole: one header is left out, so the reply is one short or shifted up."""

    def bend(request: RequestHeaders, headers: Sequence[Header]) -> HeadersReply:
        return [header for header in headers if header.number != missing]

    return bend


def with_garbage(request: RequestBodies, bodies: Sequence[Body]) -> BodiesReply:
    """Bodies of other blocks than those asked for."""
    return [make_body(index, 666) for index, _ in enumerate(bodies)] or [EMPTY_BODY]


def silent(request: RequestHeaders | RequestBodies, reply: object) -> None:
    """Says nothing."""


def empty(request: RequestHeaders | RequestBodies, reply: object) -> list[Any]:
    """Says that it has nothing."""
    return []
