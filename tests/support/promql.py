"""Which series and labels a PromQL expression names. No parser of the whole language: Prometheus is that."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

_TOKENS: Final = re.compile(
    r"""
    (?P<skip>\s+|\#[^\n]*)
  | (?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)
  | (?P<range>\[[^\]]*\])
  | (?P<variable>\$\{[^}]*\}|\$\w+|\[\[\w+\]\])
  | (?P<number>(?:\d+(?:ms|[smhdwy]))+|0x[0-9a-fA-F]+|\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)
  | (?P<name>[a-zA-Z_:][\w:]*)
  | (?P<sign>=~|!~|!=|==|<=|>=|[-+*/%^<>=(){},@])
    """,
    re.VERBOSE,
)

AGGREGATIONS: Final = frozenset(
    {"sum", "min", "max", "avg", "group", "stddev", "stdvar", "count"}
    | {"count_values", "bottomk", "topk", "quantile", "limitk", "limit_ratio"}
)
GROUPINGS: Final = frozenset({"by", "without"})
MATCHINGS: Final = frozenset({"on", "ignoring", "group_left", "group_right"})
WORDS: Final = frozenset({"and", "or", "unless", "atan2", "bool", "offset", "inf", "nan"})
LABEL_MAKERS: Final = frozenset({"label_replace", "label_join", "count_values"})


class NotPromql(ValueError):
    """What was given is no expression."""


class Token(NamedTuple):
    kind: str
    text: str


class Matcher(NamedTuple):
    """`label operator "value"`."""

    label: str
    operator: str
    value: str


class Selector(NamedTuple):
    """A series, at a place in the row of tokens."""

    name: str
    matchers: tuple[Matcher, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Grouping:
    """Labels of `by` or `without`, and of which series."""

    word: str
    labels: tuple[str, ...]
    selectors: tuple[Selector, ...]


@dataclass(frozen=True, slots=True)
class Expression:
    """What an expression names."""

    selectors: tuple[Selector, ...]
    groupings: tuple[Grouping, ...]
    matched_labels: tuple[str, ...]
    """Of `on`, `ignoring`, `group_left` and `group_right`."""
    made_labels: tuple[str, ...]
    """That functions such as `label_replace` make."""
    aggregates: bool


def parse_promql(text: str) -> Expression:
    """Raises NotPromql."""
    return _Reader(list(_tokens(text))).expression()


def _tokens(text: str) -> Iterator[Token]:
    at = 0
    while at < len(text):
        found = _TOKENS.match(text, at)
        if found is None:
            raise NotPromql(f"{text!r}: {text[at : at + 10]!r} is not understood")
        at = found.end()
        kind = str(found.lastgroup)
        if kind != "skip":
            yield Token(kind, found.group())


class _Reader:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._closing = _pairs(tokens)
        self._opening = {end: start for start, end in self._closing.items()}

    def expression(self) -> Expression:
        selectors: list[Selector] = []
        by: list[tuple[int, int, str, tuple[str, ...]]] = []
        matched: list[str] = []
        made: list[str] = []
        aggregates = False
        at = 0
        while at < len(self._tokens):
            kind, text = self._tokens[at]
            after = self._text(at + 1)
            if text == "{":
                selectors.append(self._selector("", at, at))
                at = self._closing[at]
            elif kind == "name" and text in GROUPINGS | MATCHINGS:
                if after == "(":
                    end = self._closing[at + 1]
                    labels = self._names(at + 1)
                    if text in GROUPINGS:
                        by.append((at, end, text, labels))
                    else:
                        matched.extend(labels)
                    at = end
            elif kind == "name" and (text in AGGREGATIONS or after == "("):
                aggregates = aggregates or text in AGGREGATIONS
                if text in LABEL_MAKERS:
                    made.extend(self._first_string(at + 1))
            elif kind == "name" and text.lower() not in WORDS:
                selectors.append(self._selector(text, at, at + 1))
                at = self._closing[at + 1] if after == "{" else at
            at += 1
        groupings = tuple(self._grouping(start, end, word, labels, selectors) for start, end, word, labels in by)
        return Expression(tuple(selectors), groupings, tuple(matched), tuple(made), aggregates)

    def _text(self, at: int) -> str:
        return self._tokens[at].text if at < len(self._tokens) else ""

    def _names(self, opening: int) -> tuple[str, ...]:
        inside = self._tokens[opening + 1 : self._closing[opening]]
        return tuple(token.text for token in inside if token.kind == "name")

    def _first_string(self, opening: int) -> list[str]:
        if self._text(opening) != "(":
            return []
        inside = self._tokens[opening + 1 : self._closing[opening]]
        depth = 0
        for token in inside:
            depth += (token.text in ("(", "{")) - (token.text in (")", "}"))
            if token.kind == "string" and not depth:
                return [token.text[1:-1]]
        return []

    def _selector(self, name: str, at: int, brace: int) -> Selector:
        matchers: list[Matcher] = []
        if self._text(brace) == "{":
            inside = self._tokens[brace + 1 : self._closing[brace]]
            for first, second, third in zip(inside, inside[1:], inside[2:], strict=False):
                if first.kind == "name" and third.kind == "string":
                    matchers.append(Matcher(first.text, second.text, third.text[1:-1]))
        named = [matcher.value for matcher in matchers if matcher.label == "__name__" and matcher.operator == "="]
        others = tuple(matcher for matcher in matchers if matcher.label != "__name__")
        return Selector(name or (named[0] if named else ""), others, at)

    def _grouping(
        self, start: int, end: int, word: str, labels: tuple[str, ...], selectors: list[Selector]
    ) -> Grouping:
        """`sum by (…) (x)` and `sum(x) by (…)` both group what is in the parentheses next to them."""
        if self._text(end + 1) == "(":
            first, last = end + 1, self._closing[end + 1]
        elif start and self._tokens[start - 1].text == ")":
            first, last = self._opening[start - 1], start - 1
        else:
            first, last = 0, len(self._tokens)
        return Grouping(word, labels, tuple(found for found in selectors if first <= found.at <= last))


def _pairs(tokens: list[Token]) -> dict[int, int]:
    closes = {"(": ")", "{": "}"}
    waiting: list[int] = []
    pairs: dict[int, int] = {}
    for at, token in enumerate(tokens):
        if token.kind != "sign":
            continue
        if token.text in closes:
            waiting.append(at)
        elif token.text in closes.values():
            if not waiting or closes[tokens[waiting[-1]].text] != token.text:
                raise NotPromql(f"a {token.text!r} closes nothing")
            pairs[waiting.pop()] = at
    if waiting:
        raise NotPromql(f"a {tokens[waiting[-1]].text!r} is not closed")
    return pairs
