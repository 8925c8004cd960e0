"""`trisync status|peers`: questions to a running coordinator."""

from __future__ import annotations

import json

from rich.table import Table

from services.shared.runtime.shown_times import describe_seconds
from trisync.cli import flags
from trisync.cli.failures import DONE
from trisync.cli.node import Node, asks_node
from trisync.cli.progress import PHASE_TEXTS
from trisync.cli.progress import peers as describe_peers
from trisync.cli.tables import show
from trisync.node_status import ChainHead, NodeStatus, Peer, SyncMode, SyncPhase


@asks_node
def status(
    node: Node,
    as_json: flags.Json = False,
) -> int:
    """Show where a running node stands."""
    found = node.ask(lambda client: client.status())
    if as_json:
        print(json.dumps(status_json(found)))
    else:
        show(status_table(found))
    return DONE


@asks_node
def peers(
    node: Node,
    as_json: flags.Json = False,
) -> int:
    """List the peers of a running node."""
    found = node.ask(lambda client: client.peers())
    if as_json:
        print(json.dumps({"peers": [peer_json(peer) for peer in found]}))
    else:
        show(peers_table(found) if found else "no peers")
    return DONE


def status_table(status: NodeStatus) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column()
    table.add_column(overflow="fold")
    rows = {
        "network": f"{status.network_id}, genesis 0x{status.genesis_hash.hex()}",
        "mode": f"{status.mode.value}, seals: {status.seal_check}",
        "phase": _phase_text(status),
        "header head": _head_text(status.header_head),
        "full block head": _head_text(status.full_block_head),
        **_fast_rows(status),
        "best peer's head": _peer_head_text(status),
        "peers": str(status.peer_count),
        "syncs": _syncs_text(status),
        "serves": "headers and bodies" if status.serves_bodies else "headers only",
        "up for": describe_seconds(status.uptime_s),
    }
    for name, text in rows.items():
        table.add_row(name, text)
    for gateway in status.gateways:
        table.add_row(gateway.gateway_id, f"{gateway.enode} ({describe_peers(gateway.peer_count)})")
    return table


def _fast_rows(status: NodeStatus) -> dict[str, str]:
    progress = status.progress
    rows = {"fast block head": _head_text(status.fast_block_head)} if status.mode is SyncMode.FAST else {}
    if progress.known_states:
        rows["state"] = f"{progress.pulled_states} of {progress.known_states} known entries"
    return rows


def _phase_text(status: NodeStatus) -> str:
    if status.phase is SyncPhase.IDLE:
        return "idle, at the best head" if status.at_best_peer_head else "idle"
    return f"{PHASE_TEXTS[status.phase]}, block {status.progress.current_block} of {status.progress.highest_block}"


def _syncs_text(status: NodeStatus) -> str:
    last = f", the last one: {status.last_sync_outcome}" if status.last_sync_outcome else ""
    return f"{status.syncs_done} done, {status.syncs_failed} failed{last}"


def _peer_head_text(status: NodeStatus) -> str:
    head = status.best_peer_head
    if head is None:
        return "no peer"
    if not _number_known(status, head):
        return f"0x{head.block_hash.hex()} (total difficulty {head.total_difficulty})"
    return _head_text(head)


def _number_known(status: NodeStatus, head: ChainHead) -> bool:
    """eth/63 peers tell the hash of their head, not its number; 0 is then no number."""
    return head.number > 0 or head.block_hash == status.genesis_hash


def _head_text(head: ChainHead) -> str:
    return f"{head.number} 0x{head.block_hash.hex()} (total difficulty {head.total_difficulty})"


def peers_table(found: list[Peer]) -> Table:
    table = Table(box=None, pad_edge=False)
    what = ("", "node id", "client", "address", "eth", "total difficulty", "headers/bodies", "up for", "gateway")
    for column in what:
        table.add_column(column, overflow="fold")
    for peer in found:
        marks = [word for word, is_so in (("static", peer.static), ("trusted", peer.trusted)) if is_so]
        table.add_row(
            "*" if peer.is_best else "",
            f"{peer.node_id.hex()[:16]}…",
            peer.client_name,
            " ".join([peer.remote_address, "in" if peer.inbound else "out", *marks]),
            str(peer.eth_version),
            str(peer.total_difficulty),
            f"{peer.headers_delivered}/{peer.bodies_delivered}",
            describe_seconds(peer.connected_s),
            peer.gateway_id,
        )
    return table


def status_json(status: NodeStatus) -> dict[str, object]:
    return {
        "network_id": status.network_id,
        "genesis_hash": f"0x{status.genesis_hash.hex()}",
        "mode": status.mode.value,
        "phase": status.phase.value,
        "header_head": _head_json(status.header_head),
        "full_block_head": _head_json(status.full_block_head),
        "fast_block_head": _head_json(status.fast_block_head),
        "best_peer_head": _peer_head_json(status),
        "at_best_peer_head": status.at_best_peer_head,
        "peers": status.peer_count,
        "current_block": status.progress.current_block,
        "highest_block": status.progress.highest_block,
        "pulled_states": status.progress.pulled_states,
        "known_states": status.progress.known_states,
        "syncs_done": status.syncs_done,
        "syncs_failed": status.syncs_failed,
        "last_sync_outcome": status.last_sync_outcome,
        "serves_bodies": status.serves_bodies,
        "seal_check": status.seal_check,
        "seconds": round(status.sync_seconds, 3),
        "blocks": status.blocks_synced,
        "bytes": status.bytes_synced,
        "uptime_seconds": status.uptime_s,
        "gateways": [
            {"gateway_id": one.gateway_id, "enode": one.enode, "peers": one.peer_count} for one in status.gateways
        ],
    }


def _peer_head_json(status: NodeStatus) -> dict[str, object] | None:
    head = status.best_peer_head
    if head is None:
        return None
    return _head_json(head) | ({} if _number_known(status, head) else {"number": None})


def _head_json(head: ChainHead) -> dict[str, object]:
    return {
        "number": head.number,
        "hash": f"0x{head.block_hash.hex()}",
        "total_difficulty": head.total_difficulty,
    }


def peer_json(peer: Peer) -> dict[str, object]:
    return {
        "node_id": peer.node_id.hex(),
        "client": peer.client_name,
        "address": peer.remote_address,
        "inbound": peer.inbound,
        "static": peer.static,
        "trusted": peer.trusted,
        "eth_version": peer.eth_version,
        "p2p_version": peer.p2p_version,
        "gateway_id": peer.gateway_id,
        "head_hash": f"0x{peer.head_hash.hex()}",
        "total_difficulty": peer.total_difficulty,
        "connected_seconds": peer.connected_s,
        "headers_delivered": peer.headers_delivered,
        "bodies_delivered": peer.bodies_delivered,
        "is_best": peer.is_best,
        "head_source": peer.head_source,
    }
