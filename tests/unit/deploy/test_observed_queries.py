"""The judge of answers to dashboards' queries, without a Prometheus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tests.support.observed_queries import Question, panel_questions, rule_questions, unanswered
from tests.support.prometheus import QueryFailed, Series

ANSWERS: Final[Mapping[str, Sequence[str]]] = {"seven": ["7"], "nan": ["NaN", "NaN"], "nothing": []}


def ask(query: str) -> list[Series]:
    if query not in ANSWERS:
        raise QueryFailed("parse error")
    return [{"metric": {}, "value": [0, value]} for value in ANSWERS[query]]


def problem(*queries: str, may_be_empty: bool = False, idle: bool = False) -> str:
    question = Question("a panel", queries, may_be_empty)
    return unanswered(ask, [question], idle=idle).get(question, "")


def test_error_an_empty_result_and_nothing_but_no_numbers_are_no_answers():
    assert problem("seven") == ""
    assert problem("seven", "(") == "parse error: ("
    assert problem("seven", "nothing") == "empty: nothing"
    assert problem("nan").startswith("not a number")


def test_what_may_be_missing_is_an_answer():
    assert problem("nothing", may_be_empty=True) == ""
    assert problem("(", may_be_empty=True) == "parse error: ("
    assert problem("nan", "seven") == ""
    assert problem("nan", idle=True) == ""


def test_every_panel_and_rule_is_asked_without_variables_of_grafana():
    questions = [*panel_questions(), *rule_questions()]
    assert {question.where.partition(":")[0] for question in questions} >= {"overview", "peers", "sync", "propagation"}
    assert not [query for question in questions for query in question.queries if "$" in query]
