"""The pool at work: what comes in is pooled, sent on, and its fate written down; blocks take out and give back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, NamedTuple

from services.broadcaster.core.fates import DropCause
from services.broadcaster.core.followed_chain import BlockChange, FollowedChain
from services.broadcaster.core.pending_pool import Added, PendingPool
from services.broadcaster.core.pool_shelves import Pooled
from services.broadcaster.core.transaction import Transaction
from services.broadcaster.core.transaction_check import CheckedTransaction, PoolRules, Refusal, Refused
from services.broadcaster.core.transaction_relay import SendTransactions, Together, TransactionRelay
from services.broadcaster.edges.checking_thread import CheckingThread
from services.broadcaster.edges.fate_board import FateBoard
from services.broadcaster.edges.journal_keeper import JournalKeeper
from services.broadcaster.pool_metrics import Origin, PoolMetrics
from services.shared.ethwire.types import PeerId, TransactionHash
from services.shared.runtime.logs import get_log

EXPIRY_PERIOD_S: Final = 10.0
"""How often the pool is looked through for what waited too long, which is a matter of hours."""

PACK_PERIOD_S: Final = 0.1
"""Between two packs of transaction sync: a megabyte a second over all newcomers, which any line of theirs takes, so
that what is owed waits here and not in gateways' queues."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolParts:
    """What the desk ties together."""

    pool: PendingPool
    relay: TransactionRelay
    chain: FollowedChain
    checker: CheckingThread
    fates: FateBoard
    journal: JournalKeeper
    metrics: PoolMetrics
    price_floor: int
    send: Callable[[SendTransactions], int]
    """Queues for a gateway; to how many peers it will go."""


PAIRS_PER_TURN: Final = 3_000
"""Of transaction and peer, decided in one turn of the event loop: some 3 ms where known sets are full."""

SWEEP_PER_TURN: Final = 5_000
"""Hashes looked at in one turn for peers that went: some 2 ms."""

SWEEP_PERIOD_S: Final = 1.0


class Submitted(NamedTuple):
    """What came of a local transaction."""

    added: Added
    sent_to_peers: int
    journalled: bool


