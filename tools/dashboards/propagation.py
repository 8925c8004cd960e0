"""Propagation: how new blocks and transactions come in, and go on to other peers."""

from __future__ import annotations

from typing import Final

from tools.dashboards.description import BAD, HALF, Dashboard, Panel, Query, Row, quantile, quantiles, rate

SOON: Final = Row(
    "How soon are new blocks passed on?",
    [
        Panel(
            title="From first sight to the first peer",
            description="From the first peer that told us of a block until it was handed on to others.",
            queries=quantiles("broadcaster_first_seen_to_forwarded_seconds"),
            unit="s",
            thresholds=[(1, BAD)],
        ),
        Panel(
            title="Which step takes the time?",
            description="Validity is header and seal; blocks are propagated when valid, and announced when "
            "imported. 95 % are faster.",
            queries=[Query(quantile(0.95, "broadcaster_block_stage_seconds", "stage"), "{{stage}}")],
            unit="s",
        ),
        Panel(
            title="Since our head last moved",
            description="Time since a block became our head. Networks have one every 13 to 15 s on average.",
            queries=[Query("max(coordinator_seconds_since_new_head)", "time")],
            unit="s",
            thresholds=[(600, BAD)],
        ),
    ],
)

INBOUND: Final = Row(
    "What becomes of the blocks that we hear of?",
    [
        Panel(
            title="Hashes that peers announce",
            description="Per minute. in: came; out: fetched, and handed to the import; dropped: known, or too far from "
            "our head; dos: over what one peer may have open.",
            queries=[
                Query(
                    rate("coordinator_fetcher_total", "outcome", where='kind="announce"', per_minute=True),
                    "{{outcome}}",
                )
            ],
            unit="cpm",
        ),
        Panel(
            title="Blocks that peers propagate",
            description="Per minute. in: came; out: handed to the import; dropped: known, or too far from our head; "
            "dos: over what one peer may have open.",
            queries=[
                Query(
                    rate("coordinator_fetcher_total", "outcome", where='kind="broadcast"', per_minute=True),
                    "{{outcome}}",
                )
            ],
            unit="cpm",
        ),
        Panel(
            title="Were they good?",
            description="New blocks that came to their import, by outcome, per minute. refused: nobody's fault.",
            queries=[Query(rate("coordinator_fetched_blocks_total", "outcome", per_minute=True), "{{outcome}}")],
            unit="cpm",
        ),
        Panel(
            title="How often is a block heard again?",
            description="Blocks and hashes of further peers, after the first told us of it, per minute. More "
            "peers, more of it.",
            queries=[Query(rate("broadcaster_duplicate_blocks_total", per_minute=True), "heard again")],
            unit="cpm",
        ),
        Panel(
            title="Blocks that miners and sealers hand in",
            description="Through the operator API: imported, known already, or the cause of the refusal. Per minute.",
            queries=[Query(rate("coordinator_submitted_blocks_total", "outcome", per_minute=True), "{{outcome}}")],
            unit="cpm",
        ),
        Panel(
            title="Reorgs",
            description="Times our head left its chain, per minute. Now and then a shallow one is normal.",
            queries=[Query(rate("coordinator_reorgs_total", per_minute=True), "reorgs")],
            unit="cpm",
        ),
    ],
)

OUTBOUND: Final = Row(
    "Who is told of them?",
    [
        Panel(
            title="Peers that were told",
            description="Per minute. propagate: the whole block; announce: its hash; known: skipped, the peer has it.",
            queries=[
                Query(rate("broadcaster_peer_sends_total", "kind", per_minute=True), "{{kind}}"),
                Query(rate("broadcaster_skipped_known_total", per_minute=True), "known"),
            ],
            unit="cpm",
            stacked=True,
        ),
        Panel(
            title="Peers that could not be told",
            description="Per minute. refused: told the hash instead, as the peer reads slowly; dropped: the "
            "gateway's queue was full.",
            queries=[
                Query(rate("broadcaster_refused_sends_total", per_minute=True), "refused"),
                Query(rate("broadcaster_dropped_sends_total", "kind", per_minute=True), "dropped {{kind}}"),
            ],
            unit="cpm",
        ),
        Panel(
            title="How long does the decision take?",
            description="Whom to send a block or its hash, and to queue it for the gateways; 95 % are faster.",
            queries=[Query(quantile(0.95, "broadcaster_decision_seconds", "kind"), "{{kind}}")],
            unit="s",
        ),
        Panel(
            title="Peers and gateways that the broadcaster sees",
            description="Only these are sent anything. It should be all of them.",
            queries=[
                Query("sum(broadcaster_peers)", "peers"),
                Query("sum(broadcaster_gateways)", "gateways"),
            ],
            unit="short",
        ),
        Panel(
            title="What waits for gateways",
            description="Bytes that the broadcaster has queued for its gateways. Near 0 is normal.",
            queries=[Query("sum(broadcaster_gateway_queue_bytes)", "queued")],
            unit="bytes",
        ),
        Panel(
            title="Does the broadcaster follow the chain?",
            description="1: it hears of each new head from the coordinator. Failures, per minute, mean that it "
            "does not.",
            queries=[
                Query("min(broadcaster_following_chain)", "follows"),
                Query(rate("broadcaster_chain_stream_failures_total", per_minute=True), "failures"),
            ],
            unit="short",
        ),
    ],
)

TRANSACTIONS: Final = Row(
    "Do transactions get through?",
    [
        Panel(
            title="Pending transactions",
            description="In the pool; local ones were handed in here.",
            queries=[
                Query("sum(broadcaster_pool_transactions)", "all"),
                Query("sum(broadcaster_pool_local_transactions)", "local"),
            ],
            unit="short",
        ),
        Panel(
            title="Transactions in and out",
            description="received: from peers; known: of those, here already; sent: pairs of a transaction and a peer.",
            queries=[
                Query(rate("broadcaster_transactions_received_total"), "received"),
                Query(rate("broadcaster_transactions_known_total"), "known"),
                Query(rate("broadcaster_transaction_sends_total"), "sent"),
                Query(rate("broadcaster_transaction_sends_dropped_total"), "not sent: too much waits"),
            ],
            unit="cps",
        ),
        Panel(
            title="What was pooled, and what left the pool?",
            description="Pooled by origin: a peer, local, the journal, an undone block. Left by cause, per minute.",
            queries=[
                Query(rate("broadcaster_transactions_pooled_total", "origin", per_minute=True), "pooled: {{origin}}"),
                Query(rate("broadcaster_transactions_left_total", "cause", per_minute=True), "left: {{cause}}"),
            ],
            unit="cpm",
        ),
        Panel(
            title="Why were transactions refused?",
            description="By the rule that was broken, per minute; docs/transactions.md lists the rules.",
            queries=[Query(rate("broadcaster_transactions_refused_total", "rule", per_minute=True), "{{rule}}")],
            unit="cpm",
            width=HALF,
        ),
        Panel(
            title="How much do transactions take?",
            description="Bytes of all pending transactions, and of those that peers sent and nobody has looked at yet.",
            queries=[
                Query("sum(broadcaster_pool_bytes)", "pending"),
                Query("sum(broadcaster_transactions_waiting_bytes)", "waiting"),
            ],
            unit="bytes",
            width=HALF,
        ),
    ],
)

PROPAGATION: Final = Dashboard(
    key="propagation",
    title="trisync: propagation",
    description="How new blocks and transactions come in, what becomes of them, and to whom they go on.",
    rows=[SOON, INBOUND, OUTBOUND, TRANSACTIONS],
)
