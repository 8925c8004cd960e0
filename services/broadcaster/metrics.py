"""What the broadcaster counts; the help texts are the documentation, and `docs/metrics.md` is made of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from blocksync.v1 import broadcast_pb2, transactions_pb2
from google.protobuf.descriptor import ServiceDescriptor
from prometheus_client import CollectorRegistry

from services.broadcaster.core.fan_out import FanOut
from services.broadcaster.pool_metrics import PoolMetrics
from services.shared.runtime.metric_catalogue import Catalogue, Label
from services.shared.runtime.process_metrics import ProcessMetrics
from services.shared.runtime.rpc_metrics import RpcMetrics
from services.shared.runtime.tracing import TraceMetrics

DECISION_BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1)

STAGE_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

STAGES: Final = ("seen_to_valid", "valid_to_propagated", "valid_to_imported", "imported_to_announced")

RPC_SERVICES: Final[tuple[ServiceDescriptor, ...]] = (
    *broadcast_pb2.DESCRIPTOR.services_by_name.values(),
    *transactions_pb2.DESCRIPTOR.services_by_name.values(),
)
"""What the broadcaster serves."""

SEND_KIND: Final = Label.of("kind", ("propagate", "announce"))


class BroadcasterMetrics:
    """Touched only by edges. Labels are closed sets: never a peer or a gateway."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.catalogue = Catalogue("broadcaster", registry)
        self._declare_gateways()
        self._declare_blocks()
        self._declare_chain()
        self.pool = PoolMetrics(self.catalogue)
        self.rpc = RpcMetrics(self.catalogue, RPC_SERVICES)
        self.traces = TraceMetrics(self.catalogue)
        self.process = ProcessMetrics(self.catalogue)

    def _declare_gateways(self) -> None:
        declare = self.catalogue
        declare.group("Gateways")
        self.gateways = declare.gauge("broadcaster_gateways", "Gateways attached now.")
        self.peers = declare.gauge("broadcaster_peers", "Peers of all attached gateways.")
        self.gateway_bytes = declare.counters(
            "broadcaster_gateway_bytes_total",
            "Bytes of messages queued for gateways.",
            Label.of("kind", ("propagate", "announce", "transactions")),
        )
        self.gateway_queue = declare.gauge(
            "broadcaster_gateway_queue_bytes", "Bytes that wait for gateways to read, over all gateways."
        )
        self.gateway_cuts = declare.counters(
            "broadcaster_gateway_cuts_total",
            "Gateway streams that ended: left (said no more), replaced (by a newer one), too_slow (queue full), "
            "invalid (broke the contract), lost (connection gone), stopping (we stop).",
            Label.of("cause", ("left", "replaced", "too_slow", "invalid", "lost", "stopping")),
        )
        self.unknown_peers = declare.counter(
            "broadcaster_unknown_peers_total", "Messages of a gateway about a peer it does not have (any more)."
        )

    def _declare_blocks(self) -> None:
        declare = self.catalogue
        declare.group("Blocks")
        self.known_block_hashes = declare.gauge(
            "broadcaster_known_block_hashes", "Distinct block hashes in the known sets."
        )
        self.blocks = declare.counters(
            "broadcaster_blocks_total", "Blocks the coordinator asked to propagate or announce.", SEND_KIND
        )
        self.peer_sends = declare.counters(
            "broadcaster_peer_sends_total",
            "Peers that were sent a block (propagate) or its hash (announce).",
            SEND_KIND,
        )
        self.skipped_known = declare.counter(
            "broadcaster_skipped_known_total",
            "Peers left out of a propagation because they are known to have the block.",
        )
        self.dropped_sends = declare.counters(
            "broadcaster_dropped_sends_total",
            "Peers that missed a block or announce because their gateway's queue was full.",
            SEND_KIND,
        )
        self.refused_sends = declare.counter(
            "broadcaster_refused_sends_total",
            "Peers whose own queue had no room for a block; they are told its hash.",
        )
        self.first_seen_to_forwarded = declare.histogram(
            "broadcaster_first_seen_to_forwarded_seconds",
            "Time from a peer's first word of a block, by its gateway's clock, until the block was handed to the "
            "gateways to send on.",
            STAGE_BUCKETS,
        )
        self.block_stage_seconds = declare.histograms(
            "broadcaster_block_stage_seconds",
            "How long a block took: seen_to_valid (first sight until header and seal were found valid), "
            "valid_to_propagated (until handed to the gateways), valid_to_imported (until it was on disk), "
            "imported_to_announced. Stages that began and ended by clocks that contradict each other are left out.",
            Label.of("stage", STAGES),
            buckets=STAGE_BUCKETS,
        )
        self.duplicate_blocks = declare.counter(
            "broadcaster_duplicate_blocks_total", "Times a block or its hash came after the first time."
        )
        self.ledger_blocks = declare.gauge("broadcaster_ledger_blocks", "Blocks whose spread is remembered.")
        self.decision_seconds = declare.histograms(
            "broadcaster_decision_seconds",
            "Time to decide whom to send a block or its hash, and to queue it for the gateways.",
            SEND_KIND,
            buckets=DECISION_BUCKETS,
        )
        self.fan_out = declare.state(
            "broadcaster_fan_out",
            "The policy for how many peers get the whole block.",
            [policy.value for policy in FanOut],
        )

    def _declare_chain(self) -> None:
        declare = self.catalogue
        declare.group("Chain")
        self.following_chain = declare.gauge(
            "broadcaster_following_chain", "1 while the coordinator's chain is followed."
        )
        self.head_number = declare.gauge("broadcaster_head_number", "Number of the coordinator's head.")
        self.chain_stream_failures = declare.counter(
            "broadcaster_chain_stream_failures_total",
            "Attempts to follow the coordinator's chain that failed or ended.",
        )

    def watch_peers(
        self, gateways: Callable[[], float], peers: Callable[[], float], known_hashes: Callable[[], float]
    ) -> None:
        """Read these sizes whenever metrics are collected."""
        self.gateways.set_function(gateways)
        self.peers.set_function(peers)
        self.known_block_hashes.set_function(known_hashes)
