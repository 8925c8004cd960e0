from __future__ import annotations

from dataclasses import replace
from typing import Any

from blocksync.v1 import coordinator_pb2
from rich.console import Console

from trisync.cli.sync_commands import (
    best_json,
    best_sentences,
    choices_table,
    explanation_json,
    history_table,
    sync_sentences,
)
from trisync.node_status import SyncPhase
from trisync.sync_explained import (
    BestPeer,
    PeerChoice,
    RunningSync,
    SyncEnd,
    SyncExplanation,
    SyncRecord,
    best_peer_from_proto,
    explanation_from_proto,
)

ALICE, BOB = b"\xa1" * 64, b"\xb0" * 64

CHOICE = PeerChoice(
    node_id=ALICE,
    client_name="Geth/[red]",
    gateway_id="gateway-0",
    static=False,
    trusted=False,
    head_hash=b"\x12" * 32,
    total_difficulty=17,
    head_source="block",
    verdict="heaviest",
    explanation="it has the most total difficulty, 9 above ours",
    is_master=True,
    challenge_open=True,
    lacking=3,
    connected=True,
)
DROPPED = replace(
    CHOICE, node_id=BOB, verdict="banned", is_master=False, challenge_open=False, lacking=0, connected=False
)
BEST = BestPeer(
    best=CHOICE,
    candidates=(CHOICE,),
    dropped=(DROPPED,),
    candidate_count=4,
    our_total_difficulty=8,
    explanation="it is the one",
)
FAILED = SyncRecord(
    seconds_ago=70.0,
    first_seconds_ago=70.0,
    times=1,
    cause="new_block",
    verdict="start",
    explanation="a peer propagated a block",
    candidate_node_id=BOB,
    candidate_total_difficulty=20,
    our_total_difficulty=8,
    end=SyncEnd(seconds_ago=65.0, fault="stalling_peer", detail="it promised 20", blocks=12, duration_s=5.0),
)
IDLE = SyncExplanation(
    verdict="too_few_peers",
    explanation="1 peer is connected, 5 are waited for",
    best=CHOICE,
    candidate_count=1,
    min_peers=5,
    our_total_difficulty=8,
    running=None,
    forced_in_s=7.25,
    force_cycle_s=10.0,
    last=FAILED,
    history=(replace(FAILED, verdict="too_few_peers", end=None, times=3, candidate_node_id=None), FAILED),
)
RUNNING = RunningSync(
    phase=SyncPhase.DOWNLOAD,
    master_node_id=ALICE,
    cause="forced",
    seconds_ago=3.0,
    current_block=5,
    highest_block=9,
    throttled=True,
    results_waiting=4,
    waiting_bytes=1000,
)


def text_of(renderable: object) -> str:
    console = Console(width=300)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_table_of_peers_tells_verdicts_with_what_else_there_is_to_know():
    header, best, dropped = text_of(choices_table(BEST)).splitlines()
    assert "verdict" in header
    for part in (
        *("*", "a1a1a1a1a1a1a1a1…", "Geth/[red]", "17", "0x12121212…", "block", "heaviest", "9 above ours"),
        *("the running sync follows it", "its challenge is not answered yet", "it lacks 3 parts of the running sync"),
    ):
        assert part in best
    assert "banned" in dropped
    assert "*" not in dropped


def test_sentences_tell_the_best_peer_and_how_many_are_not_listed():
    assert best_sentences(BEST) == [
        "best peer: it is the one",
        "our total difficulty: 8",
        "3 lighter peers are not listed",
    ]
    assert len(best_sentences(replace(BEST, candidate_count=1))) == 2


def test_sentences_tell_why_no_sync_runs_when_the_next_is_due_and_how_the_last_ended():
    assert sync_sentences(IDLE) == [
        "too few peers: 1 peer is connected, 5 are waited for",
        "next forced sync: in 7.2 s",
        (
            "last sync: failed, stalling peer (it promised 20), 12 blocks in 5.0 s, with b0b0b0b0b0b0b0b0…, "
            "because of new block, 1 min 05 s ago"
        ),
    ]


def test_last_sync_is_told_also_where_there_is_none_or_it_succeeded():
    assert sync_sentences(replace(IDLE, last=None))[-1] == "last sync: none has ended yet"
    done = replace(FAILED, end=SyncEnd(seconds_ago=1.0, fault=None, detail="", blocks=7, duration_s=2.0))
    told = sync_sentences(replace(IDLE, last=done))[-1]
    assert told == "last sync: done, 7 blocks in 2.0 s, with b0b0b0b0b0b0b0b0…, because of new block, 1 s ago"


def test_next_forced_sync_is_not_told_while_one_runs():
    sentences = sync_sentences(replace(IDLE, verdict="busy", running=RUNNING))
    assert not any("forced" in sentence for sentence in sentences)


def test_table_of_decisions_tells_repeats_and_ends():
    _, repeated, failed = text_of(history_table(IDLE)).splitlines()
    for part in ("1 min 10 s ago", "3", "new block", "too few peers"):
        assert part in repeated
    for part in ("start", "b0b0b0b0b0b0b0b0…", "failed, stalling peer (it promised 20), 12 blocks in 5.0 s"):
        assert part in failed


def test_json_has_all_that_is_told():
    found: Any = best_json(BEST)
    assert found["candidate_count"] == 4
    assert found["best"]["head_source"] == "block"
    assert [one["verdict"] for one in found["dropped"]] == ["banned"]
    explained: Any = explanation_json(replace(IDLE, running=RUNNING))
    assert explained["running"]["phase"] == "download"
    assert explained["running"]["throttled"]
    assert explained["last"]["end"]["fault"] == "stalling_peer"
    assert [one["candidate_node_id"] for one in explained["history"]] == [None, BOB.hex()]


def test_what_a_newer_coordinator_says_stays_a_number():
    answer = coordinator_pb2.ExplainSyncResponse()
    answer.MergeFromString(bytes([1 << 3, 99]))
    assert explanation_from_proto(answer).verdict == "99"


def test_empty_answers_are_read():
    assert best_peer_from_proto(coordinator_pb2.BestPeerResponse()).best is None
    explained = explanation_from_proto(coordinator_pb2.ExplainSyncResponse())
    assert (explained.best, explained.running, explained.last, explained.history) == (None, None, None, ())
