"""How `trisync disconnects` shows what the coordinator tells."""

from __future__ import annotations

import json

import pytest
from blocksync.v1 import common_pb2, coordinator_pb2
from rich.console import Console

from trisync.cli import main
from trisync.cli.disconnects import disconnects_table, list_json, summary
from trisync.disconnects import OFFENCES, DisconnectList, Side, list_from_proto, offence_number

ANSWER = coordinator_pb2.ListDisconnectsResponse(
    disconnects=[
        coordinator_pb2.DisconnectEntry(
            gateway_id="gateway-0",
            disconnect=common_pb2.Disconnect(
                node_id=b"\x3a" * 64,
                client_name="mallory [red]/v1",
                remote_address="127.0.0.1:4000",
                inbound=True,
                trusted=True,
                stage=common_pb2.CONNECTION_STAGE_JOINED,
                reason=common_pb2.DISCONNECT_REASON_USELESS_PEER,
                by_us=True,
                offence=common_pb2.OFFENCE_INVALID_CHAIN,
                explanation="invalid chain: block [600]",
                eth_version=63,
                connected_seconds=75.5,
                ban_seconds=3600,
                unix_time_ms=1_700_000_000_500,
            ),
        ),
        coordinator_pb2.DisconnectEntry(
            gateway_id="gateway-1",
            disconnect=common_pb2.Disconnect(
                node_id=b"\xa1" * 64,
                stage=common_pb2.CONNECTION_STAGE_TRANSPORT,
                offence=common_pb2.OFFENCE_CONNECTION_LOST,
            ),
        ),
    ],
    counts=[
        coordinator_pb2.DisconnectCount(
            side=coordinator_pb2.DISCONNECT_SIDE_THEM, offence=common_pb2.OFFENCE_CONNECTION_LOST, count=7
        ),
        coordinator_pb2.DisconnectCount(
            side=coordinator_pb2.DISCONNECT_SIDE_US, offence=common_pb2.OFFENCE_INVALID_CHAIN, count=1
        ),
    ],
    banned=1,
)


def text_of(renderable: object) -> str:
    console = Console(width=300)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_the_table_tells_who_by_whom_and_why_and_takes_no_markup_from_peers():
    head, mallory, alice = text_of(disconnects_table(list_from_proto(ANSWER))).rstrip().splitlines()
    assert head.split() == ["when", "node", "id", "client", "address", "stage", "by", "reason", "offence", "ban", "why"]
    for part in (
        *("3a3a3a3a3a3a3a3a…", "mallory [red]/v1", "127.0.0.1:4000 in trusted", "joined 1 min 15 s", " us "),
        *("useless peer", "invalid chain", "1 h 00 min", "invalid chain: block [600]"),
    ):
        assert part in mallory
    for part in ("a1a1a1a1a1a1a1a1…", "transport", " them ", " none ", "connection lost"):
        assert part in alice


def test_the_summary_counts_what_ended():
    shown = summary(list_from_proto(ANSWER))
    assert shown == "since the start: connection lost 7 (them), invalid chain 1 (us); banned now: 1"
    assert summary(DisconnectList((), (), 0)) == "since the start: none; banned now: 0"


def test_the_json_has_every_field():
    found = list_json(list_from_proto(ANSWER))
    assert json.loads(json.dumps(found)) == {
        "disconnects": [
            {
                "unix_time": 1_700_000_000.5,
                "node_id": "3a" * 64,
                "gateway_id": "gateway-0",
                "client": "mallory [red]/v1",
                "address": "127.0.0.1:4000",
                "inbound": True,
                "static": False,
                "trusted": True,
                "stage": "joined",
                "side": "us",
                "reason": "useless_peer",
                "offence": "invalid_chain",
                "explanation": "invalid chain: block [600]",
                "eth_version": 63,
                "connected_seconds": 75.5,
                "ban_seconds": 3600,
            },
            {
                "unix_time": 0,
                "node_id": "a1" * 64,
                "gateway_id": "gateway-1",
                "client": "",
                "address": "",
                "inbound": False,
                "static": False,
                "trusted": False,
                "stage": "transport",
                "side": "them",
                "reason": None,
                "offence": "connection_lost",
                "explanation": "",
                "eth_version": 0,
                "connected_seconds": 0,
                "ban_seconds": 0,
            },
        ],
        "counts": [
            {"side": "them", "offence": "connection_lost", "count": 7},
            {"side": "us", "offence": "invalid_chain", "count": 1},
        ],
        "banned": 1,
    }


def test_numbers_of_a_newer_coordinator_stay_numbers():
    newer = coordinator_pb2.ListDisconnectsResponse()
    newer.MergeFromString(ANSWER.SerializeToString())
    told = newer.disconnects[0].disconnect
    told.offence = common_pb2.Offence.ValueType(99)
    told.reason = common_pb2.DisconnectReason.ValueType(15)
    first = list_from_proto(newer).disconnects[0]
    assert (first.offence, first.reason) == ("99", "15")


def test_every_offence_has_its_name_and_no_other_is_one():
    assert [offence_number(name) for name in OFFENCES] == [number for _, number in common_pb2.Offence.items() if number]
    for name in ("unspecified", "rudeness", "INVALID_CHAIN"):
        with pytest.raises(ValueError, match="is not an offence"):
            offence_number(name)


def test_sides_are_told_apart():
    assert [one.side for one in list_from_proto(ANSWER).disconnects] == [Side.US, Side.THEM]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--offence", "rudeness"], "--offence rudeness is none of"),
        (["--node", "ab"], "--node ab is not a node id of 128 hex digits"),
        (["--node", "zz" * 64], "is not a node id"),
        (["--side", "nobody"], "--side"),
        (["--limit", "-1"], "--limit"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(flags: list[str], told: str, capsys: pytest.CaptureFixture[str]):
    assert main(["disconnects", *flags]) == 2
    shown = capsys.readouterr()
    assert told in shown.err
    assert shown.err.count("\n") == 1
