from __future__ import annotations

from services.peer_gateway.core.redial_history import WAITS, Waits
from services.shared.ethwire.types import PeerId
from tests.support.peers import ALICE, BOB


def test_wait_is_over_at_its_time():
    waits = Waits()
    waits.add(ALICE, until=10.0)
    waits.expire(now=9.9)
    assert ALICE in waits
    assert (waits.until(ALICE), waits.until(BOB), waits.next_end()) == (10.0, 0.0, 10.0)
    waits.expire(now=10.0)
    assert ALICE not in waits
    assert waits.next_end() is None


def test_new_wait_replaces_the_old_one():
    waits = Waits()
    waits.add(ALICE, until=10.0)
    waits.add(ALICE, until=30.0)
    waits.expire(now=20.0)
    assert ALICE in waits
    waits.remove(ALICE)
    waits.add(ALICE, until=25.0)
    waits.expire(now=25.0)
    assert len(waits) == 0


def test_memory_is_bounded_when_one_node_waits_again_and_again():
    waits = Waits()
    for number in range(100_000):
        waits.add(ALICE, until=1e9 + number)
    assert len(waits._ends) < 200


def test_first_to_end_is_dropped_when_too_many_wait():
    waits = Waits()
    for number in range(WAITS + 5):
        waits.add(PeerId(number.to_bytes(4) * 16), until=float(number))
    assert len(waits) == WAITS
    assert waits.is_full
    assert waits.until(PeerId((4).to_bytes(4) * 16)) == 0.0
    assert waits.until(PeerId((5).to_bytes(4) * 16)) == 5.0
