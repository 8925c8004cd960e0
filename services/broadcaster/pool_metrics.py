"""What the broadcaster counts about transactions; the help texts are the documentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

DECISION_BUCKETS: Final = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1)

Origin = Literal["peer", "local", "journal", "undone"]
"""How a transaction came to be pooled."""


class PoolMetrics:
    """Touched only by edges. Labels are closed sets: never a peer, a gateway or a transaction."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.transactions = Gauge("broadcaster_pool_transactions", "Pending transactions.", registry=registry)
        self.local_transactions = Gauge(
            "broadcaster_pool_local_transactions", "Pending transactions that were submitted here.", registry=registry
        )
        self.size_bytes = Gauge("broadcaster_pool_bytes", "Bytes of all pending transactions.", registry=registry)
        self.known_hashes = Gauge(
            "broadcaster_known_transaction_hashes",
            "Distinct transaction hashes in the known sets.",
            registry=registry,
        )
        self.syncing_peers = Gauge(
            "broadcaster_transaction_syncing_peers",
            "Peers that have not been sent all that was pending when they came.",
            registry=registry,
        )
        self.waiting_bytes = Gauge(
            "broadcaster_transactions_waiting_bytes",
            "Bytes of peers' transactions not looked at yet.",
            registry=registry,
        )
        self.received = Counter("broadcaster_transactions_received", "Transactions that peers sent.", registry=registry)
        self.known = Counter(
            "broadcaster_transactions_known",
            "Of the received ones, those that were here already, or on their way.",
            registry=registry,
        )
        self.refused = Counter(
            "broadcaster_transactions_refused",
            "Transactions that were not pooled, by rule.",
            ["rule"],
            registry=registry,
        )
        self.pooled = Counter(
            "broadcaster_transactions_pooled",
            "Transactions that were pooled: of a peer, local (submitted), from the journal, of an undone block.",
            ["origin"],
            registry=registry,
        )
        self.left = Counter(
            "broadcaster_transactions_left",
            "Transactions that left the pool: included, replaced, evicted (full), expired, outdated (nonce used).",
            ["cause"],
            registry=registry,
        )
        self.sends = Counter(
            "broadcaster_transaction_sends", "Pairs of a transaction and a peer it was sent to.", registry=registry
        )
        self.dropped_sends = Counter(
            "broadcaster_transaction_sends_dropped",
            "Pairs of a transaction and a peer that missed it because too much waited for the peer's gateway.",
            registry=registry,
        )
        self.decision_seconds = Histogram(
            "broadcaster_transaction_decision_seconds",
            "Time to decide whom to send a batch of transactions, and to queue it for the gateways.",
            buckets=DECISION_BUCKETS,
            registry=registry,
        )
        self.journal_failures = Counter(
            "broadcaster_journal_failures",
            "Writes of the journal of local transactions that failed.",
            registry=registry,
        )

    def watch(self, sizes: dict[str, Callable[[], float]]) -> None:
        """Read these sizes, named as the gauges here, whenever metrics are collected."""
        for name, size in sizes.items():
            gauge: Gauge = getattr(self, name)
            gauge.set_function(size)
