"""Is the node well? The first dashboard to open."""

from __future__ import annotations

from typing import Final

from tools.dashboards.description import (
    BAD,
    DOUBTFUL,
    GOOD,
    JOBS,
    SIXTH,
    Dashboard,
    Panel,
    Query,
    Row,
    or_nothing,
    per_service,
    quantile,
    quantiles,
    rate,
)

FIRING: Final = or_nothing('count by (alertname) (ALERTS{alertname=~"Trisync.+", alertstate="firing"})', "alertname")

WRONG: Final = Row(
    "Is anything wrong?",
    [
        Panel(
            title="Alerts that fire",
            description="Each alert by name, with how many of it fire. docs/runbook.md has a section for each.",
            queries=[Query(FIRING, "{{alertname}}")],
            unit="short",
            kind="stat",
            width=SIXTH,
            thresholds=[(1, BAD)],
        ),
        Panel(
            title="Services that answer",
            description="Processes whose metrics Prometheus could read, by service. 0: there is none, or none answers.",
            queries=[Query(f'sum(up{{job=~"{job}"}}) or vector(0)', name) for job, name in JOBS.items()],
            unit="short",
            kind="stat",
            width=SIXTH,
            below_first=BAD,
            thresholds=[(1, GOOD)],
        ),
        Panel(
            title="Blocks behind the network",
            description="The highest block that any peer is known to have, minus ours. Near 0 is in step.",
            queries=[
                Query("max(clamp_min(ethereum_best_known_block_number - ethereum_blockchain_height, 0))", "blocks")
            ],
            unit="short",
            kind="stat",
            width=SIXTH,
            thresholds=[(10, DOUBTFUL), (100, BAD)],
            more="sync",
        ),
        Panel(
            title="Since our head last moved",
            description="Time since a block became our head. Networks have one every 13 to 15 s on average.",
            queries=[Query("max(coordinator_seconds_since_new_head)", "time")],
            unit="s",
            kind="stat",
            width=SIXTH,
            thresholds=[(120, DOUBTFUL), (600, BAD)],
            more="sync",
        ),
        Panel(
            title="Peers",
            description="Nodes that we are connected to, over all gateways. A sync starts by itself with 5.",
            queries=[Query("sum(ethereum_peer_count)", "peers")],
            unit="short",
            kind="stat",
            width=SIXTH,
            below_first=BAD,
            thresholds=[(1, DOUBTFUL), (5, GOOD)],
            more="peers",
        ),
        Panel(
            title="What the sync does now",
            description="Idle: no sync is needed, new blocks are followed one by one. Else the phase of the "
            "running sync.",
            queries=[Query("coordinator_sync_phase == 1", "{{coordinator_sync_phase}}")],
            unit="short",
            kind="stat",
            width=SIXTH,
            states=[("1", "now", GOOD)],
            more="sync",
        ),
    ],
)

CHAIN: Final = Row(
    "Do we follow the network?",
    [
        Panel(
            title="Our head and the highest known block",
            description="Both lines together: we are in step. A gap that shrinks: a sync catches up. A gap that "
            "grows: see Sync.",
            queries=[
                Query("max(ethereum_blockchain_height)", "our head"),
                Query("max(ethereum_best_known_block_number)", "highest known", dashed=True),
            ],
            unit="short",
            more="sync",
        ),
        Panel(
            title="How far is the best peer ahead in total difficulty?",
            description="Total difficulty is the sum over a chain's blocks; the heaviest chain wins. 0: no peer "
            "has a heavier one.",
            queries=[Query("max(coordinator_best_peer_total_difficulty_lead)", "best peer minus ours")],
            unit="short",
            more="sync",
        ),
        Panel(
            title="How fast do blocks come in?",
            description="Synced: committed by syncs, headers and state entries too. New: announced or propagated "
            "by peers.",
            queries=[
                Query(rate("coordinator_imported_total", "kind"), "synced {{kind}}"),
                Query(rate("coordinator_fetched_blocks_total", where='outcome="imported"'), "new blocks"),
            ],
            unit="cps",
            more="sync",
        ),
    ],
)

