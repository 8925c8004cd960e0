"""What the operator API tells, as values."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from blocksync.v1 import common_pb2, coordinator_pb2


class SyncMode(enum.Enum):
    UNKNOWN = "unknown"
    FULL = "full"
    FAST = "fast"
    LIGHT = "light"


class SyncPhase(enum.Enum):
    UNKNOWN = "unknown"
    IDLE = "idle"
    HEIGHT = "height"
    ANCESTOR = "ancestor"
    DOWNLOAD = "download"


class SyncAnswer(enum.Enum):
    """What came of a StartSync call at once."""

    UNKNOWN = "unknown"
    STARTED = "started"
    BUSY = "busy"
    NO_PEERS = "no peers"
    NOT_ABOVE_OURS = "not above ours"


@dataclass(frozen=True, slots=True)
class ChainHead:
    """A block, with the total difficulty of the chain that ends in it."""

    block_hash: bytes
    number: int
    total_difficulty: int


@dataclass(frozen=True, slots=True)
class SyncProgress:
    """Of the running sync; of the last one when none runs."""

    starting_block: int
    current_block: int
    highest_block: int
    headers_fetched: int
    bodies_fetched: int
    master_node_id: bytes
    receipts_fetched: int = 0
    pulled_states: int = 0
    """State entries that came (fast mode)."""
    known_states: int = 0
    """Those, and the ones known to be missing."""


@dataclass(frozen=True, slots=True)
class Gateway:
    gateway_id: str
    enode: str
    peer_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """Where the node stands. `best_peer_head` is None without a peer."""

    network_id: int
    genesis_hash: bytes
    mode: SyncMode
    phase: SyncPhase
    header_head: ChainHead
    full_block_head: ChainHead
    fast_block_head: ChainHead
    """The newest block with its receipts: ahead of the full-block head during a fast sync."""
    best_peer_head: ChainHead | None
    at_best_peer_head: bool
    peer_count: int
    progress: SyncProgress
    syncs_done: int
    syncs_failed: int
    last_sync_outcome: str
    gateways: tuple[Gateway, ...]
    serves_bodies: bool
    seal_check: str
    sync_seconds: float
    blocks_synced: int
    bytes_synced: int
    uptime_s: int

    @property
    def head(self) -> ChainHead:
        """The head that a sync in this mode moves."""
        return self.fast_block_head if self.mode is SyncMode.FAST else self.whole_head

    @property
    def whole_head(self) -> ChainHead:
        """The newest block with all that the mode fetches; a fast sync's blocks count once their state is here."""
        return self.header_head if self.mode is SyncMode.LIGHT else self.full_block_head


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A peer, with the head we hold for it now."""

    node_id: bytes
    client_name: str
    remote_address: str
    inbound: bool
    static: bool
    trusted: bool
    eth_version: int
    p2p_version: int
    gateway_id: str
    head_hash: bytes
    total_difficulty: int
    connected_s: int
    headers_delivered: int
    bodies_delivered: int
    is_best: bool
    head_source: str
    """How its head is known: "status" or "block"."""


@dataclass(frozen=True, slots=True)
class AddedPeer:
    """`gateway_id` names the gateway that keeps the node connected; empty while none is attached."""

    gateway_id: str
    connected: bool


@dataclass(frozen=True, slots=True)
class RemovedPeer:
    was_static: bool
    was_connected: bool


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """`body_rlp` is empty where only the header is stored."""

    head: ChainHead
    header_rlp: bytes
    body_rlp: bytes
    canonical: bool


@dataclass(frozen=True, slots=True)
class StoredHeader:
    head: ChainHead
    header_rlp: bytes
    canonical: bool


@dataclass(frozen=True, slots=True)
class StoredReceipts:
    """`receipts_rlp` is None where the block's receipts are not stored."""

    head: ChainHead
    receipts_rlp: bytes | None
    canonical: bool


_MODES: Final[Mapping[int, SyncMode]] = {
    coordinator_pb2.SYNC_MODE_FULL: SyncMode.FULL,
    coordinator_pb2.SYNC_MODE_FAST: SyncMode.FAST,
    coordinator_pb2.SYNC_MODE_LIGHT: SyncMode.LIGHT,
}

