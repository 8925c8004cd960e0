"""What a gateway counts. The help texts are the documentation."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge


class GatewayMetrics:
    """One per process, touched only by edges."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"peer_gateway_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"peer_gateway_{name}", text, labels, registry=registry)

        self.connections = gauge("connections", "Open TCP connections to peers, by who dialled.", "direction")
        self.peers = gauge("peers", "Peers that finished all handshakes, by eth version.", "version")
        self.dials = counter(
            "dials",
            "Dials that ended, by why they were made and outcome: connected, or unreachable.",
            "kind",
            "outcome",
        )
        self.refused = counter(
            "refused_connections",
            "Inbound connections closed before their handshake was done: over a limit of addresses or places.",
            "cause",
        )
        self.handshakes = counter("handshakes", "Handshakes that ended, by stage and outcome.", "stage", "outcome")
        self.disconnects = counter("disconnects", "Connections that ended, by reason and side.", "reason", "side")
        self.offences = counter(
            "offences", "Ends of connections by the rule broken or other cause, and what is only counted.", "offence"
        )
        self.bytes = counter("bytes", "Bytes that crossed peers' sockets.", "direction")
        self.messages = counter("messages", "eth messages, by name.", "direction", "name")
        self.dropped = counter("dropped", "What was dropped on purpose, by kind and cause.", "kind", "cause")
        self.digested = counter(
            "digested_bytes", "Bytes of replies and blocks hashed, by where: gateway, worker.", "by"
        )
        self.root_worker_losses = counter("root_worker_losses", "Batches that a root worker did not answer.")
        self.questions = counter("questions", "Peers' questions, by kind and outcome.", "kind", "outcome")
        self.discovery_packets = counter("discovery_packets", "Discovery packets, by type.", "direction", "type")
        self.lookups = counter("discovery_lookups", "Lookups that ended, by outcome: found, or empty.", "outcome")
        self._known_nodes = gauge("discovery_table_nodes", "Live nodes in the discovery table.")
        self._bonds = gauge("discovery_bonds", "Nodes that have proven their endpoint.")
        self.link_sessions = counter("link_sessions", "Links opened, by service at the other end.", "service")
        self.link_up = gauge("link_up", "1 while the link to the service is up.", "service")
        self._known_transactions = gauge(
            "known_transaction_hashes", "Distinct transaction hashes remembered for a broadcaster that starts anew."
        )
        self._queues = gauge("queue_bytes", "Bytes waiting for the writer of a link.", "queue")

    def watch_queue(self, name: str, bytes_queued: Callable[[], float]) -> None:
        """Read a queue's size whenever metrics are collected."""
        self._queues.labels(name).set_function(bytes_queued)

    def watch_known_transactions(self, distinct: Callable[[], float]) -> None:
        """Read the number whenever metrics are collected."""
        self._known_transactions.set_function(distinct)

    def watch_discovery(self, known_nodes: Callable[[], float], bonds: Callable[[], float]) -> None:
        """Read both numbers whenever metrics are collected."""
        self._known_nodes.set_function(known_nodes)
        self._bonds.set_function(bonds)

    def drop(self, kind: str, cause: str, count: int = 1) -> None:
        """Count something that was dropped; both words come from closed sets in the callers."""
        self.dropped.labels(kind, cause).inc(count)
