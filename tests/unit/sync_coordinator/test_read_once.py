from __future__ import annotations

from services.sync_coordinator.core.read_once import NUMBERS_KEPT, ReadOnce


def test_a_report_is_new_once_for_each_gateway():
    reports = ReadOnce()
    assert [reports.is_new("gateway-0", number) for number in (7, 8, 7, 8, 9)] == [True, True, False, False, True]
    assert reports.is_new("gateway-1", 7)


def test_numbers_may_start_anywhere_after_a_restart_of_the_gateway():
    reports = ReadOnce()
    assert all(reports.is_new("gateway-0", number) for number in (1000, 1001, 5, 6))


def test_only_the_newest_are_remembered():
    reports = ReadOnce()
    for number in range(NUMBERS_KEPT + 1):
        assert reports.is_new("gateway-0", number)
    assert not reports.is_new("gateway-0", NUMBERS_KEPT)
    assert not reports.is_new("gateway-0", 1)
    assert reports.is_new("gateway-0", 0)
