"""Statuses of a node, as the operator API tells them."""

from __future__ import annotations

from dataclasses import replace

from trisync.node_status import ChainHead, Gateway, NodeStatus, SyncMode, SyncPhase, SyncProgress

IDLE = NodeStatus(
    network_id=1337,
    genesis_hash=b"\x01" * 32,
    mode=SyncMode.FULL,
    phase=SyncPhase.IDLE,
    header_head=ChainHead(b"\x02" * 32, 0, 17),
    full_block_head=ChainHead(b"\x02" * 32, 0, 17),
    fast_block_head=ChainHead(b"\x02" * 32, 0, 17),
    best_peer_head=None,
    at_best_peer_head=False,
    peer_count=0,
    progress=SyncProgress(0, 0, 0, 0, 0, b""),
    syncs_done=0,
    syncs_failed=0,
    last_sync_outcome="",
    gateways=(Gateway("gateway-0", "enode://ab@127.0.0.1:30303", 0),),
    serves_bodies=True,
    seal_check="none",
    sync_seconds=0.0,
    blocks_synced=0,
    bytes_synced=0,
    uptime_s=3,
)


def downloading(block: int, *, of: int) -> NodeStatus:
    head = ChainHead(block.to_bytes(32), block, 17 + block)
    return replace(
        IDLE,
        phase=SyncPhase.DOWNLOAD,
        header_head=head,
        full_block_head=head,
        fast_block_head=head,
        best_peer_head=ChainHead(of.to_bytes(32), of, 17 + of),
        peer_count=1,
        progress=SyncProgress(0, block, of, of, block, b"\x03" * 64),
    )


def at_head(block: int, *, syncs_done: int) -> NodeStatus:
    return replace(
        downloading(block, of=block),
        phase=SyncPhase.IDLE,
        at_best_peer_head=True,
        syncs_done=syncs_done,
        sync_seconds=2.0,
        blocks_synced=block,
        bytes_synced=block * 500,
    )
