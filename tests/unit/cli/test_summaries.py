from __future__ import annotations

from dataclasses import replace

from blocksync.v1 import common_pb2, coordinator_pb2
from rich.console import Console

from tests.support.node_statuses import IDLE, at_head, downloading
from trisync.cli.demo import last_line
from trisync.cli.operator_commands import peer_json, peers_table, status_json, status_table
from trisync.cli.tables import show
from trisync.cli.up import summary_json, summary_line
from trisync.node_status import ChainHead, NodeStatus, SyncMode, peer_from_proto, status_from_proto

HEAD_HASH = "0x" + (8191).to_bytes(32).hex()


def text_of(renderable: object) -> str:
    console = Console(width=300)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_json_summary_has_what_scripts_need():
    assert summary_json(at_head(8191, syncs_done=1)) == {
        "head_number": 8191,
        "head_hash": HEAD_HASH,
        "total_difficulty": 8208,
        "mode": "full",
        "blocks": 8191,
        "bytes": 4095500,
        "seconds": 2.0,
        "peers": 1,
    }


def test_summary_in_light_mode_is_about_the_header_head():
    status = replace(at_head(8191, syncs_done=1), mode=SyncMode.LIGHT, full_block_head=ChainHead(bytes(32), 0, 17))
    assert summary_json(status)["head_number"] == 8191
    assert "light mode" in summary_line(status)


def test_summary_line_has_number_hash_and_rate():
    line = summary_line(at_head(8191, syncs_done=1))
    assert line == f"at block 8191 {HEAD_HASH}: 8191 blocks in 2.0 s (4096 blocks/s), full mode"


def test_summary_of_a_node_that_needed_no_sync_has_no_rate():
    assert "0 blocks in 0.0 s (0 blocks/s)" in summary_line(IDLE)


def test_last_line_of_the_demo_says_block_hash_time_and_rate():
    head = ChainHead(bytes.fromhex("a6860fef") + bytes(28), 8191, 1)
    line = last_line(replace(at_head(8191, syncs_done=1), full_block_head=head, sync_seconds=10.0))
    assert line == "synced to block 8191 0xa6860fef… in 10.0 s (819 blocks/s), verified"


def test_lines_end_with_their_last_letter_where_they_are_piped(capsys):
    show(status_table(downloading(100, of=200)), "", "done")
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line != line.rstrip()] == []
    assert lines[0].startswith("network")
    assert lines[-2:] == ["", "done"]


def test_status_table_tells_heads_phase_and_gateways():
    shown = text_of(status_table(downloading(100, of=200)))
    for part in ("downloading, block 100 of 200", "gateway-0", "enode://", "headers and bodies"):
        assert part in shown
    assert "no peer" in text_of(status_table(IDLE))


def test_status_json_has_no_best_peer_head_without_a_peer():
    assert status_json(IDLE)["best_peer_head"] is None
    assert status_json(downloading(1, of=2))["best_peer_head"] == {
        "number": 2,
        "hash": "0x" + (2).to_bytes(32).hex(),
        "total_difficulty": 19,
    }


def test_status_is_read_from_the_contract():
    head = common_pb2.ChainHead(block_hash=b"\x05" * 32, number=5, total_difficulty=b"\x01\x00")
    message = coordinator_pb2.NodeStatus(
        mode=coordinator_pb2.SYNC_MODE_LIGHT,
        phase=coordinator_pb2.SYNC_PHASE_ANCESTOR,
        header_head=head,
        gateways=[coordinator_pb2.GatewayStatus(gateway_id="g", enode="enode://x", peer_count=2)],
        sync_seconds=1.5,
    )
    status: NodeStatus = status_from_proto(message)
    assert status.head == ChainHead(b"\x05" * 32, 5, 256)
    assert (status.mode.value, status.phase.value, status.best_peer_head) == ("light", "ancestor", None)
    assert status.gateways[0].peer_count == 2


def test_peer_table_and_json_mark_the_best_peer():
    entry = coordinator_pb2.PeerEntry(
        details=common_pb2.PeerDetails(node_id=b"\xab" * 64, client_name="Geth/v1.9.25", static=True, eth_version=63),
        gateway_id="gateway-0",
        total_difficulty=b"\x11",
        is_best=True,
    )
    peer = peer_from_proto(entry)
    assert peer_json(peer)["total_difficulty"] == 17
    shown = text_of(peers_table([peer]))
    for part in ("*", "abababab", "Geth/v1.9.25", "out static", "63", "gateway-0"):
        assert part in shown