class PoolDesk:
    """Everything happens on the event loop, but reading and checking transactions."""

    def __init__(self, parts: PoolParts) -> None:
        self._parts = parts
        self._loop = asyncio.get_running_loop()
        self._owed = asyncio.Event()
        self._log = get_log("pool")
        pool, relay = parts.pool, parts.relay
        parts.metrics.watch(
            {
                "transactions": lambda: len(pool),
                "local_transactions": lambda: pool.shelves.local_count,
                "size_bytes": lambda: pool.shelves.size_bytes,
                "known_hashes": lambda: relay.distinct_transactions,
                "syncing_peers": lambda: relay.syncing_peers,
            }
        )

    def rules(self) -> PoolRules:
        """Raises Refused while no transaction is accepted."""
        rules = self._parts.chain.pool_rules(self._parts.price_floor)
        if rules is None or not self._parts.chain.accepts_transactions:
            raise Refused(
                Refusal.NOT_ACCEPTED,
                "transactions are not accepted before the node's first sync is done, and never in light mode; "
                "try again when it is at the head",
            )
        return rules

    def pending(self) -> list[TransactionHash]:
        return [pooled.hash for pooled in self._parts.pool.shelves]

    def somebody_is_owed(self) -> None:
        """A peer came that has not been sent what is pending."""
        self._owed.set()

    async def run(self) -> None:
        """Run as a task: what is done from time to time. Cancel it to end."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._sync_newcomers(), name="transaction-sync")
            tasks.create_task(self._expire(), name="pool-expiry")
            tasks.create_task(self._sweep(), name="known-sweep")

    # In

    async def submit(self, wire: bytes) -> Submitted:
        """A transaction of the operator's. Raises Refused."""
        (verdict,) = await self._parts.checker.check([wire], self.rules(), is_local=True)
        if isinstance(verdict, Refused):
            raise verdict
        added = self._parts.pool.add_local(verdict, self._loop.time())
        self._note(added, "local")
        sent = await self._send_on([verdict.transaction])
        gone = [added.replaced] if added.replaced is not None and added.replaced.is_local else []
        return Submitted(added, sent, await self._parts.journal.change([added.pooled], gone, self._locals))

    async def take(self, checked: Iterable[tuple[CheckedTransaction, PeerId]]) -> list[Refused]:
        """Peers' transactions: pool them, and send on what is new. Returns why others were not pooled."""
        now = self._loop.time()
        fresh: list[Transaction] = []
        refusals: list[Refused] = []
        for one, source in checked:
            try:
                added = self._parts.pool.add_remote(one, source, now)
            except Refused as refused:
                refusals.append(refused)
                self._parts.fates.refused(one.transaction.hash, str(refused))
                continue
            if added.is_new:
                self._note(added, "peer")
                fresh.append(one.transaction)
        await self._send_on(fresh)
        return refusals

    async def restore(self) -> None:
        """Pool what the journal has, once transactions are accepted."""
        if not self._parts.journal.unrestored or not self._parts.chain.accepts_transactions:
            return
        wires = self._parts.journal.take_unrestored()
        pooled: list[Transaction] = []
        for verdict in await self._parts.checker.check(wires, self.rules(), is_local=True):
            try:
                if isinstance(verdict, Refused):
                    raise verdict
                added = self._parts.pool.add_local(verdict, self._loop.time())
            except Refused as refused:
                self._log.warning("a transaction of the journal is left out", why=str(refused))
                continue
            self._note(added, "journal")
            pooled.append(added.pooled.transaction)
        await self._send_on(pooled)
        self._log.info("local transactions restored", transactions=len(pooled), of=len(wires))
        await self._parts.journal.rewrite(self._locals())

    # Out

    async def on_blocks(self, change: BlockChange) -> None:
        """The chain moved: included transactions go, those of undone blocks come back."""
        if change.skipped:
            self._parts.pool.on_blocks_missed()
        undone = await self._parts.checker.read_bodies(change.undone)
        applied = await self._parts.checker.read_bodies(change.applied)
        for block, transactions in zip(change.applied, applied, strict=True):
            for transaction, _ in transactions:
                self._parts.fates.included(transaction.hash, block.number, block.block_hash)
        # Newest block first, and in it the last transaction.
        backwards = [one for block in undone for one in reversed(block)]
        effect = self._parts.pool.on_chain_moved(backwards, list(chain.from_iterable(applied)), self._loop.time())
        self._parts.metrics.left.labels("included").inc(len(effect.included))
        for gone in effect.outdated:
            self._note_left(gone, DropCause.OUTDATED, "the chain used its nonce, or a later one of its sender")
        for added in effect.returned:
            self._note(added, "undone")
        for (transaction, _), refused in effect.not_returned:
            self._parts.fates.dropped(transaction.hash, DropCause.REFUSED, f"its block was undone, and {refused}")
        await self._send_on([added.pooled.transaction for added in effect.returned])
        await self._parts.journal.change(
            [added.pooled for added in effect.returned if added.pooled.is_local],
            [gone for gone in (*effect.included, *effect.outdated) if gone.is_local],
            self._locals,
        )

    def on_other_chain(self) -> None:
        for gone in self._parts.pool.clear():
            self._note_left(gone, DropCause.REFUSED, "the coordinator follows another chain now")

    async def _expire(self) -> None:
        """Lets go of what waited too long."""
        while True:
            await asyncio.sleep(EXPIRY_PERIOD_S)
            expired = self._parts.pool.expire(self._loop.time())
            for gone in expired:
                self._note_left(gone, DropCause.EXPIRED, "nobody included it in the time it may wait")
            await self._parts.journal.change([], [gone for gone in expired if gone.is_local], self._locals)

    async def _sync_newcomers(self) -> None:
        """Sends peers what was pending when they came, a pack at a time."""
        while True:
            await self._owed.wait()
            self._owed.clear()
            while self._parts.relay.owes:
                # Of a peer that knows all of a full pool it takes a millisecond to find that out.
                pack = self._parts.relay.next_pack(self._pooled, most_peers=1)
                if pack is not None:
                    self._carry_out(pack)
                await asyncio.sleep(0 if pack is None else PACK_PERIOD_S)

    async def _sweep(self) -> None:
        """Forgets what peers knew that are gone, and waits no longer for what gateways do not tell."""
        while True:
            await asyncio.sleep(SWEEP_PERIOD_S)
            self._parts.relay.let_go(self._loop.time())
            for gateway in self._parts.relay.late_gateways(self._loop.time()):
                self._log.warning("a gateway does not tell what its peers know; they are sent all", gateway=gateway)
                self._parts.relay.all_known(gateway, self.pending())
                self.somebody_is_owed()
            while self._parts.relay.sweep(SWEEP_PER_TURN):  # noqa: ASYNC110 - asking is the work
                await asyncio.sleep(0)

    def _pooled(self, transaction_hash: TransactionHash) -> Transaction | None:
        pooled = self._parts.pool.shelves.get(transaction_hash)
        return None if pooled is None else pooled.transaction

    def _locals(self) -> list[Transaction]:
        return [pooled.transaction for pooled in self._parts.pool.shelves.locals()]

    async def _send_on(self, transactions: Sequence[Transaction]) -> int:
        """In turns of the event loop that many peers do not make long. Returns to how many peers the first one goes."""
        relay, reached = self._parts.relay, 0
        together: Together = {}
        started = time.perf_counter()
        paused_s = 0.0
        left = PAIRS_PER_TURN
        for transaction in transactions:
            relay.decide(transaction, together)
            left -= relay.peers
            if left <= 0:
                left, paused_at = PAIRS_PER_TURN, time.perf_counter()
                await asyncio.sleep(0)
                paused_s += time.perf_counter() - paused_at
        for send in relay.sends(together):
            count = self._carry_out(send)
            reached += count if send.transactions[0] is transactions[0] else 0
        self._parts.metrics.decision_seconds.observe(time.perf_counter() - started - paused_s)
        return reached

    def _carry_out(self, send: SendTransactions) -> int:
        peers, metrics = self._parts.send(send), self._parts.metrics
        metrics.sends.inc(peers * len(send.transactions))
        metrics.dropped_sends.inc((len(send.peers) - peers) * len(send.transactions))
        if peers:
            for transaction in send.transactions:
                self._parts.fates.sent(transaction.hash, peers)
        return peers

    # What is written down

    def _note(self, added: Added, origin: Origin) -> None:
        self._parts.fates.pooled(added.pooled.hash, is_local=added.pooled.is_local)
        if added.is_new:
            self._parts.metrics.pooled.labels(origin).inc()
        if added.replaced is not None:
            by = f"0x{added.pooled.hash.hex()} pays more for the same nonce"
            self._note_left(added.replaced, DropCause.REPLACED, by)
        if added.evicted is not None:
            self._note_left(added.evicted, DropCause.EVICTED, "the pool was full, and it paid least")

    def _note_left(self, gone: Pooled, cause: DropCause, explanation: str) -> None:
        self._parts.metrics.left.labels(cause.value).inc()
        self._parts.fates.dropped(gone.hash, cause, explanation)
