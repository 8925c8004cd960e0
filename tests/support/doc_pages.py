"""The project's Markdown pages, as a reader meets them: headings, links, tables, and what their code blocks run."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT: Final = Path(__file__).parents[2]

NOT_OURS: Final = frozenset({"node_modules", "build", "dist"})

SHELL: Final = frozenset({"", "sh", "bash", "console"})
"""Languages of the blocks whose lines are commands and what they print."""

ELSEWHERE: Final = re.compile(r"^(https?|mailto):")

MARKDOWN: Final = MarkdownIt("commonmark").enable(["table", "strikethrough"])
"""What GitHub renders, as far as the pages use it."""


def all_pages(root: Path = ROOT) -> list[Page]:
    paths = [
        path
        for path in sorted(root.rglob("*.md"))
        if not any(part in NOT_OURS or part.startswith(".") for part in path.relative_to(root).parts)
    ]
    return [Page(path, root) for path in paths]


@dataclass(frozen=True)
class Fence:
    language: str
    content: str
    line: int


class Page:
    def __init__(self, path: Path, root: Path = ROOT) -> None:
        self.path, self._root = path, root
        self._lines = path.read_text(encoding="utf-8").splitlines()
        self._tokens = MARKDOWN.parse("\n".join(self._lines) + "\n")

    @property
    def name(self) -> str:
        return str(self.path.relative_to(self._root))

    @cached_property
    def anchors(self) -> Counter[str]:
        """As GitHub makes them of headings, and how many headings make each."""
        following = zip(self._tokens, self._tokens[1:], strict=False)
        return Counter(_anchor(_text(inline)) for token, inline in following if token.type == "heading_open")

    @property
    def fences(self) -> list[Fence]:
        return [
            Fence(token.info.strip(), token.content, _line(token) + 1)
            for token in self._tokens
            if token.type == "fence"
        ]

    def problems(self) -> list[str]:
        """All that is broken, in words, with the line."""
        return [*self._bad_links(), *self._bad_tables(), *self._bad_markup()]

    def commands(self) -> Iterator[tuple[int, Sequence[str]]]:
        """The words of each command line, in blocks and in running text, with the line where that begins."""
        for fence in self.fences:
            if fence.language in SHELL:
                for typed in _joined(fence.content):
                    yield from ((fence.line, words) for words in _split_pipes(_words(typed)))
        for line, child in self._inline("code_inline"):
            yield from ((line, words) for words in _split_pipes(_words(child.content)))

    def bare_flags(self) -> Iterator[tuple[int, str]]:
        """Flags that running text names without their command."""
        for line, child in self._inline("code_inline"):
            if found := re.match(r"--[a-z][a-z-]*", child.content):
                yield line, found.group()

    def _bad_links(self) -> Iterator[str]:
        for line, child in self._inline("link_open", "image"):
            target = str(child.attrGet("href") or child.attrGet("src"))
            if not ELSEWHERE.match(target) and (problem := self._missing(target)):
                yield f"{self.name}:{line}: {target} {problem}"

    def _missing(self, target: str) -> str | None:
        path, _, anchor = unquote(target).partition("#")
        linked = (self.path.parent / path).resolve() if path else self.path
        if not linked.is_relative_to(self._root) or not linked.exists():
            return "leads nowhere"
        if not anchor or linked.suffix != ".md":
            return None
        anchors = Page(linked, self._root).anchors
        if anchor not in anchors:
            return f"has no heading there; the page has {', '.join(sorted(anchors))}"
        return "could mean several headings" if anchors[anchor] > 1 else None

    def _bad_tables(self) -> Iterator[str]:
        for token in self._tokens:
            if token.type == "table_open" and token.map is not None:
                widths = {at: _cells(self._lines[at]) for at in range(*token.map) if self._lines[at].strip()}
                columns = widths[token.map[0]]
                yield from (
                    f"{self.name}:{at + 1}: {width} cells in a table of {columns} columns"
                    for at, width in widths.items()
                    if width != columns
                )

    def _bad_markup(self) -> Iterator[str]:
        for token in self._tokens:
            at = f"{self.name}:{_line(token) + 1}"
            children = token.children or ()
            if token.type == "inline" and any(line.lstrip().startswith("|") for line in token.content.splitlines()):
                yield f"{at}: a table that does not render"
            if any(child.type == "text" and "][" in child.content for child in children):
                yield f"{at}: a reference link without its target"
            if token.type == "html_block" or any(child.type == "html_inline" for child in children):
                yield f"{at}: HTML, which a page has no need of"
            if token.type == "fence" and not self._last_line(token).startswith(token.markup):
                yield f"{at}: a code block that does not end"

    def _last_line(self, token: Token) -> str:
        assert token.map is not None
        return self._lines[token.map[1] - 1].strip()

    def _inline(self, *types: str) -> Iterator[tuple[int, Token]]:
        for token in self._tokens:
            yield from ((_line(token) + 1, child) for child in token.children or () if child.type in types)


def _line(token: Token) -> int:
    return token.map[0] if token.map else 0


def _text(inline: Token) -> str:
    return "".join(child.content for child in inline.children or () if child.type in {"text", "code_inline"})


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def _cells(row: str) -> int:
    return len(re.split(r"(?<!\\)\|", row.strip().removeprefix("|").removesuffix("|")))


def _joined(content: str) -> list[str]:
    return content.replace("\\\n", " ").splitlines()


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line.removeprefix("$ "), comments=True)
    except ValueError:
        # Prose, with an apostrophe.
        return line.split()


def _split_pipes(words: Sequence[str]) -> Iterator[Sequence[str]]:
    command: list[str] = []
    for word in [*words, "|"]:
        if word in {"|", "&&", ";", "&"}:
            yield tuple(command)
            command = []
        else:
            command.append(word)
