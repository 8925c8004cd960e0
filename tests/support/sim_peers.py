"""Remote peers of simulations: an honest one, and the ways to be otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

from services.shared.ethwire.hashing import keccak256
from services.shared.ethwire.types import BlockHash, BlockReceipts, Body, Header, PeerId, StateEntry
from services.sync_coordinator.core.sync_actions import (
    RequestBodies,
    RequestHeaders,
    RequestNodeData,
    RequestReceipts,
    SyncRequest,
)
from tests.support.chain_maker import (
    BLOCKS_PER_STATE,
    EMPTY_BODY,
    EMPTY_RECEIPTS,
    MadeChain,
    make_body,
    make_receipts,
    state_at,
)

HeadersReply = Sequence[Header] | None
BodiesReply = Sequence[Body] | None
ReceiptsReply = Sequence[BlockReceipts] | None
NodeDataReply = Sequence[StateEntry] | None


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
    receipts_per_reply: int = 256
    state_per_reply: int = 384
    states_kept: int = 128
    """It has the states of so many newest blocks, as known clients do."""
    promised: int | None = None
    """Total difficulty it claims, if not its chain's."""
    free_at: float = 0.0
    """When it has answered all that it was asked: it answers in order."""
    asked: list[SyncRequest] = field(default_factory=list)

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

    def receipts(self, request: RequestReceipts) -> ReceiptsReply:
        assert self.eth_version >= 63, "eth/62 has no receipts"
        known = [self.chain.numbers[wanted] for wanted in request.hashes if wanted in self.chain.numbers]
        return [self.chain.receipts[number] for number in known[: self.receipts_per_reply]]

    def node_data(self, request: RequestNodeData) -> NodeDataReply:
        assert self.eth_version >= 63, "eth/62 has no node data"
        head = self.chain.head.number
        numbers = {head, *range(max(0, head - self.states_kept + 1), head, BLOCKS_PER_STATE)}
        states = [state_at(number).entries for number in sorted(numbers)]
        held = [(wanted, state[wanted]) for wanted in request.hashes for state in states if wanted in state]
        entries = [StateEntry(value, entry_hash) for entry_hash, value in dict(held).items()]
        return entries[: self.state_per_reply]

    def answer(self, request: SyncRequest) -> Sequence[Any] | None:
        match request:
            case RequestHeaders():
                return self.headers(request)
            case RequestBodies():
                return self.bodies(request)
            case RequestReceipts():
                return self.receipts(request)
            case RequestNodeData():
                return self.node_data(request)
            case _:
                assert_never(request)


@dataclass
class Mallory(SimPeer):
    """An honest peer but for what the functions make of its replies."""

    bend_headers: Callable[[RequestHeaders, Sequence[Header]], HeadersReply] = lambda _, headers: headers
    bend_bodies: Callable[[RequestBodies, Sequence[Body]], BodiesReply] = lambda _, bodies: bodies
    bend_receipts: Callable[[RequestReceipts, Sequence[BlockReceipts]], ReceiptsReply] = lambda _, receipts: receipts
    bend_node_data: Callable[[RequestNodeData, Sequence[StateEntry]], NodeDataReply] = lambda _, entries: entries

    def headers(self, request: RequestHeaders) -> HeadersReply:
        return self.bend_headers(request, super().headers(request) or [])

    def bodies(self, request: RequestBodies) -> BodiesReply:
        return self.bend_bodies(request, super().bodies(request) or [])

    def receipts(self, request: RequestReceipts) -> ReceiptsReply:
        return self.bend_receipts(request, super().receipts(request) or [])

    def node_data(self, request: RequestNodeData) -> NodeDataReply:
        return self.bend_node_data(request, super().node_data(request) or [])


def without_number(missing: int) -> Callable[[RequestHeaders, Sequence[Header]], HeadersReply]:
    """A database hole: one header is left out, so the reply is one short or shifted up."""

    def bend(request: RequestHeaders, headers: Sequence[Header]) -> HeadersReply:
        return [header for header in headers if header.number != missing]

    return bend


def with_garbage(request: RequestBodies, bodies: Sequence[Body]) -> BodiesReply:
    """Bodies of other blocks than those asked for."""
    return [make_body(index, 666) for index, _ in enumerate(bodies)] or [EMPTY_BODY]


def with_other_receipts(request: RequestReceipts, receipts: Sequence[BlockReceipts]) -> ReceiptsReply:
    """Receipts of other blocks than those asked for."""
    return [make_receipts(index, 666) for index, _ in enumerate(receipts)] or [EMPTY_RECEIPTS]


def with_other_entries(request: RequestNodeData, entries: Sequence[StateEntry]) -> NodeDataReply:
    """State that nobody asked for."""
    return [StateEntry(b"junk", keccak256(b"junk")) for _ in entries]


def silent(request: SyncRequest, reply: object) -> None:
    """Says nothing."""


def empty(request: SyncRequest, reply: object) -> list[Any]:
    """Says that it has nothing."""
    return []
