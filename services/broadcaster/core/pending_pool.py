"""The pending transactions: which stay, which go, and why.

There is no state, so nonce and balance are not checked; what recent blocks used up is known from their transactions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from services.broadcaster.core.cheapest_first import CheapestFirst, Rank
from services.broadcaster.core.pool_limits import INCLUDED_LOCALS_KEPT, PoolLimits, check_replacement
from services.broadcaster.core.pool_shelves import Pooled, PoolShelves
from services.broadcaster.core.transaction import Address
from services.broadcaster.core.transaction_check import CheckedTransaction, Refusal, Refused
from services.broadcaster.core.used_nonces import UsedNonces
from services.shared.ethwire.types import PeerId, TransactionHash


class Added(NamedTuple):
    """What came of a transaction that is pooled now."""

    pooled: Pooled
    is_new: bool
    """False: it was here already; a remote one may have become local."""
    replaced: Pooled | None = None
    evicted: Pooled | None = None


class ChainEffect(NamedTuple):
    """What a change of the chain did to the pool."""

    included: Sequence[Pooled]
    outdated: Sequence[Pooled]
    """Their nonce was used by another transaction, or by a later one."""
    returned: Sequence[Added]
    not_returned: Sequence[tuple[CheckedTransaction, Refused]]
    """Of undone blocks, but the pool has no place for them."""


class PendingPool:
    """Checked transactions by hash, sender and price.

    When it is full, the cheapest goes: first of what senders have above their guaranteed number, and only when nobody
    has more, of all. A newcomer must pay more than what goes, unless it is within its own sender's guarantee and the
    other is not. Local transactions are put out by nobody and need no price; a replacement of one is signed by the same
    key, and is local too.
    """

    def __init__(self, limits: PoolLimits | None = None) -> None:
        self._limits = limits or PoolLimits()
        self._shelves = PoolShelves()
        self._from_peer: Counter[PeerId] = Counter()
        self._all = CheapestFirst(self._is_remote)
        self._above_guarantee = CheapestFirst(lambda rank: self._is_remote(rank) and self._is_above(rank))
        self._used = UsedNonces()
        self._included_locals: dict[TransactionHash, None] = {}

    def __len__(self) -> int:
        return len(self._shelves)

    def __contains__(self, transaction_hash: TransactionHash) -> bool:
        return transaction_hash in self._shelves

    @property
    def shelves(self) -> PoolShelves:
        """What is pooled, to read."""
        return self._shelves

    def pooled_from(self, peer: PeerId) -> int:
        return self._from_peer[peer]

    def peer_is_full(self, peer: PeerId) -> bool:
        """Whether one peer's transactions have all the places they may have: no more need be looked at."""
        return self._from_peer[peer] >= self._limits.per_peer

    def add_remote(self, checked: CheckedTransaction, source: PeerId | None, now: float) -> Added:
        """Pool a peer's transaction, or one of an undone block (no source). Raises Refused."""
        known = self._shelves.get(checked.transaction.hash)
        if known is not None:
            return Added(known, is_new=False)
        old = self._shelves.of_sender(checked.sender).get(checked.transaction.nonce)
        self._check_nonce(checked)
        if old is not None:
            check_replacement(checked, old)
        else:
            self._check_sender(checked)
        if source is not None and self.peer_is_full(source) and (old is None or old.source != source):
            raise Refused(
                Refusal.PEER_LIMIT,
                f"{self._from_peer[source]} pooled transactions came from this peer, the most there may be",
            )
        # Whoever has the key has replaced the local one: it is as local as that.
        is_local = old is not None and old.is_local
        return self._place(Pooled(checked.transaction, checked.sender, source, is_local, now, 0), old)

    def add_local(self, checked: CheckedTransaction, now: float) -> Added:
        """Pool a transaction of our own operator. Raises Refused."""
        known = self._shelves.get(checked.transaction.hash)
        if known is not None:
            if not known.is_local:
                self._remove(known)
                known = self._insert(known._replace(source=None, is_local=True))
            return Added(known, is_new=False)
        self._check_nonce(checked)
        old = self._shelves.of_sender(checked.sender).get(checked.transaction.nonce)
        if old is not None:
            check_replacement(checked, old)
        return self._place(Pooled(checked.transaction, checked.sender, None, True, now, 0), old)

    def expire(self, now: float) -> list[Pooled]:
        """Take out what waited too long."""
        expired = []
        for is_local, lifetime_s in ((False, self._limits.lifetime_s), (True, self._limits.local_lifetime_s)):
            while (oldest := self._shelves.oldest(is_local=is_local)) and oldest.entered_at + lifetime_s <= now:
                self._remove(oldest)
                expired.append(oldest)
        return expired

    def clear(self) -> list[Pooled]:
        """Take out everything: it was for another chain."""
        everything = list(self._shelves)
        for pooled in everything:
            self._remove(pooled)
        self._used.clear()
        self._included_locals.clear()
        return everything

    def on_chain_moved(
        self, undone: Sequence[CheckedTransaction], applied: Sequence[CheckedTransaction], now: float
    ) -> ChainEffect:
        """Transactions of undone blocks, newest first, come back unless the applied ones, oldest first, have them."""
        for transaction, sender in undone:
            self._used.give_back(sender, transaction.nonce)
        included, outdated = self._take_out(applied)
        in_applied = {transaction.hash for transaction, _ in applied}
        returned, not_returned = [], []
        for checked in reversed(undone):
            if checked.transaction.hash not in in_applied:
                try:
                    returned.append(self._bring_back(checked, now))
                except Refused as refused:
                    not_returned.append((checked, refused))
        return ChainEffect(included, outdated, returned, not_returned)

    def on_blocks_missed(self) -> None:
        """Blocks came and went unseen: what is known of used nonces may be wrong."""
        self._used.clear()

    # What is decided

    def _check_nonce(self, checked: CheckedTransaction) -> None:
        used = self._used.highest(checked.sender)
        if used is not None and checked.transaction.nonce <= used:
            raise Refused(
                Refusal.NONCE_USED,
                f"its nonce is {checked.transaction.nonce}, and the chain has used its sender's up to {used}; "
                f"sign it with nonce {used + 1} or a later one",
            )

    def _check_sender(self, checked: CheckedTransaction) -> None:
        pooled = len(self._shelves.of_sender(checked.sender))
        if pooled >= self._limits.remote_per_sender:
            raise Refused(
                Refusal.SENDER_LIMIT,
                f"{pooled} transactions of its sender are pending, {self._limits.remote_per_sender} of one may be; "
                "wait until some are included",
            )

    def _place(self, newcomer: Pooled, old: Pooled | None) -> Added:
        if old is not None:
            self._remove(old)
            return Added(self._insert(newcomer), is_new=True, replaced=old)
        evicted = None
        if len(self._shelves) >= self._limits.transactions:
            evicted = self._make_room(newcomer)
            self._remove(evicted)
        return Added(self._insert(newcomer), is_new=True, evicted=evicted)

    def _make_room(self, newcomer: Pooled) -> Pooled:
        """Who goes for it. Raises Refused when nobody does."""
        above = self._above_guarantee.first()
        victim = above or self._all.first()
        if victim is None:
            raise Refused(
                Refusal.POOL_FULL,
                f"the pool is full of {len(self._shelves)} local transactions; wait until some are included",
            )
        is_guaranteed = len(self._shelves.of_sender(newcomer.sender)) < self._limits.guaranteed_per_sender
        pays_more = newcomer.price > (victim.fee_cap, victim.tip_cap)
        if newcomer.is_local or (above and is_guaranteed) or (pays_more and (above or is_guaranteed)):
            return self._shelves.at(victim.hash)
        raise Refused(
            Refusal.POOL_FULL,
            f"the pool has {len(self._shelves)} transactions, the most there may be, and the one that would go pays "
            f"{victim.fee_cap} wei per gas; offer more, or wait",
        )

    def _take_out(self, applied: Iterable[CheckedTransaction]) -> tuple[list[Pooled], list[Pooled]]:
        included, outdated = [], []
        for transaction, sender in applied:
            self._used.use(sender, transaction.nonce)
            for nonce, pooled in list(self._shelves.of_sender(sender).items()):
                if pooled.hash == transaction.hash:
                    included.append(pooled)
                    self._remember_local(pooled)
                elif nonce <= transaction.nonce:
                    outdated.append(pooled)
                else:
                    continue
                self._remove(pooled)
        return included, outdated

    def _bring_back(self, checked: CheckedTransaction, now: float) -> Added:
        if checked.transaction.hash not in self._included_locals:
            return self.add_remote(checked, None, now)
        del self._included_locals[checked.transaction.hash]
        return self.add_local(checked, now)

    def _remember_local(self, pooled: Pooled) -> None:
        if pooled.is_local:
            self._included_locals[pooled.hash] = None
            if len(self._included_locals) > INCLUDED_LOCALS_KEPT:
                del self._included_locals[next(iter(self._included_locals))]

    # The books

    def _insert(self, newcomer: Pooled) -> Pooled:
        pooled = self._shelves.put(newcomer)
        if pooled.source is not None:
            self._from_peer[pooled.source] += 1
        self._all.push(pooled.rank)
        of_sender = self._shelves.of_sender(pooled.sender)
        if len(of_sender) == self._limits.guaranteed_per_sender + 1:
            for one in of_sender.values():
                self._above_guarantee.push(one.rank)
        elif self._is_above(pooled.rank):
            self._above_guarantee.push(pooled.rank)
        for heap in (self._all, self._above_guarantee):
            heap.tidy(len(self._shelves), self._shelves.ranks)
        return pooled

    def _remove(self, pooled: Pooled) -> None:
        self._shelves.take(pooled.hash)
        if pooled.source is not None:
            self._from_peer[pooled.source] -= 1
            if not self._from_peer[pooled.source]:
                del self._from_peer[pooled.source]

    def _is_remote(self, rank: Rank) -> bool:
        pooled = self._shelves.get(rank.hash)
        return pooled is not None and pooled.rank == rank and not pooled.is_local

    def _is_above(self, rank: Rank) -> bool:
        sender: Address = self._shelves.at(rank.hash).sender
        return len(self._shelves.of_sender(sender)) > self._limits.guaranteed_per_sender