_PHASES: Final[Mapping[int, SyncPhase]] = {
    coordinator_pb2.SYNC_PHASE_IDLE: SyncPhase.IDLE,
    coordinator_pb2.SYNC_PHASE_HEIGHT: SyncPhase.HEIGHT,
    coordinator_pb2.SYNC_PHASE_ANCESTOR: SyncPhase.ANCESTOR,
    coordinator_pb2.SYNC_PHASE_DOWNLOAD: SyncPhase.DOWNLOAD,
}

_HEAD_SOURCES: Final[Mapping[int, str]] = {
    coordinator_pb2.HEAD_SOURCE_STATUS: "status",
    coordinator_pb2.HEAD_SOURCE_BLOCK: "block",
}

_ANSWERS: Final[Mapping[int, SyncAnswer]] = {
    coordinator_pb2.START_SYNC_RESULT_STARTED: SyncAnswer.STARTED,
    coordinator_pb2.START_SYNC_RESULT_BUSY: SyncAnswer.BUSY,
    coordinator_pb2.START_SYNC_RESULT_NO_PEERS: SyncAnswer.NO_PEERS,
    coordinator_pb2.START_SYNC_RESULT_NOT_ABOVE_OURS: SyncAnswer.NOT_ABOVE_OURS,
}


def phase_from_proto(phase: int) -> SyncPhase:
    return _PHASES.get(phase, SyncPhase.UNKNOWN)


def status_from_proto(status: coordinator_pb2.NodeStatus) -> NodeStatus:
    progress = status.progress
    return NodeStatus(
        network_id=status.network_id,
        genesis_hash=status.genesis_hash,
        mode=_MODES.get(status.mode, SyncMode.UNKNOWN),
        phase=phase_from_proto(status.phase),
        header_head=head_from_proto(status.header_head),
        full_block_head=head_from_proto(status.full_block_head),
        fast_block_head=head_from_proto(status.fast_block_head),
        best_peer_head=head_from_proto(status.best_peer_head) if status.HasField("best_peer_head") else None,
        at_best_peer_head=status.at_best_peer_head,
        peer_count=status.peer_count,
        progress=SyncProgress(
            progress.starting_block,
            progress.current_block,
            progress.highest_block,
            progress.headers_fetched,
            progress.bodies_fetched,
            progress.master_node_id,
            progress.receipts_fetched,
            progress.pulled_states,
            progress.known_states,
        ),
        syncs_done=status.syncs_done,
        syncs_failed=status.syncs_failed,
        last_sync_outcome=status.last_sync_outcome,
        gateways=tuple(Gateway(one.gateway_id, one.enode, one.peer_count) for one in status.gateways),
        serves_bodies=status.serves_bodies,
        seal_check=status.seal_check,
        sync_seconds=status.sync_seconds,
        blocks_synced=status.blocks_synced,
        bytes_synced=status.bytes_synced,
        uptime_s=status.uptime_seconds,
    )


def head_from_proto(head: common_pb2.ChainHead) -> ChainHead:
    return ChainHead(head.block_hash, head.number, int.from_bytes(head.total_difficulty))


def answer_from_proto(result: int) -> SyncAnswer:
    return _ANSWERS.get(result, SyncAnswer.UNKNOWN)


def head_source_from_proto(source: int) -> str:
    """How a peer's head is known: by its Status, or raised by a block it propagated."""
    return _HEAD_SOURCES.get(source, "unknown")


def peer_from_proto(entry: coordinator_pb2.PeerEntry) -> Peer:
    details = entry.details
    return Peer(
        node_id=details.node_id,
        client_name=details.client_name,
        remote_address=details.remote_address,
        inbound=details.inbound,
        static=details.static,
        trusted=details.trusted,
        eth_version=details.eth_version,
        p2p_version=details.p2p_version,
        gateway_id=entry.gateway_id,
        head_hash=entry.head_hash,
        total_difficulty=int.from_bytes(entry.total_difficulty),
        connected_s=entry.connected_seconds,
        headers_delivered=entry.headers_delivered,
        bodies_delivered=entry.bodies_delivered,
        is_best=entry.is_best,
        head_source=head_source_from_proto(entry.head_source),
    )
