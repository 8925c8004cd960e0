"""What a measurement makes of its numbers."""

from __future__ import annotations

import pytest

from bench.gateway_under_load import MetricsPage, lag_p99_ms
from bench.targets import Measured, at_least, below, rows_of, table


def page(**counts: int) -> MetricsPage:
    """A page with cumulative counts by bound in ms."""
    lines = [f'gateway_event_loop_lag_seconds_bucket{{le="{int(ms[1:]) / 1000}"}} {n}.0' for ms, n in counts.items()]
    return MetricsPage("\n".join(lines))


def test_rows_are_medians_in_the_order_in_which_they_first_came():
    runs = [[Measured("a", value, "MB/s", at_least(25)), Measured("b", 1, "ms")] for value in (10, 30, 26)]
    first, second = rows_of(runs)
    assert (first.value, first.is_met, second.value) == (26, True, 1)
    assert first.to_json() == {
        "name": "a",
        "value": 26,
        "unit": "MB/s",
        "target": ">= 25",
        "met": True,
        "runs": [10, 30, 26],
    }


@pytest.mark.parametrize(("value", "met"), [(24.9, False), (25, True), (26, True)])
def test_at_least_is_met_from_its_number_on(value, met):
    assert at_least(25).is_met(value) is met


@pytest.mark.parametrize(("value", "met"), [(49.9, True), (50, False)])
def test_below_is_met_under_its_number_only(value, met):
    assert below(50).is_met(value) is met


def test_table_says_what_is_not_met():
    text = table(rows_of([[Measured("speed", 10, "MB/s", at_least(25)), Measured("memory", 10, "MB", below(400))]]))
    assert "NOT MET" in text.splitlines()[1]
    assert text.splitlines()[2].endswith("met")


def test_lag_is_that_of_the_samples_between_two_looks():
    before, after = page(_1=100, _50=100, _100=200), page(_1=190, _50=200, _100=300)
    assert lag_p99_ms(before, after) == pytest.approx(1 + 49 * 0.9)


def test_lag_in_the_first_bucket_is_below_its_bound():
    assert lag_p99_ms(page(_1=0, _50=0), page(_1=100, _50=100)) == pytest.approx(0.99)


def test_lag_without_samples_is_none():
    assert lag_p99_ms(page(_1=5, _50=5), page(_1=5, _50=5)) == 0
