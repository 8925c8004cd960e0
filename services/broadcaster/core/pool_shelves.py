"""Where pooled transactions stand: by hash, by sender and nonce, by age."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from services.broadcaster.core.cheapest_first import Rank
from services.broadcaster.core.transaction import Address, Transaction
from services.shared.ethwire.types import PeerId, TransactionHash

_NOTHING: Final[Mapping[int, Pooled]] = {}


class Pooled(NamedTuple):
    """One pending transaction."""

    transaction: Transaction
    sender: Address
    source: PeerId | None
    """The peer that brought it first; None for local ones and those that an undone block gave back."""
    is_local: bool
    entered_at: float
    order: int
    """The shelves' own count of arrivals."""

    @property
    def hash(self) -> TransactionHash:
        return self.transaction.hash

    @property
    def price(self) -> tuple[int, int]:
        return self.transaction.fee_cap, self.transaction.tip_cap

    @property
    def rank(self) -> Rank:
        return Rank(*self.price, -self.order, self.transaction.hash)


class PoolShelves:
    """Keeps the indexes in step. No limit is known here.

    Caller's duty: a place is empty before something is put there.
    """

    def __init__(self) -> None:
        self._by_hash: dict[TransactionHash, Pooled] = {}
        self._by_sender: dict[Address, dict[int, Pooled]] = {}
        self._remote: dict[TransactionHash, None] = {}
        self._local: dict[TransactionHash, None] = {}
        self._arrivals = 0
        self.size_bytes = 0
        """Of all transactions together."""

    def __len__(self) -> int:
        return len(self._by_hash)

    def __contains__(self, transaction_hash: TransactionHash) -> bool:
        return transaction_hash in self._by_hash

    def __iter__(self) -> Iterator[Pooled]:
        return iter(self._by_hash.values())

    @property
    def local_count(self) -> int:
        return len(self._local)

    @property
    def sender_count(self) -> int:
        return len(self._by_sender)

    def get(self, transaction_hash: TransactionHash) -> Pooled | None:
        return self._by_hash.get(transaction_hash)

    def at(self, transaction_hash: TransactionHash) -> Pooled:
        return self._by_hash[transaction_hash]

    def of_sender(self, sender: Address) -> Mapping[int, Pooled]:
        """By nonce."""
        return self._by_sender.get(sender, _NOTHING)

    def oldest(self, *, is_local: bool) -> Pooled | None:
        first = next(iter(self._local if is_local else self._remote), None)
        return None if first is None else self._by_hash[first]

    def locals(self) -> list[Pooled]:
        """Oldest first."""
        return [self._by_hash[transaction_hash] for transaction_hash in self._local]

    def ranks(self) -> Iterator[Rank]:
        return (pooled.rank for pooled in self._by_hash.values())

    def page(self, after: tuple[Address, int] | None, limit: int, sender: Address | None = None) -> list[Pooled]:
        """By sender and nonce, from behind a place on: what stays pooled is on exactly one page."""
        places = sorted(
            (place, nonce)
            for place, pooled in self._by_sender.items()
            if sender is None or place == sender
            for nonce in pooled
        )
        start = 0 if after is None else bisect_right(places, after)
        return [self._by_sender[place][nonce] for place, nonce in places[start : start + limit]]

    def put(self, newcomer: Pooled) -> Pooled:
        """As it stands from now on."""
        self._arrivals += 1
        pooled = newcomer._replace(order=self._arrivals)
        self._by_hash[pooled.hash] = pooled
        self._by_sender.setdefault(pooled.sender, {})[pooled.transaction.nonce] = pooled
        (self._local if pooled.is_local else self._remote)[pooled.hash] = None
        self.size_bytes += pooled.transaction.size_bytes
        return pooled

    def take(self, transaction_hash: TransactionHash) -> Pooled:
        pooled = self._by_hash.pop(transaction_hash)
        of_sender = self._by_sender[pooled.sender]
        del of_sender[pooled.transaction.nonce]
        if not of_sender:
            del self._by_sender[pooled.sender]
        del (self._local if pooled.is_local else self._remote)[transaction_hash]
        self.size_bytes -= pooled.transaction.size_bytes
        return pooled
