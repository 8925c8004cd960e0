"""The coordinator's metrics, on an injected registry; touched only by edges."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

IMPORT_SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class CoordinatorMetrics:
    """What an operator watches: heads, peers, syncs, imports, faults, serving."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.head_number = Gauge(
            "coordinator_head_number",
            "Number of our newest header, fast block (with receipts) or full block.",
            ["head"],
            registry=registry,
        )
        self.best_peer_number_known = Gauge(
            "coordinator_highest_block", "Highest block that the running or last sync aims at.", registry=registry
        )
        self.peers = Gauge("coordinator_peers", "Peers over all gateways.", registry=registry)
        self.gateways = Gauge("coordinator_gateways", "Attached gateways.", registry=registry)
        self.admissions = Counter(
            "coordinator_admissions", "Peers that asked to be admitted, by answer.", ["answer"], registry=registry
        )
        self.syncs = Counter("coordinator_syncs", "Syncs that ended, by outcome.", ["outcome"], registry=registry)
        self.sync_verdicts = Counter(
            "coordinator_sync_verdicts", "Times a sync was considered, by verdict.", ["verdict"], registry=registry
        )
        self.requests = Counter("coordinator_requests", "Requests to peers, by kind.", ["kind"], registry=registry)
        self.replies = Counter(
            "coordinator_replies",
            "Replies that reached the coordinator, by kind and who had asked (stale: nobody any more).",
            ["kind", "asker"],
            registry=registry,
        )
        self.items = Counter(
            "coordinator_items",
            "Headers, bodies, receipt lists and state entries received.",
            ["kind"],
            registry=registry,
        )
        self.imported_blocks = Counter(
            "coordinator_imported",
            "Headers, blocks and state entries committed to the store by syncs.",
            ["kind"],
            registry=registry,
        )
        self.state_entries = Gauge(
            "coordinator_state_entries",
            "State entries of the running or last sync: pulled, and known (those and the ones known to be missing).",
            ["which"],
            registry=registry,
        )
        self.import_seconds = Histogram(
            "coordinator_import_seconds",
            "Time from handing a batch to the import until it is on disk.",
            ["kind"],
            buckets=IMPORT_SECONDS_BUCKETS,
            registry=registry,
        )
        self.reorgs = Counter("coordinator_reorgs", "Times our head left its chain.", registry=registry)
        self.offences = Counter(
            "coordinator_offences",
            "What the coordinator found peers to have done, dropped for it or only counted.",
            ["offence"],
            registry=registry,
        )
        self.bans = Gauge("coordinator_bans", "Nodes that are banned now, for all gateways.", registry=registry)
        self.fetcher_refused = Gauge(
            "coordinator_fetcher_refused",
            "Announces and blocks over a peer's limit or too far from our head.",
            ["kind"],
            registry=registry,
        )
        self.fetched_blocks = Counter(
            "coordinator_fetched_blocks",
            "Announced and propagated blocks that came to their import, by outcome. Refused: nobody's fault, as one "
            "too far in the future.",
            ["outcome"],
            registry=registry,
        )
        self.submitted_blocks = Counter(
            "coordinator_submitted_blocks",
            "Blocks that operators handed in: imported, known, or the cause of the refusal.",
            ["outcome"],
            registry=registry,
        )
        self.served_bytes = Counter(
            "coordinator_served_bytes", "Bytes of replies to peers' questions.", ["kind"], registry=registry
        )
        self.rpc_refused = Counter(
            "coordinator_rpc_refused",
            "Calls of operators refused because they were too many or too large, by class and limit.",
            ["call_class", "limit"],
            registry=registry,
        )
        self.feed_streams = Gauge("coordinator_feed_streams", "Streams of blocks that are open.", registry=registry)
        self.feed_steps = Counter(
            "coordinator_feed_steps", "Steps sent by the feed of blocks: apply, undo.", ["step"], registry=registry
        )
        self.feed_bytes = Counter("coordinator_feed_bytes", "Bytes sent by the feed of blocks.", registry=registry)
        self.feed_refused = Counter(
            "coordinator_feed_refused", "Streams of blocks refused because too many were open.", registry=registry
        )
