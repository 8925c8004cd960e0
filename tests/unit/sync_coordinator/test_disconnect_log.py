from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.ethwire.connection_stage import Stage
from services.shared.ethwire.disconnect_reason import DisconnectReason
from services.shared.ethwire.offences import Offence
from services.sync_coordinator.core.disconnect_log import (
    DISCONNECTS_KEPT,
    DisconnectFilter,
    DisconnectLog,
    EndedConnection,
)
from tests.support.peers import ALICE, BOB, MALLORY

ALL = DisconnectFilter()


def ended(**facts: Any) -> EndedConnection:
    usual = {
        "node_id": ALICE,
        "gateway_id": "gateway-0",
        "stage": Stage.JOINED,
        "reason": DisconnectReason.USELESS_PEER,
        "by_us": True,
        "offence": Offence.SYNC_TIMEOUT,
    }
    return EndedConnection(**{**usual, **facts})


def test_the_newest_comes_first():
    log = DisconnectLog()
    for number in range(5):
        log.add(ended(unix_time_ms=number))
    assert [one.unix_time_ms for one in log.newest(ALL)] == [4, 3, 2, 1, 0]
    assert [one.unix_time_ms for one in log.newest(ALL, 2)] == [4, 3]


def test_the_thousand_and_first_pushes_the_oldest_out_and_is_counted_all_the_same():
    log = DisconnectLog()
    for number in range(DISCONNECTS_KEPT + 1):
        log.add(ended(unix_time_ms=number))
    kept = [one.unix_time_ms for one in log.newest(ALL)]
    assert (len(kept), kept[0], kept[-1]) == (1000, 1000, 1)
    assert log.counts == {(Offence.SYNC_TIMEOUT, True): 1001}


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (ALL, ["late", "lost", "refused", "slow"]),
        (DisconnectFilter(node_id=BOB), ["lost", "refused"]),
        (DisconnectFilter(by_us=True), ["late", "refused", "slow"]),
        (DisconnectFilter(by_us=False), ["lost"]),
        (DisconnectFilter(offence=Offence.TOO_MANY_PEERS), ["refused"]),
        (DisconnectFilter(node_id=ALICE, by_us=True, offence=Offence.SYNC_TIMEOUT), ["late", "slow"]),
        (DisconnectFilter(node_id=MALLORY), []),
    ],
)
def test_a_filter_lets_through_what_fits_all_of_it(wanted, found):
    log = DisconnectLog()
    log.add(ended(explanation="slow"))
    log.add(ended(explanation="refused", node_id=BOB, offence=Offence.TOO_MANY_PEERS))
    log.add(ended(explanation="lost", node_id=BOB, by_us=False, offence=Offence.CONNECTION_LOST, reason=None))
    log.add(ended(explanation="late"))
    assert [one.explanation for one in log.newest(wanted)] == found


def test_a_limit_counts_what_the_filter_lets_through():
    log = DisconnectLog()
    for node_id in (ALICE, BOB, BOB, ALICE):
        log.add(ended(node_id=node_id))
    assert len(list(log.newest(DisconnectFilter(node_id=ALICE), 2))) == 2


@given(st.lists(st.tuples(st.sampled_from(Offence), st.booleans()), max_size=60), st.integers(1, 20))
def test_it_keeps_the_newest_of_any_sequence_and_counts_all(sequence, kept):
    log = DisconnectLog(kept)
    for offence, by_us in sequence:
        log.add(ended(offence=offence, by_us=by_us))
    assert [(one.offence, one.by_us) for one in log.newest(ALL)] == sequence[::-1][:kept]
    assert sum(log.counts.values()) == len(sequence)
