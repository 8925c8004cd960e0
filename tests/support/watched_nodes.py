"""Peers, blocks and decisions of a node that is watched."""

from __future__ import annotations

from dataclasses import replace

from trisync.blocks import BlockSource, Propagation
from trisync.node_status import Peer
from trisync.sync_explained import SyncEnd, SyncExplanation, SyncRecord

NO_PEERS_SYNC = SyncExplanation(
    verdict="no_peers",
    explanation="there is nobody to follow",
    best=None,
    candidate_count=0,
    min_peers=5,
    our_total_difficulty=17,
    running=None,
    forced_in_s=3.5,
    force_cycle_s=10.0,
    last=None,
    history=(),
)

FAILED_SYNC = replace(
    NO_PEERS_SYNC,
    last=SyncRecord(
        seconds_ago=5.0,
        first_seconds_ago=5.0,
        times=1,
        cause="forced",
        verdict="start",
        explanation="",
        candidate_node_id=b"\x07" * 64,
        candidate_total_difficulty=99,
        our_total_difficulty=17,
        end=SyncEnd(seconds_ago=4.0, fault="protocol_too_old", detail="no peer has receipts", blocks=0, duration_s=1.0),
    ),
)


def peer(number: int, *, client_name: str = "Geth/v1.9.25/linux", total_difficulty: int = 1000) -> Peer:
    return Peer(
        node_id=number.to_bytes(64),
        client_name=client_name,
        remote_address=f"203.0.113.{number}:30303",
        inbound=number % 2 == 1,
        static=False,
        trusted=False,
        eth_version=63,
        p2p_version=5,
        gateway_id="gateway-0",
        head_hash=number.to_bytes(32),
        total_difficulty=total_difficulty,
        connected_s=number * 1000,
        headers_delivered=10**number,
        bodies_delivered=0,
        is_best=number == 1,
        head_source="status",
    )


def relayed(number: int) -> Propagation:
    return Propagation(
        block_hash=number.to_bytes(8, "little") * 4,
        number=number,
        source=BlockSource.PEER,
        first_seen_us=1_500_000,
        first_seen_from=b"A" * 64,
        first_seen_whole=True,
        whole_arrivals=2,
        hash_arrivals=1,
        duplicates=2,
        header_valid_us=1_502_500,
        imported_us=1_510_000,
        propagated_us=1_503_000,
        propagated_to=4,
        lacked_by=9,
        announced_us=1_511_000,
        announced_to=5,
        refused_by=0,
    )
