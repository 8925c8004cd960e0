"""Help on a terminal of 80 columns."""

from __future__ import annotations

import re

import pytest

from tests.support.every_command import CONFIGURED
from trisync.cli import main


@pytest.mark.parametrize("name", [listed.name for listed in CONFIGURED])
def test_no_variable_of_a_flag_is_cut_at_80_columns(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("COLUMNS", "80")
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "TRISYNC_" in shown
    assert re.findall(r"TRISYNC_\w*…", shown) == []
