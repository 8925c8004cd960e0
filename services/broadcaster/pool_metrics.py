"""What the broadcaster counts about transactions; the help texts are the documentation."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Final, Literal

from prometheus_client import Gauge

from services.broadcaster.core.fates import DropCause
from services.broadcaster.core.transaction_check import Refusal
from services.shared.runtime.metric_catalogue import Catalogue, Label

DECISION_BUCKETS: Final = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1)

Origin = Literal["peer", "local", "journal", "undone"]
"""How a transaction came to be pooled."""


class PoolMetrics:
    """Touched only by edges. Labels are closed sets: never a peer, a gateway or a transaction."""

    def __init__(self, catalogue: Catalogue) -> None:
        catalogue.group("Transactions")
        self._declare_sizes(catalogue)
        self._declare_counts(catalogue)

    def _declare_sizes(self, declare: Catalogue) -> None:
        self.transactions = declare.gauge("broadcaster_pool_transactions", "Pending transactions.")
        self.local_transactions = declare.gauge(
            "broadcaster_pool_local_transactions", "Pending transactions that were submitted here."
        )
        self.size_bytes = declare.gauge("broadcaster_pool_bytes", "Bytes of all pending transactions.")
        self.known_hashes = declare.gauge(
            "broadcaster_known_transaction_hashes", "Distinct transaction hashes in the known sets."
        )
        self.syncing_peers = declare.gauge(
            "broadcaster_transaction_syncing_peers",
            "Peers that have not been sent all that was pending when they came.",
        )
        self.waiting_bytes = declare.gauge(
            "broadcaster_transactions_waiting_bytes", "Bytes of peers' transactions not looked at yet."
        )

    def _declare_counts(self, declare: Catalogue) -> None:
        self.received = declare.counter("broadcaster_transactions_received_total", "Transactions that peers sent.")
        self.known = declare.counter(
            "broadcaster_transactions_known_total",
            "Of the received ones, those that were here already, or on their way.",
        )
        self.refused = declare.counters(
            "broadcaster_transactions_refused_total",
            "Transactions that were not pooled, by rule.",
            Label.of("rule", (refusal.value for refusal in Refusal)),
        )
        self.pooled = declare.counters(
            "broadcaster_transactions_pooled_total",
            "Transactions that were pooled: of a peer, local (submitted), from the journal, of an undone block.",
            Label.of("origin", typing.get_args(Origin)),
        )
        self.left = declare.counters(
            "broadcaster_transactions_left_total",
            "Transactions that left the pool: included, replaced, evicted (full), expired, outdated (nonce used), "
            "refused (by the rules of a newer block).",
            Label.of("cause", ("included", *(cause.value for cause in DropCause))),
        )
        self.sends = declare.counter(
            "broadcaster_transaction_sends_total", "Pairs of a transaction and a peer it was sent to."
        )
        self.dropped_sends = declare.counter(
            "broadcaster_transaction_sends_dropped_total",
            "Pairs of a transaction and a peer that missed it because too much waited for the peer's gateway.",
        )
        self.decision_seconds = declare.histogram(
            "broadcaster_transaction_decision_seconds",
            "Time to decide whom to send a batch of transactions, and to queue it for the gateways.",
            DECISION_BUCKETS,
        )
        self.journal_failures = declare.counter(
            "broadcaster_journal_failures_total", "Writes of the journal of local transactions that failed."
        )

    def watch(self, sizes: dict[str, Callable[[], float]]) -> None:
        """Read these sizes, named as the gauges here, whenever metrics are collected."""
        for name, size in sizes.items():
            gauge: Gauge = getattr(self, name)
            gauge.set_function(size)
