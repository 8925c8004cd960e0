from __future__ import annotations

from services.sync_coordinator.core.reunion import REUNION_S, Reunion
from tests.support.peers import ALICE, BOB, CAROL


def test_gateway_that_knows_no_other_is_not_waited_for():
    reunion = Reunion()
    assert reunion.waits_until(now=0.0) is None
    reunion.attached(ALICE, [], now=0.0)
    assert reunion.waits_until(now=0.0) is None
    reunion.attached(ALICE, [ALICE], now=1.0)
    assert reunion.waits_until(now=1.0) is None


def test_gateways_that_others_knew_are_waited_for_until_the_last_is_there():
    reunion = Reunion()
    reunion.attached(ALICE, [ALICE, BOB, CAROL], now=10.0)
    reunion.attached(BOB, [ALICE, BOB, CAROL], now=11.0)
    assert reunion.waits_until(now=11.0) == 10.0 + REUNION_S
    reunion.attached(CAROL, [], now=12.0)
    assert reunion.waits_until(now=12.0) is None


def test_gateway_that_never_comes_is_waited_for_for_a_moment_only():
    reunion = Reunion()
    reunion.attached(ALICE, [ALICE, BOB], now=10.0)
    assert reunion.waits_until(now=10.0 + REUNION_S) is None


def test_link_that_is_lost_later_makes_nobody_wait():
    reunion = Reunion()
    reunion.attached(ALICE, [], now=10.0)
    reunion.attached(ALICE, [ALICE, BOB], now=10.0 + REUNION_S)
    assert reunion.waits_until(now=10.0 + REUNION_S) is None
