from __future__ import annotations

import pytest

from tests.support.promql import Matcher, NotPromql, parse_promql


def names(expr: str) -> list[str]:
    return [selector.name for selector in parse_promql(expr).selectors]


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("a_total", ["a_total"]),
        ("rate(a_total[5m])", ["a_total"]),
        ("sum by (kind) (rate(a_total[$__rate_interval])) / ignoring(kind) group_left sum(b)", ["a_total", "b"]),
        ('histogram_quantile(0.95, sum by (le) (rate(a_seconds_bucket{kind=~"x|y"}[5m])))', ["a_seconds_bucket"]),
        ("a unless on (instance) b or c and d offset 5m", ["a", "b", "c", "d"]),
        ("max_over_time(a[1h:5m] @ end()) > bool 1e3", ["a"]),
        ("job:a:rate5m * 2 # a comment with names", ["job:a:rate5m"]),
        ('{__name__="a", kind="x"}', ["a"]),
        ("absent(up{job='coordinator'}) == 1", ["up"]),
        ("a > Inf or vector(0)", ["a"]),
        ("topk(5, a) without (b)", ["a"]),
        ('a{kind="}) by ("} + $variable', ["a"]),
    ],
)
def test_series_are_found_and_nothing_else(expr, expected):
    assert names(expr) == expected


def test_matchers_keep_label_operator_and_value():
    (selector,) = parse_promql('a{kind="x", code!~"OK|.*_x",}').selectors
    assert selector.matchers == (Matcher("kind", "=", "x"), Matcher("code", "!~", "OK|.*_x"))


@pytest.mark.parametrize("expr", ["sum by (kind) (a) + sum(b) by (code)", "sum(a) by (kind) + sum by (code) (b)"])
def test_labels_group_what_is_in_the_parentheses_beside_them(expr):
    first, second = parse_promql(expr).groupings
    assert [(first.labels, first.selectors[0].name), (second.labels, second.selectors[0].name)] == [
        (("kind",), "a"),
        (("code",), "b"),
    ]


def test_a_function_that_makes_a_label_is_seen():
    assert parse_promql('label_replace(a{b="c"}, "made", "$1", "b", "(.*)")').made_labels == ("made",)


@pytest.mark.parametrize("expr", ["sum(a", "a)", "a{b='c'", "a ? b", "(a}"])
def test_what_is_no_expression_is_refused(expr):
    with pytest.raises(NotPromql):
        parse_promql(expr)
