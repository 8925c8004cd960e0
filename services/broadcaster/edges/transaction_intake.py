"""Peers' transactions, from the gateways' streams to the pool: sorted out, checked in a thread, pooled."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from services.broadcaster.core.attached_peers import GatewayId
from services.broadcaster.core.peer_allowance import PeerAllowance
from services.broadcaster.core.transaction_check import CheckedTransaction, Refusal, Refused
from services.broadcaster.edges.pool_desk import PoolDesk, PoolParts
from services.shared.ethwire.bodies import transaction_hash
from services.shared.ethwire.faults import MalformedRlp
from services.shared.ethwire.limits import MAX_TRANSACTION_BYTES, MAX_TRANSACTIONS_READ
from services.shared.ethwire.offences import Offence
from services.shared.ethwire.types import PeerId, TransactionHash

WAITING_BYTES: Final = 16 * 1024 * 1024
"""Peers' transactions that may wait to be looked at; what comes on top is dropped and comes again from others."""

BESIDE_TRANSACTION_BYTES: Final = 64
BESIDE_MESSAGE_BYTES: Final = 1024
"""What memory holds beside the bytes of a transaction, and of a message. It counts, or messages of nothing, and of
transactions of two bytes, would fill the memory at a thousandth of its price."""

WAITING_BYTES_PER_PEER: Final = (
    4 * 1024 * 1024 + MAX_TRANSACTIONS_READ * BESIDE_TRANSACTION_BYTES + BESIDE_MESSAGE_BYTES
)
"""Of one peer: the largest message that a gateway passes on."""

TURN_BYTES: Final = 256 * 1024
TURN_TRANSACTIONS: Final = 512
"""Looked at in one turn of the event loop: about a millisecond of hashing."""

CHECK_BATCH: Final = 256
"""Checked together: ten milliseconds of the thread, after which the chain's blocks get their turn."""

BAD_ONES_KEPT: Final = 8192
"""Hashes of refused transactions that no other rule will make good."""

LASTING: Final = frozenset({Refusal.UNDECODABLE, Refusal.SIGNATURE, Refusal.FEE_CAP, Refusal.NONCE_LIMIT})
"""Refusals that need not be found out again."""

OFFENCES: Final = {
    Refusal.UNDECODABLE: Offence.ETH_MESSAGE_UNDECODABLE,
    Refusal.SIGNATURE: Offence.INVALID_TRANSACTION,
    Refusal.CHAIN_ID: Offence.INVALID_TRANSACTION,
    Refusal.OVERSIZED: Offence.INVALID_TRANSACTION,
    Refusal.FEE_CAP: Offence.INVALID_TRANSACTION,
    Refusal.NONCE_LIMIT: Offence.INVALID_TRANSACTION,
    Refusal.INTRINSIC_GAS: Offence.INVALID_TRANSACTION,
    Refusal.PEER_LIMIT: Offence.TRANSACTIONS_BEYOND_LIMIT,
    Refusal.PEER_RATE: Offence.TRANSACTIONS_BEYOND_LIMIT,
}
"""What the table of offences has a row for; the other rules an honest peer may not know, or see otherwise."""

Accuse = Callable[[GatewayId, PeerId, Offence, str], None]
"""Tells a peer's gateway of an offence."""


class _Message(NamedTuple):
    gateway: GatewayId
    peer: PeerId
    wires: Sequence[bytes]
    size_bytes: int


class _Candidate(NamedTuple):
    gateway: GatewayId
    peer: PeerId
    hash: TransactionHash
    wire: bytes
    others: set[tuple[GatewayId, PeerId]]
    """Peers that sent it too before it was checked."""


