"""How commands print to people."""

from __future__ import annotations

import textwrap
from typing import Final

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

PIPE_WIDTH: Final = 300

UNFOLDED: Final = 10_000
"""Wider than any table is, to ask how wide one would be."""

INDENT: Final = 4 * " "
BETWEEN_PAIRS: Final = 3 * " "


def show(*parts: RenderableType) -> None:
    """Print to people.

    Sentences are folded to a terminal, and a table that is wider than it is told row by row, so that no number or id is
    cut. In a pipe lines stay whole, and end with their last letter.
    """
    console = Console()
    if console.is_terminal:
        for part in parts:
            _show_on_terminal(console, part)
        return
    console = Console(width=PIPE_WIDTH)
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    for line in captured.get().splitlines():
        print(line.rstrip())


def _show_on_terminal(console: Console, part: RenderableType) -> None:
    unfolded = console.options.update(max_width=UNFOLDED)
    if not isinstance(part, Table) or console.measure(part, options=unfolded).maximum <= console.width:
        console.print(part)
        return
    for line in rows_told(part, console.width):
        console.print(Text(line), soft_wrap=True)


def rows_told(table: Table, width: int) -> list[str]:
    """Each row as its first value, and below it `heading: value`, as many in a line as fit; no word is cut.

    A table without headings has a line for each row: its names, and what they are.
    """
    headings = [_plain(column.header) for column in table.columns]
    rows = [list(map(_plain, cells)) for cells in zip(*(column.cells for column in table.columns), strict=True)]
    if not table.show_header:
        name_width = max((len(row[0]) for row in rows), default=0)
        return [f"{row[0]:{name_width}}  {'  '.join(row[1:])}" for row in rows]
    lines: list[str] = []
    for row in rows:
        named = [(heading, value) for heading, value in zip(headings, row, strict=True) if heading]
        marks = [value for heading, value in zip(headings, row, strict=True) if not heading and value]
        lines.append(" ".join([*marks, named[0][1]]))
        lines += _packed([f"{heading}: {value}" for heading, value in named[1:] if value], width)
    return lines


def _packed(pairs: list[str], width: int) -> list[str]:
    lines: list[str] = []
    for pair in pairs:
        if lines and len(lines[-1]) + len(BETWEEN_PAIRS) + len(pair) <= width:
            lines[-1] += BETWEEN_PAIRS + pair
        else:
            lines += textwrap.wrap(
                pair,
                width,
                initial_indent=INDENT,
                subsequent_indent=INDENT,
                break_long_words=False,
                break_on_hyphens=False,
            )
    return lines


def _plain(cell: RenderableType) -> str:
    return Text.from_markup(cell).plain if isinstance(cell, str) else str(cell)
