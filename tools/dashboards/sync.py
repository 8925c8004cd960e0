"""Sync: is one running, how fast, and who is slow, we or they?"""

from __future__ import annotations

from typing import Final

from tools.dashboards.description import (
    GOOD,
    HALF,
    WHOLE,
    Dashboard,
    Panel,
    Query,
    Row,
    quantile,
    rate,
)


def deeper_than(blocks: float) -> str:
    """How many reorgs of the time shown took more blocks off our chain; a bound of the histogram's."""
    depth = "coordinator_reorg_depth_blocks"
    return f'sum(increase({depth}_count[$__range])) - sum(increase({depth}_bucket{{le="{float(blocks)}"}}[$__range]))'


RUNNING: Final = Row(
    "Does a sync run, and how did the others end?",
    [
        Panel(
            title="What the sync did when",
            description="The phase of the running sync over time; idle where none ran.",
            queries=[Query("coordinator_sync_phase == 1", "{{coordinator_sync_phase}}")],
            unit="short",
            kind="state-timeline",
            width=WHOLE,
            states=[("1", "this phase", GOOD)],
        ),
        Panel(
            title="How did syncs end, in the time shown?",
            description="The six most frequent: done, or the fault that ended it. Faults of single peers are normal: "
            "the next sync follows another.",
            queries=[
                Query("topk(6, sum by (outcome) (increase(coordinator_syncs_total[$__range])))", "{{outcome}}"),
            ],
            unit="short",
            kind="bargauge",
        ),
        Panel(
            title="Why does a sync start, or not?",
            description="Each time one was considered, per minute. not_above_ours: no peer has a heavier chain, "
            "all is well.",
            queries=[
                Query(rate("coordinator_sync_verdicts_total", "verdict", per_minute=True), "{{verdict}}"),
                Query(rate("coordinator_forced_syncs_total", per_minute=True), "forced by the timer"),
            ],
            unit="cpm",
        ),
        Panel(
            title="How far is the sync?",
            description="The newest header, fast block (with receipts, not executed) and full block, and the "
            "block aimed at.",
            queries=[
                Query("max by (head) (coordinator_head_number)", "{{head}}"),
                Query("max(coordinator_highest_block)", "aimed at", dashed=True),
            ],
            unit="short",
        ),
    ],
)

SPEED: Final = Row(
    "How fast is it?",
    [
        Panel(
            title="What comes from peers",
            description="Headers, bodies, receipt lists and state entries received per second.",
            queries=[Query(rate("coordinator_items_total", "kind"), "{{kind}}")],
            unit="cps",
        ),
        Panel(
            title="What goes into the store",
            description="Headers, blocks and state entries that syncs committed per second.",
            queries=[Query(rate("coordinator_imported_total", "kind"), "{{kind}}")],
            unit="cps",
        ),
        Panel(
            title="State entries of a fast sync",
            description="Entries pulled, and all that are known so far; the state is whole when both meet.",
            queries=[Query("sum by (which) (coordinator_state_entries)", "{{which}}")],
            unit="short",
        ),
    ],
)

WHO: Final = Row(
    "Who is slow, we or they?",
    [
        Panel(
            title="What the sync spends its time on",
            description="Share of the time. prepare, handle: our event loop at work on requests and replies; "
            "wait_for_peer: peers are asked, and our import has nothing to do. Much of the last: slow peers.",
            queries=[Query(rate("coordinator_sync_seconds_total", "activity"), "{{activity}}")],
            unit="percentunit",
            stacked=True,
        ),
        Panel(
            title="How long do peers take to reply?",
            description="By kind of request; 95 % of replies are faster.",
            queries=[Query(quantile(0.95, "coordinator_request_seconds", "kind"), "{{kind}}")],
            unit="s",
        ),
        Panel(
            title="How much could all peers deliver?",
            description="The sum of what each peer was measured to deliver, in items per second. Batches are "
            "sized by it.",
            queries=[Query("sum by (kind) (coordinator_peer_capacity_items)", "{{kind}}")],
            unit="cps",
        ),
        Panel(
            title="Requests that peers owe an answer",
            description="Requests in flight, by kind.",
            queries=[Query("sum by (kind) (coordinator_requests_in_flight)", "{{kind}}")],
            unit="short",
        ),
        Panel(
            title="Requests that were not answered in time",
            description="Per minute, by kind. A peer that is too slow for the smallest request is dropped.",
            queries=[Query(rate("coordinator_request_timeouts_total", "kind", per_minute=True), "{{kind}}")],
            unit="cpm",
        ),
        Panel(
            title="Who had asked for the replies?",
            description="stale: nobody any more, the reply came too late.",
            queries=[Query(rate("coordinator_replies_total", "asker"), "{{asker}}")],
            unit="cps",
        ),
    ],
)

IMPORT: Final = Row(
    "Is the import the bottleneck?",
    [
        Panel(
            title="How long does a batch take from hand to disk?",
            description="Rules, seals and commit of one batch, by kind; 95 % are faster.",
            queries=[Query(quantile(0.95, "coordinator_import_seconds", "kind"), "{{kind}}")],
            unit="s",
        ),
        Panel(
            title="How long does a commit take?",
            description="Until the disk has it; 95 % are faster. A slow disk shows here.",
            queries=[
                Query(quantile(0.5, "coordinator_store_commit_seconds"), "half are faster"),
                Query(quantile(0.95, "coordinator_store_commit_seconds"), "95 % are faster"),
            ],
            unit="s",
        ),
        Panel(
            title="How large is the chain store?",
            description="Used, the size of the file's mapping (it doubles by itself when it is full), and what is"
            " free on the disk.",
            queries=[
                Query("max(coordinator_store_bytes)", "used"),
                Query("max(coordinator_store_limit_bytes)", "mapped", dashed=True),
                Query("max(coordinator_store_free_disk_bytes)", "free on its disk"),
            ],
            unit="bytes",
        ),
    ],
)

REORGS: Final = Row(
    "Is the chain stable?",
    [
        Panel(
            title="Reorgs in the time shown, and how deep they were",
            description="Times our head left its chain, and how many of these took more than 3 or 12 blocks off it. "
            "A shallow one now and then is normal.",
            queries=[
                Query("sum(increase(coordinator_reorgs_total[$__range]))", "all"),
                Query(deeper_than(3), "more than 3 blocks deep"),
                Query(deeper_than(12), "more than 12 blocks deep"),
            ],
            unit="short",
            kind="bargauge",
            width=HALF,
        ),
        Panel(
            title="How far is the best peer ahead in total difficulty?",
            description="Total difficulty is the sum over a chain's blocks; the heaviest chain wins. 0: no peer "
            "has a heavier one.",
            queries=[Query("max(coordinator_best_peer_total_difficulty_lead)", "best peer minus ours")],
            unit="short",
            width=HALF,
        ),
    ],
)

SYNC: Final = Dashboard(
    key="sync",
    title="trisync: sync",
    description="Does a sync run, how fast, what holds it up, and is the chain stable?",
    rows=[RUNNING, SPEED, WHO, IMPORT, REORGS],
)