class TransactionIntake:
    """Messages wait in order; one task works on them, a batch at a time."""

    def __init__(self, parts: PoolParts, desk: PoolDesk, accuse: Accuse) -> None:
        self._parts, self._desk, self._accuse = parts, desk, accuse
        self._loop = asyncio.get_running_loop()
        self._messages: deque[_Message] = deque()
        self._waiting: Counter[PeerId] = Counter()
        self._waiting_bytes = 0
        self._arrived = asyncio.Event()
        self._allowance = PeerAllowance()
        self._bad: dict[TransactionHash, Refusal] = {}
        parts.metrics.watch({"waiting_bytes": lambda: self._waiting_bytes})

    def put(self, gateway: GatewayId, peer: PeerId, wires: Sequence[bytes]) -> None:
        """Take a peer's message. Never waits: what is too much is dropped and counted."""
        self._parts.metrics.received.inc(len(wires))
        size_bytes = _size(wires)
        if not self._parts.chain.accepts_transactions:
            self._parts.metrics.refused.labels(Refusal.NOT_ACCEPTED.value).inc(len(wires))
        elif (
            self._waiting_bytes + size_bytes > WAITING_BYTES
            or self._waiting[peer] + size_bytes > WAITING_BYTES_PER_PEER
        ):
            self._parts.metrics.refused.labels(Refusal.QUEUE_FULL.value).inc(len(wires))
        else:
            self._messages.append(_Message(gateway, peer, wires, size_bytes))
            self._waiting[peer] += size_bytes
            self._waiting_bytes += size_bytes
            self._arrived.set()

    def forget(self, peer: PeerId) -> None:
        self._allowance.forget(peer)

    async def run(self) -> None:
        """Run as a task; cancel it to end."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._messages:
                candidates = await self._next_candidates()
                if candidates:
                    await self._check(candidates)

    async def _next_candidates(self) -> list[_Candidate]:
        """What is new of the messages that wait, up to a batch. A message that is too large for one is cut."""
        candidates: dict[TransactionHash, _Candidate] = {}
        while self._messages and len(candidates) < CHECK_BATCH:
            message = self._messages.popleft()
            turn = _turn(message.wires)
            self._sort_out(message, message.wires[:turn], candidates)
            done_bytes = message.size_bytes
            if turn < len(message.wires):
                rest = message.wires[turn:]
                left = _size(rest)
                self._messages.appendleft(message._replace(wires=rest, size_bytes=left))
                done_bytes -= left
            self._waiting_bytes -= done_bytes
            self._waiting[message.peer] -= done_bytes
            if not self._waiting[message.peer]:
                del self._waiting[message.peer]
            await asyncio.sleep(0)
        return list(candidates.values())

    def _sort_out(
        self, message: _Message, wires: Sequence[bytes], candidates: dict[TransactionHash, _Candidate]
    ) -> None:
        gateway, peer, now = message.gateway, message.peer, self._loop.time()
        if not self._parts.relay.has(gateway, peer):
            self._parts.metrics.refused.labels(Refusal.PEER_LEFT.value).inc(len(wires))
            return
        hashes: list[TransactionHash] = []
        refusals: Counter[Refusal] = Counter()
        known = 0
        for wire in wires:
            if len(wire) > MAX_TRANSACTION_BYTES:
                refusals[Refusal.OVERSIZED] += 1
                continue
            try:
                known_hash = transaction_hash(wire)
            except MalformedRlp:
                refusals[Refusal.UNDECODABLE] += 1
                continue
            hashes.append(known_hash)
            bad = self._bad.get(known_hash)
            if bad is not None:
                refusals[bad] += 1
            elif known_hash in candidates:
                candidates[known_hash].others.add((gateway, peer))
                known += 1
            elif known_hash in self._parts.pool:
                known += 1
            elif self._parts.pool.peer_is_full(peer):
                refusals[Refusal.PEER_LIMIT] += 1
            elif not self._allowance.take(peer, now):
                refusals[Refusal.PEER_RATE] += 1
            else:
                candidates[known_hash] = _Candidate(gateway, peer, known_hash, wire, set())
        self._parts.relay.mark_known(gateway, peer, hashes)
        self._parts.metrics.known.inc(known)
        for refusal, count in refusals.items():
            self._count(gateway, peer, refusal, count)

    async def _check(self, candidates: Sequence[_Candidate]) -> None:
        try:
            rules = self._desk.rules()
        except Refused as refused:
            # The coordinator has started anew, and is not at the head yet.
            self._parts.metrics.refused.labels(refused.refusal.value).inc(len(candidates))
            return
        verdicts = await self._parts.checker.check([candidate.wire for candidate in candidates], rules)
        checked: list[tuple[CheckedTransaction, PeerId]] = []
        for candidate, verdict in zip(candidates, verdicts, strict=True):
            if isinstance(verdict, Refused):
                self._refuse(candidate, verdict)
            else:
                checked.append((verdict, candidate.peer))
        for refusal in await self._desk.take(checked):
            self._parts.metrics.refused.labels(refusal.refusal.value).inc()

    def _refuse(self, candidate: _Candidate, refused: Refused) -> None:
        if refused.refusal in LASTING:
            self._bad[candidate.hash] = refused.refusal
            if len(self._bad) > BAD_ONES_KEPT:
                del self._bad[next(iter(self._bad))]
        self._parts.fates.refused(candidate.hash, str(refused))
        for gateway, peer in {(candidate.gateway, candidate.peer), *candidate.others}:
            self._count(gateway, peer, refused.refusal, 1, str(refused))

    def _count(self, gateway: GatewayId, peer: PeerId, refusal: Refusal, count: int, text: str = "") -> None:
        self._parts.metrics.refused.labels(refusal.value).inc(count)
        offence = OFFENCES.get(refusal)
        if offence is not None:
            self._accuse(gateway, peer, offence, text or f"{count} of its transactions: {refusal.value}")


def _size(wires: Sequence[bytes]) -> int:
    """What a message of these takes while it waits."""
    return BESIDE_MESSAGE_BYTES + sum(map(len, wires)) + len(wires) * BESIDE_TRANSACTION_BYTES


def _turn(wires: Sequence[bytes]) -> int:
    """How many of them are looked at in one turn of the loop: at least one."""
    size_bytes = 0
    for index, wire in enumerate(wires[:TURN_TRANSACTIONS], 1):
        size_bytes += len(wire)
        if size_bytes >= TURN_BYTES:
            return index
    return min(len(wires), TURN_TRANSACTIONS)
