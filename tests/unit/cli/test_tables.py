"""Tables on terminals that are too narrow for them."""

from __future__ import annotations

import pytest
from rich.markup import escape
from rich.table import Table

from trisync.cli.tables import rows_told, show

WIDTH = 80


@pytest.fixture
def peers() -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "node id", "client", "total difficulty", "ban", "why"):
        table.add_column(heading, overflow="fold")
    table.add_row(
        "*", "d272eee246ab1937…", escape("Geth/[red]v1.9"), "1344623723034024", "", "it is the " + 12 * "very "
    )
    table.add_row("", "c0b2db21d4a8a7ff…", "trisync/v0.1.0/linux/python3.11.7", "17", "1 h", "lighter")
    return table


def test_rows_are_told_as_pairs_that_fit(peers: Table):
    assert rows_told(peers, WIDTH) == [
        "* d272eee246ab1937…",
        "    client: Geth/[red]v1.9   total difficulty: 1344623723034024",
        "    why: it is the very very very very very very very very very very very very",
        "c0b2db21d4a8a7ff…",
        "    client: trisync/v0.1.0/linux/python3.11.7   total difficulty: 17   ban: 1 h",
        "    why: lighter",
    ]


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_no_word_is_cut_however_narrow_it_is(peers: Table, width: int):
    told = " ".join(rows_told(peers, width)).split()
    assert "1344623723034024" in told
    assert "trisync/v0.1.0/linux/python3.11.7" in told


def test_table_without_headings_has_a_line_for_each_name():
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("hash", "0x" + 64 * "a")
    table.add_row("parent hash", "0x" + 64 * "b")
    assert rows_told(table, 40) == [f"hash         0x{64 * 'a'}", f"parent hash  0x{64 * 'b'}"]


@pytest.mark.parametrize(("columns", "is_table"), [("200", True), ("80", False)])
def test_terminal_gets_the_table_where_it_is_wide_enough(
    peers: Table, columns: str, is_table: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", columns)
    show(peers)
    shown = capsys.readouterr().out
    assert "1344623723034024" in shown
    assert ("total difficulty: " in shown) is not is_table
