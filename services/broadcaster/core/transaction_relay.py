"""Who is sent which transaction: all who do not know it, and a newcomer what is pending."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from services.broadcaster.core.attached_peers import AttachedPeers, GatewayId
from services.broadcaster.core.transaction import Transaction
from services.broadcaster.core.transaction_sync import TransactionSync
from services.shared.ethwire.known_sets import KnownSets
from services.shared.ethwire.types import PeerId, TransactionHash

TRANSACTION_HASHES_PER_PEER: Final = 32_768
"""Known transaction hashes kept for each peer, as every known client does: eight times our whole pool."""

DISTINCT_TRANSACTION_HASHES: Final = 500_000
"""Distinct hashes over all peers. Peers of one network share theirs; only made-up ones get here."""

MESSAGE_BYTES: Final = 100 * 1024
"""A Transactions message ends with the one that reaches this (geth `txsyncPackSize`): small enough that a block
behind it waits for a tenth of a second at most on a megabyte line."""


SUSPENDED_S: Final = 60.0
"""How long the peers of a gateway whose stream broke are remembered: it is back after seconds, or not at all."""

TELLING_S: Final = 60.0
"""How long a gateway may take to tell what its peers know: some seconds for 1,000. After that they are sent what is
pending, duplicates or not, so that no gateway keeps transactions from its peers."""

Together: TypeAlias = dict[tuple[PeerId, ...], list[Transaction]]
"""Transactions by the peers that lack them."""


@dataclass(frozen=True, slots=True)
class SendTransactions:
    """Action: these transactions, once to a gateway, for these of its peers."""

    gateway: GatewayId
    peers: Sequence[PeerId]
    transactions: Sequence[Transaction]


class TransactionRelay:
    """The peers of all gateways and the transactions that each is known to have.

    A returned send counts as done: the peers are marked. A send that could not be handed over costs those peers this
    transaction from us; others relay it too.

    A gateway that attaches may say that it will tell what its peers know. Until it has, they are *awaited*: they are
    sent nothing, and owed all that is pending then. So a restart of ours does not have everything sent again.
    """

    def __init__(
        self,
        rng: random.Random,
        *,
        per_peer: int = TRANSACTION_HASHES_PER_PEER,
        distinct: int = DISTINCT_TRANSACTION_HASHES,
    ) -> None:
        self._known = KnownSets(per_peer, distinct)
        self._peers = AttachedPeers()
        self._sync = TransactionSync(rng)
        self._suspended: dict[PeerId, tuple[GatewayId, float]] = {}
        self._awaited: dict[PeerId, tuple[GatewayId, float]] = {}

    @property
    def distinct_transactions(self) -> int:
        """Distinct hashes in the known sets."""
        return self._known.distinct

    @property
    def peers(self) -> int:
        return len(self._peers)

    @property
    def syncing_peers(self) -> int:
        """Peers that have not been sent all that was pending when they came."""
        return len(self._sync) + len(self._awaited)

    @property
    def owes(self) -> bool:
        """Whether there may be a pack to send."""
        return bool(self._sync)

    def sweep(self, most: int) -> bool:
        """Do a part of what is left to do of peers that went; False when nothing is."""
        return self._known.sweep(most)

    def attach(self, gateway: GatewayId, peers: Iterable[PeerId], pending: Sequence[TransactionHash]) -> None:
        """Take a gateway's snapshot. Peers that it had when its stream ended a moment ago go on where they were."""
        for peer in peers:
            if self._suspended.get(peer, (None, 0.0))[0] == gateway:
                del self._suspended[peer]
                self._peers.join(gateway, peer)
                self._known.resume_peer(peer)
                self._sync.owe(peer, pending)
            else:
                self.join(gateway, peer, pending)

    def attach_awaited(self, gateway: GatewayId, peers: Iterable[PeerId], now: float) -> None:
        """`attach` for a gateway that will tell what its peers know. Caller's duty: `all_known` once it has.

        What was remembered of them is not used: some may have connected anew meanwhile, and know nothing.
        """
        for peer in peers:
            self.join(gateway, peer, ())
            self._known.suspend_peer(peer)
            self._awaited[peer] = gateway, now

    def know(
        self, gateway: GatewayId, row: Sequence[PeerId | None], known: Iterable[tuple[TransactionHash, int]]
    ) -> None:
        """Transactions with who has them: bit n is the n-th of the row. Who is not the gateway's is passed over."""
        own = [peer if peer is not None and self._peers.has(gateway, peer) else None for peer in row]
        self._known.mark_rows(own, known)

    def all_known(self, gateway: GatewayId, pending: Sequence[TransactionHash]) -> None:
        """The gateway has told what its peers know: of what is pending they are owed the rest."""
        for peer in [peer for peer, (its, _) in self._awaited.items() if its == gateway]:
            del self._awaited[peer]
            self._known.resume_peer(peer)
            self._sync.owe(peer, pending)

    def late_gateways(self, now: float) -> set[GatewayId]:
        """Those that should have told long ago what their peers know."""
        return {gateway for gateway, since in self._awaited.values() if since + TELLING_S <= now}

    def join(self, gateway: GatewayId, peer: PeerId, pending: Sequence[TransactionHash]) -> None:
        """Add a peer that connects anew; it is owed what is pending."""
        if peer in self._known:
            self._known.retire_peer(peer)
            self._suspended.pop(peer, None)
            self._awaited.pop(peer, None)
        self._peers.join(gateway, peer)
        self._known.add_peer(peer)
        self._sync.owe(peer, pending)

    def leave(self, gateway: GatewayId, peer: PeerId) -> bool:
        """Remove a peer; False when the gateway does not have it."""
        if not self._peers.leave(gateway, peer):
            return False
        self._forget(peer)
        return True

    def detach(self, gateway: GatewayId) -> set[PeerId]:
        """Forget a gateway and its peers; returns those."""
        peers = self._peers.detach(gateway)
        for peer in peers:
            self._forget(peer)
        return peers

    def suspend(self, gateway: GatewayId, now: float) -> set[PeerId]:
        """Like `detach`, for a gateway that was sent all there was: its peers' known sets wait for it for a while."""
        peers = self._peers.detach(gateway)
        for peer in peers:
            self._known.suspend_peer(peer)
            self._sync.forget(peer)
            self._awaited.pop(peer, None)
            self._suspended[peer] = gateway, now
        return peers

    def let_go(self, now: float) -> None:
        """Forget the suspended peers whose gateway did not come back in time."""
        for peer, (_, since) in list(self._suspended.items()):
            if since + SUSPENDED_S > now:
                break
            del self._suspended[peer]
            self._known.retire_peer(peer)

    def has(self, gateway: GatewayId, peer: PeerId) -> bool:
        return self._peers.has(gateway, peer)

    def mark_known(self, gateway: GatewayId, peer: PeerId, hashes: Sequence[TransactionHash]) -> bool:
        """The peer sent these; False when the gateway does not have the peer."""
        if not self._peers.has(gateway, peer):
            return False
        self._known.mark_all(peer, hashes)
        return True

    def relay(self, transactions: Iterable[Transaction]) -> list[SendTransactions]:
        """To everyone who lacks them. Those that the same peers lack go together."""
        together: Together = {}
        for transaction in transactions:
            self.decide(transaction, together)
        return self.sends(together)

    def decide(self, transaction: Transaction, together: Together) -> None:
        """`relay` in parts, for a caller that has other things to do: every transaction, and then `sends`."""
        lacking = self._known.mark_lacking(transaction.hash)
        if lacking:
            together.setdefault(lacking, []).append(transaction)

    def sends(self, together: Together) -> list[SendTransactions]:
        """What was decided; peers that have left meanwhile are left out."""
        return [
            SendTransactions(gateway, peers, message)
            for lacking, lacked in together.items()
            for gateway, peers in self._peers.by_gateway(lacking).items()
            for message in _messages(lacked)
        ]

    def next_pack(
        self, pooled: Callable[[TransactionHash], Transaction | None], most_peers: int = sys.maxsize
    ) -> SendTransactions | None:
        """The next part of what some new peer is owed, or None when none of `most_peers` of them is owed anything."""
        while most_peers and (peer := self._sync.pick()) is not None:
            most_peers -= 1
            pack: list[Transaction] = []
            size_bytes = 0
            for transaction_hash in self._sync.take(peer):
                transaction = pooled(transaction_hash)
                if transaction is None or not self._known.mark(peer, transaction_hash):
                    continue
                pack.append(transaction)
                size_bytes += transaction.size_bytes
                if size_bytes >= MESSAGE_BYTES:
                    break
            if pack:
                (gateway,) = self._peers.by_gateway([peer])
                return SendTransactions(gateway, [peer], pack)
        return None

    def _forget(self, peer: PeerId) -> None:
        self._known.retire_peer(peer)
        self._sync.forget(peer)
        self._awaited.pop(peer, None)


def _messages(transactions: Sequence[Transaction]) -> Iterator[list[Transaction]]:
    message: list[Transaction] = []
    size_bytes = 0
    for transaction in transactions:
        message.append(transaction)
        size_bytes += transaction.size_bytes
        if size_bytes >= MESSAGE_BYTES:
            yield message
            message, size_bytes = [], 0
    if message:
        yield message