PEERS: Final = Row(
    "Who are we connected to?",
    [
        Panel(
            title="Peers, by who dialled",
            description="out: we dialled them; in: they dialled us. The dashed line is the number of places.",
            queries=[
                Query("sum by (direction) (peer_gateway_peers)", "{{direction}}"),
                Query("max(ethereum_peer_limit)", "places", dashed=True),
            ],
            unit="short",
            stacked=True,
            more="peers",
        ),
        Panel(
            title="What do they run?",
            description="Peers by the family of client software that they name in their Hello.",
            queries=[Query("sum by (client) (peer_gateway_peers)", "{{client}}")],
            unit="short",
            stacked=True,
            more="peers",
        ),
        Panel(
            title="How many connections end?",
            description="Per minute, by the side that ended it. Some turnover is normal; what matters is the "
            "number of peers.",
            queries=[Query(rate("peer_gateway_disconnects_total", "side", per_minute=True), "by {{side}}")],
            unit="cpm",
            more="peers",
        ),
    ],
)

NEWS: Final = Row(
    "Are new blocks and transactions passed on?",
    [
        Panel(
            title="How long until a new block is passed on?",
            description="From the first peer that told us of a block until it was handed on to others.",
            queries=quantiles("broadcaster_first_seen_to_forwarded_seconds"),
            unit="s",
            thresholds=[(1, BAD)],
            more="propagation",
        ),
        Panel(
            title="How many peers are told of blocks?",
            description="propagate: sent the whole block; announce: told its hash. Per minute.",
            queries=[Query(rate("broadcaster_peer_sends_total", "kind", per_minute=True), "{{kind}}")],
            unit="cpm",
            more="propagation",
        ),
        Panel(
            title="Pending transactions",
            description="In the pool; local ones were handed in here. The pool holds 4,096 that could be in the "
            "next block.",
            queries=[
                Query("sum(broadcaster_pool_transactions)", "all"),
                Query("sum(broadcaster_pool_local_transactions)", "local"),
            ],
            unit="short",
            more="propagation",
        ),
    ],
)

RESOURCES: Final = Row(
    "Have the services what they need?",
    [
        Panel(
            title="How late are the event loops?",
            description="Each service works on one event loop. 99 % of its work starts within this time; above 50"
            " ms it is overloaded.",
            queries=[
                Query(query.expr, query.legend)
                for query in per_service(quantile(0.99, "SERVICE_event_loop_lag_seconds", "instance"), " {{instance}}")
            ],
            unit="s",
            thresholds=[(0.1, BAD)],
        ),
        Panel(
            title="Processors in use",
            description="CPU seconds per second of each process, without its worker processes; 1 is a whole core.",
            queries=per_service(rate("SERVICE_cpu_seconds_total", "instance"), " {{instance}}"),
            unit="short",
        ),
        Panel(
            title="Memory in use",
            description="Private memory of each process, without mapped files such as the chain store.",
            queries=per_service("sum by (instance) (SERVICE_private_memory_bytes)", " {{instance}}"),
            unit="bytes",
        ),
        Panel(
            title="Is there room for the chain store?",
            description="What the chain store uses, and what is free on its disk. A full disk stops the sync.",
            queries=[
                Query("max(coordinator_store_bytes)", "used by the store"),
                Query("max(coordinator_store_free_disk_bytes)", "free on its disk"),
            ],
            unit="bytes",
        ),
        Panel(
            title="Do calls between the services fail?",
            description="Calls that the services answered, by service and gRPC code. OK is success; CANCELLED are"
            " streams that ended.",
            queries=per_service(rate("SERVICE_rpc_calls_total", "code"), " {{code}}"),
            unit="cps",
        ),
        Panel(
            title="How long do calls to the services take?",
            description="95 % of the calls are faster; streams do not count.",
            queries=per_service(quantile(0.95, "SERVICE_rpc_seconds")),
            unit="s",
        ),
        Panel(
            title="Which versions run?",
            description="Processes by service and trisync version. More than one version is normal only during an"
            " upgrade.",
            queries=per_service("count by (version) (SERVICE_build_info)", " {{version}}"),
            unit="short",
            kind="stat",
            width=24,
        ),
    ],
)

OVERVIEW: Final = Dashboard(
    key="overview",
    title="trisync: is the node well?",
    description="Start here. The other dashboards tell more about one part each.",
    rows=[WRONG, CHAIN, PEERS, NEWS, RESOURCES],
)
