"""What the broadcaster counts; the help texts are the documentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client import Enum as EnumMetric

DECISION_BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1)

STAGE_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class BroadcasterMetrics:
    """Touched only by edges. Labels are closed sets: never a peer or a gateway."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.gateways = Gauge("broadcaster_gateways", "Gateways attached now.", registry=registry)
        self.peers = Gauge("broadcaster_peers", "Peers of all attached gateways.", registry=registry)
        self.known_block_hashes = Gauge(
            "broadcaster_known_block_hashes", "Distinct block hashes in the known sets.", registry=registry
        )
        self.blocks = Counter(
            "broadcaster_blocks",
            "Blocks the coordinator asked to propagate or announce.",
            ["kind"],
            registry=registry,
        )
        self.peer_sends = Counter(
            "broadcaster_peer_sends",
            "Peers that were sent a block (propagate) or its hash (announce).",
            ["kind"],
            registry=registry,
        )
        self.gateway_bytes = Counter(
            "broadcaster_gateway_bytes", "Bytes of messages queued for gateways.", ["kind"], registry=registry
        )
        self.gateway_cuts = Counter(
            "broadcaster_gateway_cuts",
            "Gateway streams that ended: left (said no more), replaced (by a newer one), too_slow (queue full), "
            "invalid (broke the contract), lost (connection gone), stopping (we stop).",
            ["cause"],
            registry=registry,
        )
        self.dropped_sends = Counter(
            "broadcaster_dropped_sends",
            "Peers that missed a block or announce because their gateway's queue was full.",
            ["kind"],
            registry=registry,
        )
        self.refused_sends = Counter(
            "broadcaster_refused_sends",
            "Peers whose own queue had no room for a block; they are told its hash.",
            registry=registry,
        )
        self.block_stage_seconds = Histogram(
            "broadcaster_block_stage_seconds",
            "How long a block took: seen_to_valid (first sight until header and seal were found valid), "
            "valid_to_propagated (until handed to the gateways), valid_to_imported (until it was on disk), "
            "imported_to_announced. Stages that began and ended by clocks that contradict each other are left out.",
            ["stage"],
            buckets=STAGE_BUCKETS,
            registry=registry,
        )
        self.ledger_blocks = Gauge("broadcaster_ledger_blocks", "Blocks whose spread is remembered.", registry=registry)
        self.unknown_peers = Counter(
            "broadcaster_unknown_peers",
            "Messages of a gateway about a peer it does not have (any more).",
            registry=registry,
        )
        self.decision_seconds = Histogram(
            "broadcaster_decision_seconds",
            "Time to decide whom to send a block or its hash, and to queue it for the gateways.",
            ["kind"],
            buckets=DECISION_BUCKETS,
            registry=registry,
        )
        self.fan_out = EnumMetric(
            "broadcaster_fan_out",
            "The policy for how many peers get the whole block.",
            states=["seed", "sqrt", "all"],
            registry=registry,
        )
        self.following_chain = Gauge(
            "broadcaster_following_chain", "1 while the coordinator's chain is followed.", registry=registry
        )
        self.head_number = Gauge("broadcaster_head_number", "Number of the coordinator's head.", registry=registry)
        self.chain_stream_failures = Counter(
            "broadcaster_chain_stream_failures",
            "Attempts to follow the coordinator's chain that failed or ended.",
            registry=registry,
        )

    def watch_peers(
        self, gateways: Callable[[], float], peers: Callable[[], float], known_hashes: Callable[[], float]
    ) -> None:
        """Read these sizes whenever metrics are collected."""
        self.gateways.set_function(gateways)
        self.peers.set_function(peers)
        self.known_block_hashes.set_function(known_hashes)
