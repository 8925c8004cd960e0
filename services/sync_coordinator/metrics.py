"""The coordinator's metrics, on an injected registry; touched only by edges. `docs/metrics.md` is made of them."""

from __future__ import annotations

from typing import Final

from blocksync.v1 import (
    blocks_pb2,
    chain_reader_pb2,
    coordinator_pb2,
    gateway_link_pb2,
    transactions_pb2,
)
from google.protobuf.descriptor import ServiceDescriptor
from prometheus_client import CollectorRegistry

from services.shared.ethwire.offences import Offence
from services.shared.runtime.metric_catalogue import Catalogue, Label
from services.shared.runtime.process_metrics import ProcessMetrics
from services.shared.runtime.rpc_metrics import RpcMetrics
from services.shared.runtime.tracing import TraceMetrics
from services.sync_coordinator.core.block_submission import RefusalCause
from services.sync_coordinator.core.call_limits import CallClass
from services.sync_coordinator.core.fetcher_actions import BlockOutcome
from services.sync_coordinator.core.peer_set import Admission
from services.sync_coordinator.core.reply_router import Asker
from services.sync_coordinator.core.sync_actions import SyncPhase
from services.sync_coordinator.core.sync_cycle import SyncVerdict
from services.sync_coordinator.core.sync_faults import SyncFault
from services.sync_coordinator.store.chain_store import MeasuredStore

IMPORT_SECONDS_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

