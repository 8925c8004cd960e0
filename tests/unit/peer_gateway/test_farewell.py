from __future__ import annotations

from typing import Any

import pytest
from blocksync.v1 import common_pb2
from hypothesis import given
from hypothesis import strategies as st

from services.peer_gateway.core.events import Disconnected
from services.peer_gateway.core.shown_text import shown
from services.peer_gateway.edges.farewell import SHOWN_WHY_CHARACTERS, Farewell
from services.shared.ethwire.connection_stage import Stage
from services.shared.ethwire.disconnect_reason import DisconnectReason
from services.shared.ethwire.offences import Offence
from tests.support.peers import MALLORY

SENT_AWAY = Disconnected(DisconnectReason.SUBPROTOCOL_ERROR, True, "another genesis", Offence.GENESIS_MISMATCH)
LEFT = Disconnected(DisconnectReason.USELESS_PEER, False, "the peer left", Offence.LEFT)


def report_of(end: Disconnected, *, key_shown: bool = True, **facts: Any) -> common_pb2.Disconnect:
    farewell = Farewell(10.0, inbound=False)
    farewell.has_shown_its_key = key_shown
    farewell.disconnect.MergeFrom(common_pb2.Disconnect(node_id=MALLORY, **facts))
    return farewell.finish(end, Stage.STATUS, "mallory/v1", 12.5)


def test_the_report_says_who_how_far_by_whom_and_why():
    report = report_of(SENT_AWAY)
    assert (report.node_id, report.client_name, report.inbound) == (MALLORY, "mallory/v1", False)
    assert report.stage == common_pb2.CONNECTION_STAGE_STATUS
    assert (report.reason, report.by_us) == (common_pb2.DISCONNECT_REASON_SUBPROTOCOL_ERROR, True)
    assert (report.offence, report.explanation) == (common_pb2.OFFENCE_GENESIS_MISMATCH, "another genesis")
    assert (report.connected_seconds, report.ban_seconds) == (2.5, 3600)


def test_the_reason_is_unspecified_when_nothing_was_said():
    lost = Disconnected(None, False, "the connection ended", Offence.CONNECTION_LOST)
    assert report_of(lost).reason == common_pb2.DISCONNECT_REASON_UNSPECIFIED


@pytest.mark.parametrize("word", ["static", "trusted"])
def test_a_node_that_the_operator_wants_is_not_banned(word):
    assert report_of(SENT_AWAY, **{word: True}).ban_seconds == 0


def test_a_node_id_is_not_banned_when_its_key_was_not_shown():
    assert report_of(SENT_AWAY, key_shown=False).ban_seconds == 0


def test_a_peer_that_leaves_is_not_banned():
    assert report_of(LEFT).ban_seconds == 0


@given(st.text())
def test_what_a_peer_wrote_cannot_steer_a_terminal(text):
    safe = shown(text, SHOWN_WHY_CHARACTERS)
    assert safe.isprintable()
    assert len(safe) <= SHOWN_WHY_CHARACTERS


def test_a_long_name_with_escapes_is_cut_and_defused():
    assert shown("\x1b[31mred\n" + "x" * 100, 12) == "?[31mred?xxx"