REQUEST_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""A round trip on one machine, up to the longest time-out."""

COMMIT_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

REORG_BUCKETS: Final = (1.0, 2.0, 3.0, 6.0, 12.0, 30.0, 64.0, 128.0)

RPC_SERVICES: Final[tuple[ServiceDescriptor, ...]] = tuple(
    service
    for contract in (gateway_link_pb2, chain_reader_pb2, coordinator_pb2, transactions_pb2, blocks_pb2)
    for service in contract.DESCRIPTOR.services_by_name.values()
)
"""What the coordinator serves."""

ITEM_KIND: Final = Label.of("kind", ("headers", "bodies", "receipts", "node_data"))
"""What peers are asked for."""

CALL_LIMITS: Final = (
    *("client_call_rate", "total_call_rate", "client_calls_open", "total_calls_open"),
    *("client_streams_open", "total_streams_open", "request_too_large", "client_diverted"),
)
"""The reasons of `call_limits` and its edges."""

IMPORT_KIND: Final = Label.of("kind", ("headers", "blocks", "fast_blocks", "pivot", "state_entries"))


class CoordinatorMetrics:
    """What an operator watches: heads, peers, syncs, imports, faults, serving."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.catalogue = Catalogue("coordinator", registry)
        self._declare_standard()
        self._declare_chain()
        self._declare_peers()
        self._declare_syncs()
        self._declare_requests()
        self._declare_fetcher()
        self._declare_serving()
        self._declare_store()
        self.rpc = RpcMetrics(self.catalogue, RPC_SERVICES)
        self.traces = TraceMetrics(self.catalogue)
        self.process = ProcessMetrics(self.catalogue)

    def _declare_standard(self) -> None:
        declare = self.catalogue
        declare.group("EIP-2159")
        self.blockchain_height = declare.gauge(
            "ethereum_blockchain_height", "Number of the newest block of our chain, in light mode of its header."
        )
        self.best_known_block = declare.gauge(
            "ethereum_best_known_block_number",
            "Highest block number that we know of: our newest header's, or what the running or last sync aims at.",
        )
        self.peer_count = declare.gauge("ethereum_peer_count", "Peers connected now, over all gateways.")
        self.peer_limit = declare.gauge("ethereum_peer_limit", "Most peers that may be connected, over all gateways.")

    def _declare_chain(self) -> None:
        declare = self.catalogue
        declare.group("Chain")
        self.head_number = declare.gauges(
            "coordinator_head_number",
            "Number of our newest header, fast block (with receipts) or full block.",
            Label.of("head", ("header", "fast_block", "full_block")),
        )
        self.seconds_since_new_head = declare.gauge(
            "coordinator_seconds_since_new_head",
            "Seconds since our head last moved, or since the start if it has not.",
        )
        self.best_peer_lead = declare.gauge(
            "coordinator_best_peer_total_difficulty_lead",
            "The best peer's total difficulty minus ours; 0 without a better peer.",
        )
        self.reorgs = declare.counter("coordinator_reorgs_total", "Times our head left its chain.")
        self.reorg_depth = declare.histogram(
            "coordinator_reorg_depth_blocks", "Blocks that a reorg took off our chain.", REORG_BUCKETS
        )

    def _declare_peers(self) -> None:
        declare = self.catalogue
        declare.group("Peers")
        self.peers = declare.gauge("coordinator_peers", "Peers over all gateways.")
        self.gateways = declare.gauge("coordinator_gateways", "Attached gateways.")
        self.admissions = declare.counters(
            "coordinator_admissions_total",
            "Peers that asked to be admitted, by answer.",
            Label.names_of("answer", Admission),
        )
        self.offences = declare.counters(
            "coordinator_offences_total",
            "What the coordinator found peers to have done, dropped for it or only counted.",
            Label.names_of("offence", Offence),
        )
        self.bans = declare.gauge("coordinator_bans", "Nodes that are banned now, for all gateways.")
        self.link_queue_bytes = declare.gauges(
            "coordinator_link_queue_bytes",
            "Bytes of orders and questions that wait for gateways to read, over all gateways.",
            Label.of("queue", ("control",)),
        )

    def _declare_syncs(self) -> None:
        declare = self.catalogue
        declare.group("Sync")
        self.sync_phase = declare.state(
            "coordinator_sync_phase",
            "Where the running sync stands; idle when none runs.",
            [phase.value for phase in SyncPhase],
        )
        self.best_peer_number_known = declare.gauge(
            "coordinator_highest_block", "Highest block that the running or last sync aims at."
        )
        self.syncs = declare.counters(
            "coordinator_syncs_total", "Syncs that ended, by outcome.", Label.names_of("outcome", SyncFault, "done")
        )
        self.sync_verdicts = declare.counters(
            "coordinator_sync_verdicts_total",
            "Times a sync was considered, by verdict.",
            Label.names_of("verdict", SyncVerdict),
        )
        self.forced_syncs = declare.counter(
            "coordinator_forced_syncs_total", "Syncs that started because the forced cycle came round."
        )
        self.sync_seconds = declare.kept_counters(
            "coordinator_sync_seconds_total",
            "Seconds of running syncs: our event loop's time for preparing requests (prepare) and for taking replies "
            "(handle), and the time in which requests were open while our import had nothing to do (wait_for_peer). "
            "Most of the last means slow peers; little of it means that we are the bottleneck.",
            Label.of("activity", ("prepare", "wait_for_peer", "handle")),
        )
        self.imported_blocks = declare.counters(
            "coordinator_imported_total",
            "Headers, blocks and state entries committed to the store by syncs.",
            IMPORT_KIND,
        )
        self.import_seconds = declare.histograms(
            "coordinator_import_seconds",
            "Time from handing a batch to the import until it is on disk.",
            IMPORT_KIND,
            buckets=IMPORT_SECONDS_BUCKETS,
        )
        self.state_entries = declare.gauges(
            "coordinator_state_entries",
            "State entries of the running or last sync: pulled, and known (those and the ones known to be missing).",
            Label.of("which", ("pulled", "known")),
        )

    def _declare_requests(self) -> None:
        declare = self.catalogue
        declare.group("Requests to peers")
        self.requests = declare.counters("coordinator_requests_total", "Requests to peers, by kind.", ITEM_KIND)
        self.request_seconds = declare.histograms(
            "coordinator_request_seconds",
            "Time from handing a request to a peer's gateway until its reply is here.",
            ITEM_KIND,
            buckets=REQUEST_BUCKETS,
        )
        self.requests_in_flight = declare.gauges(
            "coordinator_requests_in_flight", "Requests that a peer owes us an answer for.", ITEM_KIND
        )
        self.request_timeouts = declare.kept_counters(
            "coordinator_request_timeouts_total",
            "Requests of syncs, and of the fetcher of new blocks, that took too long; their replies, if they come, "
            "are stale.",
            ITEM_KIND,
        )
        self.replies = declare.counters(
            "coordinator_replies_total",
            "Replies that reached the coordinator, by kind and who had asked (stale: nobody any more).",
            ITEM_KIND,
            Label.of("asker", (*(asker.value for asker in Asker), "stale")),
        )
        self.items = declare.counters(
            "coordinator_items_total", "Headers, bodies, receipt lists and state entries received.", ITEM_KIND
        )
        self.peer_capacity = declare.gauges(
            "coordinator_peer_capacity_items",
            "Items a second that all peers together are measured to deliver in the running or last sync.",
            ITEM_KIND,
        )

    def _declare_fetcher(self) -> None:
        declare = self.catalogue
        declare.group("New blocks")
        self.fetcher = declare.kept_counters(
            "coordinator_fetcher_total",
            "Announced hashes (announce) and whole blocks (broadcast) from peers: in (came), out (queued for the "
            "import, once fetched or as it came), dropped (known already, or too far from our head), dos (over what "
            "one peer may have open).",
            Label.of("kind", ("announce", "broadcast")),
            Label.of("outcome", ("in", "out", "dropped", "dos")),
        )
        self.fetcher_refused = declare.gauges(
            "coordinator_fetcher_refused",
            "Announces and blocks over a peer's limit or too far from our head.",
            Label.of("kind", ("announces", "blocks")),
        )
        self.fetched_blocks = declare.counters(
            "coordinator_fetched_blocks_total",
            "Announced and propagated blocks that came to their import, by outcome. Refused: nobody's fault, as one "
            "too far in the future.",
            Label.names_of("outcome", BlockOutcome),
        )
        self.submitted_blocks = declare.counters(
            "coordinator_submitted_blocks_total",
            "Blocks that operators handed in: imported, known, or the cause of the refusal.",
            Label.names_of("outcome", RefusalCause, "imported", "known"),
        )

    def _declare_serving(self) -> None:
        declare = self.catalogue
        declare.group("Serving")
        self.served_bytes = declare.counters(
            "coordinator_served_bytes_total",
            "Bytes of replies to peers' questions.",
            Label.of("kind", ("headers", "bodies", "receipts", "state")),
        )
        self.rpc_refused = declare.counters(
            "coordinator_rpc_refused_total",
            "Calls of operators refused because they were too many or too large, by class and limit.",
            Label.of("call_class", (*(kind.value for kind in CallClass), "any")),
            Label.of("limit", CALL_LIMITS),
        )
        self.feed_streams = declare.gauge("coordinator_feed_streams", "Streams of blocks that are open.")
        self.feed_steps = declare.counters(
            "coordinator_feed_steps_total",
            "Steps sent by the feed of blocks.",
            Label.of("step", ("apply", "undo")),
        )
        self.feed_bytes = declare.counter("coordinator_feed_bytes_total", "Bytes sent by the feed of blocks.")
        self.feed_refused = declare.counter(
            "coordinator_feed_refused_total", "Streams of blocks refused because too many were open."
        )

    def _declare_store(self) -> None:
        declare = self.catalogue
        declare.group("Store")
        self.store_bytes = declare.gauge("coordinator_store_bytes", "Bytes of the store's file that are in use.")
        self.store_limit = declare.gauge(
            "coordinator_store_limit_bytes",
            "Size of the address space that the store is mapped to now; it doubles by itself when the file fills it.",
        )
        self.store_free_disk = declare.gauge(
            "coordinator_store_free_disk_bytes", "Bytes that we may still write to the store's file system."
        )
        self.store_commit_seconds = declare.histogram(
            "coordinator_store_commit_seconds",
            "Time of one commit, from its first write until the disk has it.",
            COMMIT_BUCKETS,
        )

    def watch_store(self, store: MeasuredStore) -> None:
        """Read its size whenever metrics are collected, and the time of each commit."""
        self.store_bytes.set_function(lambda: store.size().used_bytes)
        self.store_limit.set_function(lambda: store.size().limit_bytes)
        self.store_free_disk.set_function(lambda: store.size().free_disk_bytes)
        store.on_commit(self.store_commit_seconds.observe)
